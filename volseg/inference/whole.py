"""The one pass itself, for networks that see all of their input and volumes that fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod

import torch
from torch import Tensor

from volseg.inference.exhausted import is_out_of_memory
from volseg.inference.memory import available, counted_peak
from volseg.inference.mirrored import read_mirrored
from volseg.inference.planner import with_overhead
from volseg.inference.tiling import Box

_SAMPLES = (16, 32, 64, 128)
_STRIDES = (1, 2, 4, 8, 16, 32)

Run = Callable[[Tensor], Tensor]


def fits(run: Run, volume: Tensor, size: Sequence[int], device: torch.device, budget: int | None) -> bool:
    """Whether a pass over (batch, channels, *size) stays within the budget."""
    needed = needs(run, volume, size, device)
    return needed is not None and needed <= (available(device) if budget is None else budget)


def needs(run: Run, volume: Tensor, size: Sequence[int], device: torch.device) -> int | None:
    """The bytes that a pass over (batch, channels, *size) takes, as a small one counts them; none if none runs."""
    batch, channels = volume.shape[:2]
    for edge in _SAMPLES:
        sample = [min(edge, n) for n in size]
        held = volume.new_zeros(1, channels, *sample)
        try:
            counted = counted_peak(partial(run, held))
        except (RuntimeError, ValueError, MemoryError) as error:
            if is_out_of_memory(error) or sample == list(size):
                return None
            continue  # a size that its poolings and norms do not take
        return with_overhead(batch * prod(size) * counted // prod(sample), device)
    return None


def whole_pass(run: Run, volume: Tensor, lost: Sequence[int], size: Sequence[int]) -> tuple[Box, Tensor]:
    """The logits of a volume mirrored by ``lost`` on each side and then up to the network's input ``size``."""
    spatial = tuple(volume.shape[2:])
    read = Box(tuple(-m for m in lost), tuple(n - m for n, m in zip(size, lost, strict=True)))
    y = run(read_mirrored(volume, read))
    return Box.whole(spatial), y[(slice(None), slice(None), *(slice(0, n) for n in spatial))].float()


def strides_taken(run: Run, like: Tensor) -> tuple[int, ...] | None:
    """What a padded network's sizes must be multiples of, by trying; none where no power of two serves."""
    dims = like.ndim - 2

    def takes(strides: Sequence[int]) -> bool:
        size = [3 * s for s in strides]  # not a multiple of twice the stride
        try:
            y = run(like.new_zeros(1, like.shape[1], *size))
        except (RuntimeError, ValueError):
            return False
        return tuple(y.shape[2:]) == tuple(size)

    common = next((s for s in _STRIDES if takes((s,) * dims)), None)
    if common is None:
        return None
    found = [common] * dims
    for axis in range(dims):
        found[axis] = next(s for s in _STRIDES if s == common or takes([*found[:axis], s, *found[axis + 1 :]]))
    return tuple(found)
