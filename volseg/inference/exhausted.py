"""Telling that memory ran out from all else that can go wrong."""

from __future__ import annotations

import torch

# the last two are oneDNN's words for it
_SIGNS = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "bad allocation",
    "cannot allocate memory",
    "could not create a primitive",
    "could not execute a primitive",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of PyTorch or Python says that there is no memory left.

    >>> is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    True
    """
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)
