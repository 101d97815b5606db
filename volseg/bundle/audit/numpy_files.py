"""Whether an array of NumPy's holds numbers, or objects, which are pickled."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from volseg.bundle.audit.finding import Finding, Weight
from volseg.bundle.audit.pickles import audit_pickle
from volseg.errors import BundleError

_LONGEST = 64 * 1024
_OBJECTS = re.compile(r"['\"][|<>=]?O[0-9]*['\"]|object", re.IGNORECASE)


def audit_npy(file: str, stream: BinaryIO) -> Iterator[Finding]:
    """Findings in an array's file: none where it holds numbers.

    Raises:
        BundleError: if its header cannot be read.
    """
    front = stream.read(8)
    if front[:6] != b"\x93NUMPY" or len(front) < 8:
        raise BundleError("no array of NumPy's", where=file)
    width = "<H" if front[6] == 1 else "<L"
    raw = stream.read(struct.calcsize(width))
    if len(raw) < struct.calcsize(width):
        raise BundleError("an array that is cut short", where=file)
    (length,) = struct.unpack(width, raw)
    header = stream.read(min(length, _LONGEST + 1))
    if length > _LONGEST or len(header) < length:
        raise BundleError(f"an array with a header of {length} bytes", where=file)
    text = header.decode("latin-1")
    if not _OBJECTS.search(text):
        return
    yield Finding(
        file,
        "pickle",
        Weight.RUNS,
        text.strip(),
        "an array of objects, which is a pickle",
        door="numpy.load(allow_pickle=True)",
    )
    yield from audit_pickle(file, stream)
