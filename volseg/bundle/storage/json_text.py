"""JSON from a stranger: bounded, every key once, and each text with the place where it stands."""

from __future__ import annotations

import json
import json.decoder
import json.scanner
import re
from collections.abc import Iterator
from typing import Any

from volseg.bundle.storage.limits import LIMITS
from volseg.errors import BundleError

DEEPEST = 64
MOST = 200_000
# a text that never ends is a token too, and none is looked at twice: else millions of quotes took hours
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{},]', re.DOTALL)


class Placed(str):
    """A text and the offset of its opening quote in the file."""

    __slots__ = ("offset",)
    offset: int


def read_json(raw: bytes, where: str) -> Any:
    """The data in a file's bytes; its texts are :class:`Placed`.

    Raises:
        BundleError: if they are too many, nested too deep, no JSON, or ambiguous JSON.
    """
    if len(raw) > LIMITS.text:
        raise BundleError(f"more than {LIMITS.text >> 20} MiB of JSON", where=where)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"byte {error.start} is not UTF-8", where=where) from None
    _hold_depth(text, where)
    try:
        return _Decoder(text, where).decode(text)
    except json.JSONDecodeError as error:
        raise BundleError(f"line {error.lineno}: not valid JSON: {error.msg}", where=where) from None
    except BundleError:
        raise
    except (ValueError, RecursionError):  # an integer of thousands of digits, say
        raise BundleError("not valid JSON: a number is out of range", where=where) from None


def _hold_depth(text: str, where: str) -> None:
    depth = 0
    for count, token in enumerate(_TOKEN.finditer(text)):
        sign = token[0]
        if sign in "[{":
            depth += 1
        elif sign in "]}":
            depth -= 1
        if depth > DEEPEST:
            raise BundleError(f"nested more than {DEEPEST} deep", where=where)
        if count > MOST:
            raise BundleError(f"more than {MOST} pieces of JSON", where=where)


class _Decoder(json.JSONDecoder):
    def __init__(self, text: str, where: str) -> None:
        super().__init__(object_pairs_hook=lambda pairs: _once(pairs, where), parse_constant=_no_constant)
        self.parse_string = _placed
        self.scan_once = json.scanner.py_make_scanner(self)  # type: ignore[attr-defined]


def _placed(text: str, end: int, strict: bool = True) -> tuple[Placed, int]:
    value, after = json.decoder.scanstring(text, end, strict)  # type: ignore[attr-defined]
    placed = Placed(value)
    placed.offset = end - 1
    return placed, after


def _once(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BundleError(f"the key {key!a} stands twice: programs would read two different things", where=where)
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def walk(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Every value with its key path, a mapping before what is in it.

    >>> [path for path, _ in walk({"a": [1, {"b": 2}]})]
    [(), ('a',), ('a', 0), ('a', 1), ('a', 1, 'b')]
    """
    yield path, data
    if isinstance(data, dict):
        for key, value in data.items():
            yield from walk(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from walk(value, (*path, index))
