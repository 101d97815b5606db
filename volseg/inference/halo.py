"""The paper's overlap-tile strategy for any network: tiles that read a margin and keep their interior."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from logging import getLogger
from math import prod

import torch
from torch import Tensor

from volseg.errors import MemoryLimitError, UsageError
from volseg.inference import allocator
from volseg.inference.exhausted import VolumeTooLarge, is_out_of_memory
from volseg.inference.memory import counted_peak
from volseg.inference.mirrored import read_mirrored
from volseg.inference.planner import with_overhead
from volseg.inference.probing import Reach
from volseg.inference.tiling import Box, Tile, TilePlan, next_size, plan

_log = getLogger(__name__)
_MUCH = 3.0


def halo(
    volume: Tensor,
    run: Callable[[Tensor], Tensor],
    reach: Reach,
    *,
    device: torch.device,
    budget: int | None = None,
    tile: Sequence[int] | None = None,
) -> Iterator[tuple[Box, Tensor]]:
    """The logits of (batch, channels, *spatial) tile by tile, the first axis slowest, each voxel once.

    ``run`` is the network as :func:`runner` calls it.
    """
    tiles = _tiles(volume, run, reach, device, budget, tile)
    if tiles.recomputation > _MUCH:
        _log.warning(
            "tiles of %s read every voxel %.1f times; more memory, or blend, would be faster",
            "x".join(map(str, tiles.tile)),
            tiles.recomputation,
        )
    for piece in tiles:
        yield from _run_tile(volume, run, tiles, piece)


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
    return with_overhead(int(prod(tiles.largest) * _per_voxel(volume, run, reach)), device)


def runner(
    network: Callable[[Tensor], Tensor], device: torch.device, autocast: torch.dtype | None
) -> Callable[[Tensor], Tensor]:
    """The network as it is called for inference: on its device, without gradients, a tensor for an answer."""

    def run(x: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, autocast, enabled=autocast is not None):
            y = network(x.to(device))
        if not isinstance(y, Tensor):
            raise UsageError(f"the network gave a {type(y).__name__} where logits were expected")
        return y

    return run


def _run_tile(
    volume: Tensor, run: Callable[[Tensor], Tensor], tiles: TilePlan, tile: Tile
) -> Iterator[tuple[Box, Tensor]]:
    """One tile, or in halves if it does not fit after all."""
    logits: Tensor | None = None
    try:
        y = run(read_mirrored(volume, tile.read))
    except (RuntimeError, MemoryError) as error:
        if isinstance(error, MemoryLimitError) or not is_out_of_memory(error):
            raise
    else:
        if tuple(y.shape[2:]) != tile.gives.shape:
            raise UsageError(
                f"the network made {tuple(y.shape[2:])} of {tile.read.shape} where {tile.gives.shape} was expected",
                mend="give its margin, stride and padding as they are",
            )
        logits = y[(slice(None), slice(None), *tile.crop)].float()
        del y
    if logits is not None:
        held = [logits]
        del logits
        yield tile.keep, held.pop()
        return
    allocator.give_back()
    halves = _halves(tiles, tile)
    _log.warning("memory ran out; going on with a tile of %s", "x".join(map(str, halves[0].keep.shape)))
    for half in halves:
        yield from _run_tile(volume, run, tiles, half)


def _halves(tiles: TilePlan, tile: Tile) -> list[Tile]:
    """The same kept voxels as two tiles, parted on the stride grid along the first axis that is longest."""
    cuts = []
    for axis, (start, stop) in enumerate(zip(tile.keep.start, tile.keep.stop, strict=True)):
        half = next_size((stop - start + 1) // 2, tiles.stride[axis])
        if half < stop - start:
            cuts.append((stop - start, -axis, start + half))
    if not cuts:
        raise MemoryLimitError("memory ran out at the smallest tile", mend="free memory, or use a smaller network")
    _, axis, cut = max(cuts)
    whole = tile.keep
    first = Box(whole.start, tuple(cut if a == -axis else b for a, b in enumerate(whole.stop)))
    second = Box(tuple(cut if a == -axis else b for a, b in enumerate(whole.start)), whole.stop)
    return [tiles.around(first), tiles.around(second)]


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
    """Tiles as they were asked for, or as the budget allows, or all of the volume."""
    spatial = tuple(volume.shape[2:])
    if tile is None and budget is not None:
        return _fitting(volume, run, reach, device, budget)
    return _lay_out(spatial, spatial if tile is None else tile, reach)


def _per_voxel(volume: Tensor, run: Callable[[Tensor], Tensor], reach: Reach) -> float:
    """The bytes that a voxel takes, counted on the smallest tile."""
    sample = next(iter(_lay_out(tuple(volume.shape[2:]), reach.stride, reach))).read
    return counted_peak(lambda: _drop(run(read_mirrored(volume, sample)))) / sample.size


def _fitting(
    volume: Tensor, run: Callable[[Tensor], Tensor], reach: Reach, device: torch.device, budget: int
) -> TilePlan:
    """The largest tiles whose predicted peak is within the budget."""
    spatial = tuple(volume.shape[2:])
    per_voxel = _per_voxel(volume, run, reach)
    tile = list(spatial)
    while True:
        tiles = _lay_out(spatial, tile, reach)
        needed = with_overhead(int(prod(tiles.largest) * per_voxel), device)
        if needed <= budget:
            return tiles
        longest = max(range(len(tile)), key=lambda axis: tile[axis] / reach.stride[axis])
        if tile[longest] <= reach.stride[longest]:
            raise VolumeTooLarge.of(spatial, budget, needed)
        tile[longest] = next_size((tile[longest] + 1) // 2, reach.stride[longest])


def _drop(_: Tensor) -> None:
    pass
