"""Which file names a bundle may carry: ones that mean the same on every system and look like what they are."""

from __future__ import annotations

import re
import unicodedata

from volseg.bundle.storage.limits import LIMITS

_PLAIN = re.compile(r"[A-Za-z0-9 ._+=,@()\[\]{}!#$%&'~^-]+", re.ASCII)
_RESERVED = re.compile(r"(?:CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9]|CONIN\$|CONOUT\$) *(?:\..*)?", re.IGNORECASE)
_SHORT = re.compile(r"[^.]{1,6}~[0-9]+(?:\.[^.]{0,3})?")
_BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def name_problem(name: str) -> str | None:
    """What is wrong with a path of a bundle; nothing for an honest one.

    >>> name_problem("heart/configs/metadata.json")
    >>> name_problem("heart/../../.bashrc")
    'leads out of the bundle (..)'
    """
    if not name or name.startswith(("/", "\\")):
        return "is an absolute path" if name else "is empty"
    if re.match(r"[A-Za-z]:", name):
        return "starts with a drive letter"
    if "\\" in name:
        return "holds a backslash, which is a folder's border on Windows"
    if len(name.encode("utf-8", "surrogatepass")) > LIMITS.name:
        return f"is longer than {LIMITS.name} bytes"
    parts = name.split("/")
    if len(parts) > LIMITS.depth:
        return f"lies more than {LIMITS.depth} folders deep"
    return next((problem for part in parts if (problem := _part_problem(part))), None)


def collision_key(name: str) -> str:
    """Equal for names that some file system takes for the same one.

    >>> collision_key("Models/model.pt") == collision_key("models/MODEL.pt")
    True
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).casefold()


def _part_problem(part: str) -> str | None:
    if part in ("", "."):
        return "has an empty part"
    if part == "..":
        return "leads out of the bundle (..)"
    if part[-1] in ". ":
        return "has a part that ends in a dot or a space, which Windows drops"
    if _RESERVED.fullmatch(part):
        return "is a device's name on Windows"
    if _SHORT.fullmatch(part):
        return "is what Windows calls another file for short"
    if _PLAIN.fullmatch(part):
        return None
    # combining marks are no Latin letters: what passes is spelled in one way only
    return next((problem for letter in part if (problem := _letter_problem(letter))), None)


def _letter_problem(letter: str) -> str | None:
    if _PLAIN.fullmatch(letter):
        return None
    told = f"U+{ord(letter):04X}"
    if unicodedata.bidirectional(letter) in _BIDIRECTIONAL:
        return f"holds a character that turns the direction of text ({told})"
    if unicodedata.category(letter)[0] == "C":
        return f"holds a control character ({told})"
    if ord(letter) < 128:
        return f"holds {letter!r}, which some systems do not allow in names"
    called = unicodedata.name(letter, "")
    # Cyrillic, Greek and full-width letters pass for Latin ones: a second `configs` that is none
    if called.startswith("LATIN ") and unicodedata.normalize("NFKC", letter) == letter:
        return None
    return f"holds a letter that can pass for another ({told}{', ' + called if called else ''})"
