"""A U-Net over a volume, row by row, within a budget: what was finished stays finished when memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from logging import getLogger

import torch
from torch import Tensor

from volseg.errors import MemoryLimitError
from volseg.inference import allocator
from volseg.inference.exhausted import is_out_of_memory
from volseg.inference.gathered import gathered_rows
from volseg.inference.layers import Levels
from volseg.inference.levelwise import logits_rows
from volseg.inference.memory import resident
from volseg.inference.mirrored import read_mirrored
from volseg.inference.planner import MOST_REPLAYED, RowPlan, plan_rows
from volseg.inference.tiling import Box

_log = getLogger(__name__)
# of the budget: from here on blocks that the allocator keeps unused are returned before more is asked for
_TIGHT = 0.85


def rowwise(
    volume: Tensor, network: Levels, *, budget: int | None = None, rows: int | None = None, axis: int | None = None
) -> Iterator[tuple[Box, Tensor]]:
    """The logits of (batch, channels, *spatial) as slabs along one axis, in order, each voxel once.

    A size that the strides do not divide is mirrored up to the next valid one at its far end; an unpadded network
    reads the volume mirrored by its margin all around.
    """
    spatial = tuple(volume.shape[2:])
    size = network.shape.input_size(spatial)
    plan = plan_rows(network, size, budget=budget, rows=rows, axis=axis, batch=volume.shape[0])
    done = 0
    base = resident()
    while done < spatial[plan.axis]:
        try:
            for start, slab in _from_row(volume, network, size, plan, done, _Watch(base, budget)):
                stop = start + slab.shape[plan.axis + 2]
                done = stop
                yield _slab_box(spatial, plan.axis, start, stop), slab
                del slab
        except (RuntimeError, MemoryError) as error:
            if isinstance(error, MemoryLimitError) or not is_out_of_memory(error):
                raise
            plan = _thinner(plan, network)
            _log.warning("memory ran out; going on from row %d with %d rows at a time", done, plan.rows)
        if budget is not None or done < spatial[plan.axis]:
            allocator.give_back()  # with no budget the blocks stay for the next volume: touching them anew costs time
        if network.device.type == "cuda":
            torch.cuda.empty_cache()


class _Watch:
    """Returns what the allocator keeps unused when the process comes near its budget."""

    def __init__(self, base: int, budget: int | None) -> None:
        self.limit = None if budget is None else base + int(budget * _TIGHT)

    def __call__(self) -> None:
        if self.limit is not None and resident() > self.limit:
            allocator.give_back()


@torch.inference_mode()
def _from_row(
    volume: Tensor, network: Levels, size: tuple[int, ...], plan: RowPlan, first: int, watch: _Watch
) -> Iterator[tuple[int, Tensor]]:
    """Slabs of the logits from row ``first`` on, cut to the volume."""
    shape, axis = network.shape, plan.axis
    lost, along = shape.lost, shape.axes[plan.axis]
    back = 0 if along.lost else along.margin
    # statistics of the whole volume need all of it again
    begin = 0 if network.gathers else max(0, (first - back) // along.stride * along.stride)

    def read(start: int, stop: int) -> Tensor:
        watch()
        low, high = [-m for m in lost], [n - m for n, m in zip(size, lost, strict=True)]
        low[axis], high[axis] = begin + start - lost[axis], begin + stop - lost[axis]
        return read_mirrored(volume, Box(tuple(low), tuple(high)))

    stop_row = volume.shape[axis + 2]
    row = begin
    rowwise_logits = gathered_rows if network.gathers else logits_rows
    for chunk in rowwise_logits(network, read, size[axis] - begin, axis, plan.rows, plan.replay).chunks:
        low, high = max(first, row), min(stop_row, row + chunk.shape[axis + 2])
        if low < high:
            kept = chunk.narrow(axis + 2, low - row, high - low)
            for dim, n in enumerate(volume.shape[2:], start=2):
                if dim != axis + 2:
                    kept = kept.narrow(dim, 0, n)
            row += chunk.shape[axis + 2]
            held = [kept.float()]
            del chunk, kept
            yield low, held.pop()
        else:
            row += chunk.shape[axis + 2]


def _thinner(plan: RowPlan, network: Levels) -> RowPlan:
    if network.gathers and plan.replay < network.shape.levels - 1:
        return replace(plan, rows=max(1, plan.rows // 4), replay=plan.replay + 1)
    if plan.rows > 1:
        return replace(plan, rows=max(1, plan.rows // 4))
    if not network.gathers and plan.replay < min(MOST_REPLAYED, network.shape.levels - 1):
        return replace(plan, replay=plan.replay + 1)
    raise MemoryLimitError("memory ran out even one row at a time", mend="free memory, or use a smaller network")


def _slab_box(spatial: tuple[int, ...], axis: int, start: int, stop: int) -> Box:
    low, high = [0] * len(spatial), list(spatial)
    low[axis], high[axis] = start, stop
    return Box(tuple(low), tuple(high))
