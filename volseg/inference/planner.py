"""Which way of working fits the memory that was allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch

from volseg.errors import MemoryLimitError
from volseg.inference.footprint import footprint, weight_bytes
from volseg.inference.layers import Levels
from volseg.inference.memory import available, format_bytes

# Thinner slabs than this cost time, thicker ones only memory: the caches are full either way
_VOXELS = 600_000
_FEWEST = 4
# What the count cannot see: oneDNN's code and scratch, blocks the allocator keeps between sizes
_ALLOCATOR = 1.15
MOST_REPLAYED = 4
_LIBRARIES = {"cpu": 160 << 20, "cuda": 96 << 20}


@dataclass(frozen=True)
class RowPlan:
    """How a U-Net goes over a volume: along which axis, how many rows at once, for how many levels it encodes twice."""

    axis: int
    rows: int
    replay: int
    bytes: int


def plan_rows(
    network: Levels,
    size: Sequence[int],
    *,
    budget: int | None,
    axis: int | None = None,
    rows: int | None = None,
    batch: int = 1,
) -> RowPlan:
    """The fastest way whose predicted peak is within the budget.

    Args:
        network: the layers.
        size: the network's input, a valid size.
        budget: bytes; none for what the machine has left.
        axis: the axis to go along; none for the longest (in 2-D the first, along which rows are contiguous).
        rows: how many rows at once; none to choose.
        batch: how many images pass at once.

    Raises:
        MemoryLimitError: if no way fits; it says what the smallest needs.
    """
    dims = len(size)
    if axis is None:
        axis = 0 if dims < 3 else max(range(dims), key=lambda a: (size[a], -a))
    if rows is None:
        across = prod(size) // size[axis] * batch
        rows = min(size[axis], max(_FEWEST, 1 << max(0, (_VOXELS // across).bit_length() - 1)))
        choices = [max(1, rows >> k) for k in range(rows.bit_length())]
    else:
        choices = [min(rows, size[axis])]
    depth = network.shape.levels
    plans = [
        RowPlan(axis, count, replay, predicted(network, size, axis, count, replay, batch))
        for replay in range(min(MOST_REPLAYED + 1, depth))
        for count in choices
    ]
    allowed = available(network.device) if budget is None else budget
    # thin slabs cost a few percent, encoding a level again a third: take slabs down to two rows first
    order = sorted(plans, key=lambda p: (p.replay + (p.rows < 2), -p.rows))
    for candidate in order:
        if candidate.bytes <= allowed:
            return candidate
    least = min(plans, key=lambda p: p.bytes)
    if budget is None:
        return least  # the prediction errs on the safe side: it may do after all, and if not, that is handled
    raise MemoryLimitError(
        f"a volume of {'x'.join(map(str, size))} does not fit {format_bytes(budget)}",
        mend=f"allow at least {format_bytes(least.bytes)}",
    )


def predicted(network: Levels, size: Sequence[int], axis: int, rows: int, replay: int, batch: int = 1) -> int:
    """The peak above the loaded model and the input volume, in bytes."""
    count = footprint(network, size, axis, rows, replay, batch)
    return with_overhead(count + weight_bytes(network), network.device)


def with_overhead(count: int, device: torch.device) -> int:
    """What a counted peak of tensors becomes on a device."""
    return int(count * (_ALLOCATOR if device.type == "cpu" else 1.25)) + _LIBRARIES.get(device.type, 0)
