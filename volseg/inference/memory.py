"""How much memory a way of working takes: counted on tensors without data before any is spent, measured while it is.

The count runs the very code that will run, on PyTorch's ``meta`` device, where tensors have sizes and no storage,
and adds up what is alive at each moment. It needs no formula that could drift from the code.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from volseg.errors import UsageError
from volseg.recipe import units


def parse_bytes(text: str | int) -> int:
    """A number of bytes from what a person writes.

    >>> parse_bytes("2GiB"), parse_bytes("500 MB"), parse_bytes(4096)
    (2147483648, 500000000, 4096)
    """
    try:
        size = text if isinstance(text, int) else units.parse_bytes(text)
    except ValueError:
        size = 0
    if size < 1:
        raise UsageError(f"{text!r} is no amount of memory", mend="write 2GiB or 1500MB")
    return size


def counted_peak(work: Callable[[], object]) -> int:
    """The most bytes of tensors alive at once while ``work`` runs; on the ``meta`` device it costs no memory."""
    alive = _Alive()
    with alive, torch.inference_mode():
        work()
    return alive.peak


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that operations make, from their birth to their end."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def available(device: torch.device) -> int:
    """What the device has left, in bytes."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))
    known = Path("/proc/meminfo")
    if device.type != "cpu" or not known.exists():
        return 4 << 30
    line = next(x for x in known.read_text().splitlines() if x.startswith("MemAvailable"))
    return int(line.split()[1]) * 1024


def resident() -> int:
    """The resident size of this process, in bytes; 0 where the system does not tell."""
    known = Path("/proc/self/statm")
    return int(known.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if known.exists() else 0
