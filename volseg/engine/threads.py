"""How many threads small work gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# a slice or a small patch has fewer voxels than this
_FEW = 2**17


@contextmanager
def threads_for(voxels: int) -> Iterator[None]:
    """One thread for work on few voxels: to share it among threads costs several times what they save.

    >>> with threads_for(144 * 144):
    ...     torch.get_num_threads()
    1
    """
    before = torch.get_num_threads()
    if voxels >= _FEW or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
