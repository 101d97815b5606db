"""glibc's allocator told to keep large blocks: half of the time of a convolution network on CPU is page faults.

By default every block above 32 MiB is mapped afresh, cleared page by page as it is touched, and unmapped again. Kept
blocks come back without that. What is kept but unused can be returned at any time with :func:`give_back`.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_TOP = 32 << 20


@cache
def keep_large_blocks() -> bool:
    """Set it up, once per process; whether the C library is one that can."""
    libc = _glibc()
    if libc is None:
        return False
    # a trim threshold of -1 would be refused by some versions; the largest int is never reached either
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, _TOP))
    done = [libc.mallopt(ctypes.c_int(name), ctypes.c_int(value)) == 1 for name, value in settings]
    return all(done)


def give_back() -> bool:
    """Return to the system what is kept and unused; whether anything was."""
    libc = _glibc()
    return libc is not None and libc.malloc_trim(ctypes.c_size_t(0)) == 1


@cache
def _glibc() -> Any:
    if not sys.platform.startswith("linux"):
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
