"""Which way of working fits the memory that was allowed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import torch

from volseg.inference.exhausted import VolumeTooLarge
from volseg.inference.footprint import footprint, gathered_footprint, weight_bytes
from volseg.inference.layers import Levels
from volseg.inference.memory import available

# Thinner slabs than this cost time, thicker ones only memory: the caches are full either way
_VOXELS = 600_000
_FEWEST = 4
# What the count cannot see: oneDNN's code and scratch, blocks the allocator keeps between sizes
_ALLOCATOR = 1.15
MOST_REPLAYED = 4
_LIBRARIES = {"cpu": 160 << 20, "cuda": 96 << 20}


@dataclass(frozen=True)
class RowPlan:
    """How a U-Net goes over a volume: along which axis, how many rows at once, for how many levels it encodes again.

    With instance norm these are the levels that run in slabs; those below run in one piece.
    """

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
        VolumeTooLarge: if no way fits; it says what the smallest needs.
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
    if network.gathers:
        return _plan_gathered(network, size, axis, choices, budget, batch)
    depth = network.shape.levels
    plans = [
        RowPlan(axis, count, replay, predicted(network, size, axis, count, replay, batch))
        for replay in range(min(MOST_REPLAYED + 1, depth))
        for count in choices
    ]
    allowed = available(network.device) if budget is None else budget
    # thin slabs cost a few percent, encoding a level again a third: take slabs down to two rows first
    order = sorted(plans, key=lambda p: (p.replay + (p.rows < 2), -p.rows))
    return _first_within(order, allowed, size, budget)


def _first_within(order: Iterable[RowPlan], allowed: int, size: Sequence[int], budget: int | None) -> RowPlan:
    least: RowPlan | None = None
    for candidate in order:
        if candidate.bytes <= allowed:
            return candidate
        if least is None or candidate.bytes < least.bytes:
            least = candidate
    assert least is not None
    if budget is None:
        return least  # the prediction errs on the safe side: it may do after all, and if not, that is handled
    raise VolumeTooLarge.of(size, budget, least.bytes)


def _plan_gathered(
    network: Levels, size: Sequence[int], axis: int, choices: Sequence[int], budget: int | None, batch: int
) -> RowPlan:
    """In one piece where that fits, else with ever more levels in slabs."""
    allowed = available(network.device) if budget is None else budget

    def predicted(rows: int, depth: int) -> RowPlan:
        count = gathered_footprint(network, size, axis, rows, depth, batch) + weight_bytes(network)
        return RowPlan(axis, rows, depth, with_overhead(count, network.device))

    deepest = network.shape.levels - 1
    if len(choices) == 1 and choices[0] < size[axis] and deepest:  # slabs of this size were asked for
        return predicted(choices[0], deepest)
    slabs = [predicted(rows, depth) for depth in range(1, deepest + 1) for rows in choices]
    return _first_within([predicted(size[axis], 0), *slabs], allowed, size, budget)


def predicted(network: Levels, size: Sequence[int], axis: int, rows: int, replay: int, batch: int = 1) -> int:
    """The peak above the loaded model and the input volume, in bytes."""
    count = footprint(network, size, axis, rows, replay, batch)
    return with_overhead(count + weight_bytes(network), network.device)


def with_overhead(count: int, device: torch.device) -> int:
    """What a counted peak of tensors becomes on a device."""
    return int(count * (_ALLOCATOR if device.type == "cpu" else 1.25)) + libraries(device)


def libraries(device: torch.device) -> int:
    """What the libraries take beside all tensors: once, however many networks run."""
    return _LIBRARIES.get(device.type, 0)
