"""Whether an array of NumPy's holds numbers, or objects, which are pickled."""

from __future__ import annotations

import ast
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from volseg.bundle.audit.budget import Budget
from volseg.bundle.audit.finding import Finding, Weight
from volseg.bundle.audit.pickles import audit_pickle
from volseg.errors import BundleError

ARRAY_MARK = b"\x93NUMPY"
_LONGEST = 64 * 1024
# the types that are bytes and nothing else: numbers, fixed texts, times, raw bytes
_PLAIN = re.compile(r"[|<>=]?[?bBhHiIlLqQefdgFDGSUVmMuc][0-9]*(\[[0-9a-z]+\])?")


def audit_npy(file: str, stream: BinaryIO, budget: Budget) -> Iterator[Finding]:
    """Findings in an array's file: none where it holds numbers.

    Raises:
        BundleError: if its header cannot be read.
    """
    front = stream.read(8)
    if front[:6] != ARRAY_MARK or len(front) < 8:
        raise BundleError("no array of NumPy's", where=file)
    width = "<H" if front[6] == 1 else "<L"
    raw = stream.read(struct.calcsize(width))
    if len(raw) < struct.calcsize(width):
        raise BundleError("an array that is cut short", where=file)
    (length,) = struct.unpack(width, raw)
    budget.spend(length)
    header = stream.read(min(length, _LONGEST + 1))
    if length > _LONGEST or len(header) < length:
        raise BundleError(f"an array with a header of {length} bytes", where=file)
    text = header.decode("latin-1")
    try:
        told = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise BundleError("an array whose header cannot be read", where=file) from None
    if isinstance(told, dict) and _is_plain(told.get("descr")):
        return
    yield Finding(
        file,
        "pickle",
        Weight.RUNS,
        text.strip(),
        "an array of objects, which is a pickle",
        door="numpy.load(allow_pickle=True)",
    )
    yield from audit_pickle(file, stream, budget)


def _is_plain(descr: object) -> bool:
    """Whether a type, as a header states it, holds no objects; of a record, whether none of its fields does.

    >>> _is_plain("<f4"), _is_plain([("a", "<i2"), ("b", "|O")]), _is_plain("|\\x4f")
    (True, False, False)
    """
    if isinstance(descr, str):
        return _PLAIN.fullmatch(descr) is not None
    fields = descr if isinstance(descr, list) else ()
    return bool(fields) and all(
        isinstance(field, tuple) and len(field) in (2, 3) and _is_plain(field[1]) for field in fields
    )
