"""The header of a safetensors file: names, types and shapes of its tensors, without their numbers."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from volseg.errors import BundleError

LARGEST = 2 * 2**20
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
}  # fmt: skip
_DEEPEST = b"[" * 8


@dataclass(frozen=True)
class TensorHeader:
    """One tensor: its type, shape, and where its bytes are behind the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class SafetensorsHeader:
    """All of them, and the free text that came along."""

    tensors: Mapping[str, TensorHeader]
    metadata: Mapping[str, str]
    #: bytes in front of the first number
    length: int

    @property
    def parameters(self) -> int:
        """How many numbers there are."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())


def read_safetensors_header(file: BinaryIO, size: int, where: str) -> SafetensorsHeader:
    """The header of an open file of ``size`` bytes, with every claim in it held against that size.

    Raises:
        BundleError: if it is no such file, or its tensors overlap, leave gaps, or are not where they are said to be.
    """
    first = file.read(8)
    if len(first) < 8:
        raise BundleError("no safetensors file: it is shorter than a header", where=where)
    (length,) = struct.unpack("<Q", first)
    if length > LARGEST or 8 + length > size:
        raise BundleError(f"a safetensors header of {length} bytes in a file of {size}", where=where)
    raw = file.read(length)
    data = _json(raw, where)
    metadata = data.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BundleError("the safetensors metadata are not plain texts", where=where)
    tensors = {name: _tensor(name, told, where) for name, told in data.items()}
    at = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end)):
        if tensor.begin != at:
            what = "shares bytes with another" if tensor.begin < at else "leaves bytes that belong to none"
            raise BundleError(f"the tensor {name[:200]!a} {what}", where=where)
        at = tensor.end
    if 8 + length + at != size:
        raise BundleError(f"its tensors end at byte {8 + length + at}, the file at {size}", where=where)
    return SafetensorsHeader(tensors, metadata, 8 + length)


def _json(raw: bytes, where: str) -> dict[str, Any]:
    if not raw.startswith(b"{") or raw.count(b"[") > 4 * raw.count(b"shape") + 4 * raw.count(b"offsets") + 64:
        raise BundleError("the safetensors header is no plain table", where=where)
    if _DEEPEST in raw.replace(b" ", b""):
        raise BundleError("the safetensors header is nested too deep", where=where)
    try:
        data: dict[str, Any] = json.loads(raw, object_pairs_hook=lambda pairs: _once(pairs, where))
    except BundleError:
        raise
    except (ValueError, RecursionError):
        raise BundleError("the safetensors header is not valid JSON", where=where) from None
    return data


def _once(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise BundleError("a name stands twice in the safetensors header", where=where)
    return made


def _tensor(name: str, told: Any, where: str) -> TensorHeader:
    good = isinstance(told, dict) and set(told) == {"dtype", "shape", "data_offsets"}
    if good:
        shape, offsets = told["shape"], told["data_offsets"]
        good = _are_counts(shape) and _are_counts(offsets) and len(offsets) == 2 and len(shape) <= 16
    if not good or not isinstance(told["dtype"], str) or told["dtype"] not in _BITS:
        raise BundleError(f"the tensor {name[:200]!a} is not described as it must be", where=where)
    begin, end = offsets
    if math.prod(shape) * _BITS[told["dtype"]] != 8 * (end - begin):
        raise BundleError(f"the tensor {name[:200]!a} has another size than its shape", where=where)
    return TensorHeader(told["dtype"], tuple(shape), begin, end)


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**48 for n in value)
