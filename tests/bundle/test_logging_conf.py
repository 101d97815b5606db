"""What a ``logging.conf`` may say, and what of it is told."""

from __future__ import annotations

import pytest

from volseg.bundle.audit.logging_conf import audit_logging, is_logging_conf
from volseg.errors import BundleError

EVALUATED = "is evaluated by Python, and is more than plain values"
NO_HANDLER = "is evaluated by Python, and is no handler that writes to the terminal"


def told(text: str) -> list[tuple[str, str, bool]]:
    return [(found.weight.value, found.why, found.known) for found in audit_logging("logging.conf", text.encode())]


def test_what_monai_ships_is_known() -> None:
    """Lines to the terminal, on either stream: plain values and a class that writes there."""
    for stream in ("sys.stdout", "sys.stderr"):
        text = f"[handler_lines]\nclass=StreamHandler\nargs=({stream},)\nlevel=DEBUG\n[logger_root]\nhandlers=lines\n"
        assert told(text) == [
            ("runs", "writes to the terminal", True),
            ("runs", "is evaluated by Python; plain values", True),
        ]
    (first, second) = audit_logging("a.conf", b"\n[handler_x]\nclass=logging.NullHandler\nargs=()\n")
    assert (first.file, first.line, first.key, first.text) == ("a.conf", 3, "handler_x::class", "logging.NullHandler")
    assert (second.line, second.key) == (4, "handler_x::args")


@pytest.mark.parametrize(
    ("section", "weight", "why"),
    [
        ("class=FileHandler", "runs", "writes to a file"),
        ("class=handlers.RotatingFileHandler", "runs", "writes to a file"),
        ("class=evil().FileHandler", "refuse", NO_HANDLER),
        (
            "class=handlers.SMTPHandler",
            "refuse",
            "is evaluated by Python, and is no handler that writes to the terminal",
        ),
        ("args=(sys.argv,)", "refuse", EVALUATED),
        ("args=(os.stdout,)", "refuse", EVALUATED),
        ("args=[f(x) for x in ()]", "refuse", EVALUATED),
        ("args=({'a': [1, 'b', (2.5, None)]},)", "runs", "is evaluated by Python; plain values"),
        ("kwargs={'delay': True}", "runs", "is evaluated by Python; plain values"),
        ("args=(", "refuse", "is evaluated by Python and cannot be judged"),
        ("args=%(here)s", "refuse", "is put together from other parts before Python evaluates it"),
    ],
)
def test_each_part_is_judged(section: str, weight: str, why: str) -> None:
    """By what Python would make of it."""
    (found,) = told(f"[handler_x]\n{section}\n")
    assert found[:2] == (weight, why)


def test_a_file_that_is_opened() -> None:
    """The file that a handler names is written to as soon as the configuration is read."""
    _, found = told("[handler_x]\nclass=FileHandler\nargs=('/tmp/x', 'w')\n")
    assert found == (
        "refuse",
        "opens this file for writing, wherever it is, as soon as the configuration is read",
        False,
    )


def test_what_cannot_be_judged_is_no_configuration() -> None:
    """Too large, no text, no sections."""
    with pytest.raises(BundleError) as caught:
        list(audit_logging("x.conf", b"#" * (64 * 1024 + 1)))
    assert str(caught.value) == "x.conf: a configuration too large to be judged"
    assert list(audit_logging("x.conf", b"#" * (64 * 1024))) == []
    for raw in (b"\xff\xfe", b"class=eval('1')\n", b"[a]\n[a]\n"):
        with pytest.raises(BundleError) as caught:
            list(audit_logging("x.conf", raw))
        assert str(caught.value) == "x.conf: no configuration that could be judged"


@pytest.mark.parametrize(
    ("path", "raw", "is_one"),
    [("a/b.CONF", b"", True), ("b.ini", b"", True), ("b.cfg", b"", True), ("b.txt", b"\n[handler_x]", True),
     ("b", b"[formatter_y]", True), ("b.txt", b"[handlers", True), ("b.txt", b"[loggers]", False)],
)  # fmt: skip
def test_which_files_are_configurations(path: str, raw: bytes, is_one: bool) -> None:
    """By their name, or by what they hold whatever they are called."""
    assert is_logging_conf(path, raw) == is_one
