"""Names of files in a bundle: honest ones pass, and each that could be another's is told with why."""

from __future__ import annotations

import pytest

from volseg.bundle.storage.names import collision_key, name_problem


@pytest.mark.parametrize(
    "name",
    ["heart/configs/metadata.json", "a", "Größe/maß.txt", "a b/c+d (1) [x].pt", "x" * 240, "/".join("abcdefghijkl"),
     "console.txt", "com.txt", "COM/x1", "nul_x", "abcdefg~1", "~1", "abc~1.json"],
)  # fmt: skip
def test_an_honest_name_passes(name: str) -> None:
    """Latin letters with their marks, too."""
    assert name_problem(name) is None


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is empty"),
        ("/etc/passwd", "is an absolute path"),
        ("\\\\server\\share", "is an absolute path"),
        ("C:evil", "starts with a drive letter"),
        ("heart\\run.bat", "holds a backslash, which is a folder's border on Windows"),
        ("x" * 241, "is longer than 240 bytes"),
        ("ö" * 121, "is longer than 240 bytes"),
        ("/".join("abcdefghijklm"), "lies more than 12 folders deep"),
        ("a//b", "has an empty part"),
        ("a/./b", "has an empty part"),
        ("a/../b", "leads out of the bundle (..)"),
        ("a./b", "has a part that ends in a dot or a space, which Windows drops"),
        ("a/b ", "has a part that ends in a dot or a space, which Windows drops"),
        ("nul", "is a device's name on Windows"),
        ("a/Com1.txt", "is a device's name on Windows"),
        ("conin$", "is a device's name on Windows"),
        ("PROGRA~1", "is what Windows calls another file for short"),
        ("a/config~12.jso", "is what Windows calls another file for short"),
        ("a\x07b", "holds a control character (U+0007)"),
        ("a\u200bb", "holds a control character (U+200B)"),
        ("a\u202egnp.py", "holds a character that turns the direction of text (U+202E)"),
        ("a*b", "holds '*', which some systems do not allow in names"),
        ("\u0441onfigs", "holds a letter that can pass for another (U+0441, CYRILLIC SMALL LETTER ES)"),
        ("\uff43onfigs", "holds a letter that can pass for another (U+FF43, FULLWIDTH LATIN SMALL LETTER C)"),
        ("o\u0308", "holds a letter that can pass for another (U+0308, COMBINING DIAERESIS)"),
    ],
)
def test_a_name_that_could_be_another_is_told(name: str, problem: str) -> None:
    """In words that say on which system, or which letter."""
    assert name_problem(name) == problem


@pytest.mark.parametrize(
    "pair", [("Model.pt", "model.PT"), ("straße", "STRASSE"), ("\ufb01le", "FILE"), ("é", "E\u0301")]
)
def test_names_that_a_file_system_takes_for_one(pair: tuple[str, str]) -> None:
    """By case, by compatibility, by composition."""
    assert collision_key(pair[0]) == collision_key(pair[1])
    assert collision_key(pair[0]) != collision_key(pair[0] + "x")
