"""What an ONNX file reaches for outside of itself: numbers in other files, operators of other libraries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from volseg.bundle.audit.budget import Budget
from volseg.bundle.audit.finding import Finding, Weight
from volseg.bundle.storage.names import name_problem
from volseg.errors import BundleError

_DOOR = "onnxruntime.InferenceSession, onnx.load"
_DEEPEST = 24
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_TEXT = 4096
#: fields of the messages of onnx.proto that lead to tensors or name operators: number -> message
_GRAPH = {1: "node", 5: "tensor", 15: "sparse"}
_FIELDS = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": _GRAPH,
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
    "entry": {},
}
_TEXTS = {("node", 7): "domain", ("entry", 1): "key", ("entry", 2): "value"}
_OWN_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}


@dataclass
class _Found:
    budget: Budget
    locations: dict[str, None] = field(default_factory=dict)
    domains: dict[str, None] = field(default_factory=dict)


def audit_onnx(file: str, stream: BinaryIO, size: int, there: dict[str, int], budget: Budget) -> Iterator[Finding]:
    """Findings in an ONNX file; the numbers in it are skipped, not read.

    Raises:
        BundleError: if it cannot be followed.
    """
    found = _Found(budget)
    _walk(stream, 0, size, "model", found, 0, file)
    folder = file.rpartition("/")[0]
    for location in found.locations:
        inside = not name_problem(location) and (f"{folder}/{location}" if folder else location) in there
        weight = Weight.DATA if inside else Weight.REFUSE
        why = (
            "keeps numbers in another file of the bundle" if inside else "reads a file outside of the bundle as numbers"
        )
        yield Finding(file, "onnx", weight, location, why, key="external_data", known=inside, door=_DOOR)
    for domain in found.domains:
        why = "uses operators that another library must bring"
        yield Finding(file, "onnx", Weight.RUNS, domain, why, key="domain", door=_DOOR)


def _walk(stream: BinaryIO, at: int, end: int, message: str, found: _Found, depth: int, file: str) -> None:
    if depth > _DEEPEST:
        raise BundleError(f"an ONNX file nested more than {_DEEPEST} deep", where=file)
    entry: dict[str, str] = {}
    while at < end:
        found.budget.spend(1)
        stream.seek(at)
        tag, used = _varint(stream, file)
        at += used
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            at += _varint(stream, file)[1]
        elif kind in (_FIXED64, _FIXED32):
            at += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            length, used = _varint(stream, file)
            at += used
            if at + length > end:
                raise BundleError("an ONNX file that is cut short or damaged", where=file)
            if (inner := _FIELDS[message].get(number)) is not None:
                _walk(stream, at, at + length, inner, found, depth + 1, file)
            elif (name := _TEXTS.get((message, number))) is not None:
                _note(name, stream.read(min(length, _LONGEST_TEXT)).decode("utf-8", "replace"), entry, found)
            at += length
        else:
            raise BundleError("no ONNX file, or a damaged one", where=file)
    if at != end:
        raise BundleError("an ONNX file that is cut short or damaged", where=file)
    if entry.get("key") == "location":
        found.locations[entry.get("value", "")] = None


def _note(name: str, text: str, entry: dict[str, str], found: _Found) -> None:
    if name == "domain":
        if text not in _OWN_DOMAINS:
            found.domains[text] = None
    else:
        entry[name] = text


def _varint(stream: BinaryIO, file: str) -> tuple[int, int]:
    value = used = 0
    while True:
        byte = stream.read(1)
        if not byte or used == 10:
            raise BundleError("an ONNX file that is cut short or damaged", where=file)
        value |= (byte[0] & 0x7F) << (7 * used)
        used += 1
        if byte[0] < 0x80:
            return value, used
