"""The paper's overlap-tile strategy for any network: tiles that read a margin and keep their interior."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from logging import getLogger
from math import prod

import torch
from torch import Tensor

from volseg.errors import MemoryLimitError, UsageError
from volseg.inference import allocator, whole
from volseg.inference.arithmetic import Precision, computing_in
from volseg.inference.exhausted import VolumeTooLarge, is_out_of_memory, within_memory
from volseg.inference.memory import available, counted_peak
from volseg.inference.mirrored import read_mirrored
from volseg.inference.planner import with_overhead
from volseg.inference.probing import Reach
from volseg.inference.tiling import Box, Tile, TilePlan, layers_axis, next_size, plan

_log = getLogger(__name__)
_MUCH = 3.0
_SMALLEST, _LESS = "memory ran out at the smallest tile", "free memory, or use a smaller network"


def halo(
    volume: Tensor,
    run: Callable[[Tensor], Tensor],
    reach: Reach,
    *,
    device: torch.device,
    budget: int | None = None,
    tile: Sequence[int] | None = None,
) -> Iterator[tuple[Box, Tensor]]:
    """The logits of (batch, channels, *spatial) tile by tile, in layers along one axis, each voxel once.

    The axis is the first, or the only one that is parted. ``run`` is the network as :func:`runner` calls it.
    """
    tiles = _tiles(volume, run, reach, device, budget, tile)
    if tiles.recomputation > _MUCH:
        _log.warning(
            "tiles of %s read every voxel %.1f times; more memory, or blend, would be faster",
            "x".join(map(str, tiles.tile)),
            tiles.recomputation,
        )
    waiting = list(tiles)
    axis: int | None = None
    while waiting:
        logits = _run_tile(volume, run, waiting[0])
        if logits is None:
            allocator.give_back()
            waiting = _halved(tiles, waiting, axis or 0)
            _log.warning("memory ran out; going on with tiles of %s", "x".join(map(str, waiting[0].keep.shape)))
            continue
        keep = waiting.pop(0).keep
        if axis is None:
            axis = layers_axis(keep, tiles.shape)
        held = [logits]
        del logits
        yield keep, held.pop()


def needs(
    volume: Tensor,
    run: Callable[[Tensor], Tensor],
    reach: Reach,
    *,
    device: torch.device,
    budget: int | None = None,
    tile: Sequence[int] | None = None,
) -> int:
    """The bytes that the largest tile is expected to take; what a voxel takes is counted on a small one."""
    tiles = _tiles(volume, run, reach, device, budget, tile)
    if budget is None and (counted := whole.needs(run, volume, tiles.largest, device)) is not None:
        return counted
    return with_overhead(int(prod(tiles.largest) * _per_voxel(volume, run, reach)), device)


def runner(
    network: Callable[[Tensor], Tensor], device: torch.device, precision: Precision
) -> Callable[[Tensor], Tensor]:
    """The network as it is called for inference: on its device, without gradients, a tensor for an answer."""

    def run(x: Tensor) -> Tensor:
        with torch.inference_mode(), computing_in(precision, device):
            y = network(x.to(device))
        if not isinstance(y, Tensor):
            raise UsageError(f"the network gave a {type(y).__name__} where logits were expected")
        return y

    return run


def _run_tile(volume: Tensor, run: Callable[[Tensor], Tensor], tile: Tile) -> Tensor | None:
    """The logits that a tile keeps; none where memory ran out."""
    try:
        y = run(read_mirrored(volume, tile.read))
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryLimitError) or not is_out_of_memory(error):
            raise
        return None
    if tuple(y.shape[2:]) != tile.gives.shape:
        raise UsageError(
            f"the network made {tuple(y.shape[2:])} of {tile.read.shape} where {tile.gives.shape} was expected",
            mend="give its margin, stride and padding as they are",
        )
    return y[(slice(None), slice(None), *tile.crop)].float()


def _halved(tiles: TilePlan, waiting: Sequence[Tile], axis: int) -> list[Tile]:
    """All that waits in tiles half as long along the axis where the first is longest, parted on the stride grid.

    They come by layers along ``axis``, as whoever puts them together expects: parting the first alone would leave
    pieces of one layer for after the next.
    """
    lengths = enumerate(zip(waiting[0].keep.shape, tiles.stride, strict=True))
    cuts = [(n, -a, next_size((n + 1) // 2, stride)) for a, (n, stride) in lengths]
    cuts = [cut for cut in cuts if cut[2] < cut[0]]
    if not cuts:
        raise MemoryLimitError(_SMALLEST, mend=_LESS)
    _, minus, step = max(cuts)
    along = -minus
    parts: list[Box] = []
    for keep in (tile.keep for tile in waiting):
        for start in range(keep.start[along], keep.stop[along], step):
            low, high = list(keep.start), list(keep.stop)
            low[along], high[along] = start, min(start + step, high[along])
            parts.append(Box(tuple(low), tuple(high)))
    return [tiles.around(part) for part in sorted(parts, key=lambda part: (part.start[axis], part.start))]


def _lay_out(spatial: Sequence[int], tile: Sequence[int], reach: Reach) -> TilePlan:
    return plan(spatial, tile, reach.margin, reach.stride, reach.padding, reach.remainder)


def _tiles(
    volume: Tensor,
    run: Callable[[Tensor], Tensor],
    reach: Reach,
    device: torch.device,
    budget: int | None,
    tile: Sequence[int] | None,
) -> TilePlan:
    """Tiles as they were asked for, or the largest that the budget allows."""
    spatial = tuple(volume.shape[2:])
    if tile is not None:
        return _lay_out(spatial, tile, reach)
    if budget is None:  # mostly there is room for all of it, as a pass over few voxels tells
        all_of_it = _lay_out(spatial, spatial, reach)
        if whole.fits(run, volume, all_of_it.largest, device, budget):
            return all_of_it
    return _fitting(volume, run, reach, device, budget)


def _per_voxel(volume: Tensor, run: Callable[[Tensor], Tensor], reach: Reach) -> float:
    """The bytes that a voxel takes, counted on the smallest tile."""
    sample = next(iter(_lay_out(tuple(volume.shape[2:]), reach.stride, reach))).read
    with within_memory(_SMALLEST, mend=_LESS):
        return counted_peak(lambda: run(read_mirrored(volume, sample))) / sample.size


def _fitting(
    volume: Tensor, run: Callable[[Tensor], Tensor], reach: Reach, device: torch.device, budget: int | None
) -> TilePlan:
    """The largest tiles whose predicted peak is within the budget."""
    allowed = available(device) if budget is None else budget
    spatial = tuple(volume.shape[2:])
    per_voxel = _per_voxel(volume, run, reach)
    tile = list(spatial)
    while True:
        tiles = _lay_out(spatial, tile, reach)
        needed = with_overhead(int(prod(tiles.largest) * per_voxel), device)
        if needed <= allowed:
            return tiles
        longest = max(range(len(tile)), key=lambda axis: tile[axis] / reach.stride[axis])
        if tile[longest] <= reach.stride[longest]:
            if budget is None:
                return tiles  # the prediction errs on the safe side: it may do after all
            raise VolumeTooLarge.of(spatial, budget, needed)
        tile[longest] = next_size((tile[longest] + 1) // 2, reach.stride[longest])
