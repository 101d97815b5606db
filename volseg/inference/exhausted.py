"""Telling that memory ran out from all else that can go wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from volseg.errors import MemoryLimitError, VolsegError
from volseg.recipe.units import readable_bytes

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


@contextmanager
def within_memory(what: str, *, where: str | None = None, mend: str) -> Iterator[None]:
    """Say of work that finds no memory left what did not fit, and what to change.

    >>> with within_memory("the batch does not fit", mend="make it smaller"):
    ...     raise MemoryError
    Traceback (most recent call last):
    volseg.errors.MemoryLimitError: the batch does not fit; make it smaller
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, VolsegError) or not is_out_of_memory(error):
            raise
        raise MemoryLimitError(what, where=where, mend=mend) from error


class VolumeTooLarge(MemoryLimitError):
    """A volume that no way of working segments within the memory allowed.

    >>> print(VolumeTooLarge.of((64, 64, 64), 3 * 2**20, 5 * 2**20).for_members(2, 4 * 2**20, once=2**20))
    a volume of 64x64x64 does not fit 4 MiB; allow at least 9 MiB
    """

    size: tuple[int, ...]
    allowed: int
    needed: int

    @classmethod
    def of(cls, size: Sequence[int], allowed: int, needed: int) -> VolumeTooLarge:
        told = cls(
            f"a volume of {'x'.join(map(str, size))} does not fit {readable_bytes(allowed)}",
            mend=f"allow at least {readable_bytes(needed)}",
        )
        told.size, told.allowed, told.needed = tuple(size), allowed, needed
        return told

    def for_members(self, count: int, allowed: int, *, once: int) -> VolumeTooLarge:
        """The same of as many networks that share what is allowed; of what each needs, ``once`` is had once."""
        return VolumeTooLarge.of(self.size, allowed, (self.needed - once) * count + once)
