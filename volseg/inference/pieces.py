"""The logits of a volume, piece by piece, by the way of working that suits the network and the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from logging import getLogger
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from volseg.errors import MemoryLimitError, SizeError, UsageError
from volseg.inference import allocator, whole
from volseg.inference.exhausted import is_out_of_memory
from volseg.inference.halo import halo, runner
from volseg.inference.layers import Levels
from volseg.inference.memory import parse_bytes
from volseg.inference.probing import Reach, SeesEverything, probe
from volseg.inference.rowwise import rowwise
from volseg.inference.tiling import Box, next_size
from volseg.inference.windows import Windows
from volseg.networks.unet import UNet
from volseg.shapes import NetworkShape

_log = getLogger(__name__)

Precision = Literal["float32", "bf16", "fp16"]
Network = Callable[[Tensor], Tensor]
_DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# slices of a 2-D network that pass together: as many as have about this many pixels
_PIXELS = 600_000
_WINDOW = 96
_MEASURED: WeakKeyDictionary[nn.Module, dict[int, Reach]] = WeakKeyDictionary()


def stream_logits(
    x: Tensor,
    network: Network,
    *,
    max_memory: str | int | None = None,
    tile: int | Sequence[int] | None = None,
    blend: bool | Windows = False,
    precision: Precision = "float32",
    reach: Reach | None = None,
    spatial_dims: int | None = None,
    slice_axis: int = -1,
    axis: int | None = None,
) -> Iterator[tuple[Box, Tensor]]:
    """The logits of one volume as ``(where, channels x voxels)``, each voxel once, equal to those of one pass.

    A U-Net of volseg gives slabs along one axis, in order; a 2-D network over a volume gives slabs of slices; other
    networks give tiles, the first axis slowest, or all at once where they see all of their input. Nothing is computed
    before the first piece is asked for.

    Args:
        x: (channels, *spatial), on any device.
        network: in evaluation mode, on the device it is to run on.
        max_memory: the peak above the loaded model and the input volume, as ``"2GiB"`` or in bytes.
        tile: the size of tiles, or of slabs along the axis they follow, instead of what the memory suggests.
        blend: MONAI's overlapping windows instead of exact pieces, Gaussian ones unless said; makes full-size logits.
        precision: of the computation; the logits are float32.
        reach: what a network from elsewhere sees; measured where it is not given.
        spatial_dims: of a network from elsewhere, where it is not the volume's.
        slice_axis: the axis whose slices a 2-D network takes from a volume.
        axis: the axis that slabs of a U-Net follow; none for the longest.
    """
    volume = plain(x)
    module = unwrapped(network)
    device = _device(module, volume)
    if getattr(module, "training", False):
        raise UsageError("the network is in training mode", mend="call network.eval() first")
    if precision not in _DTYPES:
        raise UsageError(f"precision is {', '.join(_DTYPES)}, not {precision!r}")
    budget = None if max_memory is None else parse_bytes(max_memory)
    dims = spatial_dims or getattr(module, "spatial_dims", None)
    dims = dims or volume.ndim - 1
    if volume.ndim - 1 not in (dims, dims + 1) or min(volume.shape) < 1:
        raise SizeError(f"a {dims}-D network cannot take (channels, *spatial) of {tuple(x.shape)}")
    if device.type == "cpu":
        allocator.keep_large_blocks()

    @cache
    def layers() -> Levels:
        assert isinstance(module, UNet)
        return Levels.of(module, _DTYPES[precision], channels_last=device.type == "cpu" or precision != "float32")

    def pieces(images: Tensor) -> Iterator[tuple[Box, Tensor]]:
        sizes = None if tile is None else _per_axis(tile, dims)
        if blend:
            windows = blend if isinstance(blend, Windows) else Windows()
            return _blended(images, network, device, sizes, precision, windows)
        lower = None if precision == "float32" else _DTYPES[precision]
        if isinstance(module, UNet):
            if module.norm == "instance" and sizes is None:
                run, size = runner(network, device, lower), module.shape.input_size(images.shape[2:])
                try:
                    if whole.fits(run, images, size, device, budget):
                        return iter([whole.whole_pass(run, images, module.shape.lost, size)])
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                    allocator.give_back()
                    _log.warning("memory ran out in one pass; going on in slabs")
            along = axis if axis is not None else _forced_axis(images, sizes)
            rows = None if sizes is None else sizes[along or 0]
            return rowwise(images, layers(), budget=budget, rows=rows, axis=along)
        try:
            found = reach or _known(module) or _measured(module, network, images.to(device), dims)
        except SeesEverything as error:
            return _only_whole(images, runner(network, device, lower), device, budget, error)
        return halo(images, network, found, device=device, budget=budget, tile=sizes, autocast=lower)

    if volume.ndim - 1 == dims:
        for box, logits in pieces(volume[None]):
            held = [logits[0]]
            del logits
            yield box, held.pop()
    else:
        yield from _by_slices(volume, slice_axis % dims if slice_axis >= 0 else dims + 1 + slice_axis, pieces)


def plain(x: Tensor) -> Tensor:
    """The tensor without what MONAI adds to it."""
    as_tensor = getattr(x, "as_tensor", None)
    tensor: Tensor = x if as_tensor is None else as_tensor()
    return tensor.detach()


def unwrapped(network: Network) -> object:
    """The network itself, out of data-parallel and compiled wrappers."""
    found: object = network
    while True:
        inner = getattr(found, "_orig_mod", None)
        if inner is None and isinstance(found, nn.DataParallel | nn.parallel.DistributedDataParallel):
            inner = found.module
        if inner is None:
            return found
        found = inner


def _by_slices(
    volume: Tensor, slice_axis: int, pieces: Callable[[Tensor], Iterator[tuple[Box, Tensor]]]
) -> Iterator[tuple[Box, Tensor]]:
    """A 2-D network over a volume: slices are folded into the batch."""
    spatial = tuple(volume.shape[1:])
    area = volume[0].numel() // spatial[slice_axis]
    step = max(1, _PIXELS // area)
    for start in range(0, spatial[slice_axis], step):
        stop = min(start + step, spatial[slice_axis])
        images = volume.narrow(slice_axis + 1, start, stop - start).movedim(slice_axis + 1, 0)
        slab: Tensor | None = None
        for box, logits in pieces(images):
            if box.shape == tuple(images.shape[2:]):
                slab = logits
                break
            if slab is None:
                slab = logits.new_empty((*logits.shape[:2], *images.shape[2:]))
            slab[(slice(None), slice(None), *box.slices)] = logits
        assert slab is not None
        low, high = [0] * len(spatial), list(spatial)
        low[slice_axis], high[slice_axis] = start, stop
        yield Box(tuple(low), tuple(high)), slab.movedim(0, slice_axis + 1)


def _blended(
    images: Tensor,
    network: Network,
    device: torch.device,
    tile: Sequence[int] | None,
    precision: Precision,
    windows: Windows,
) -> Iterator[tuple[Box, Tensor]]:
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(
        roi_size=tuple(tile) if tile is not None else (_WINDOW,) * (images.ndim - 2),
        sw_batch_size=1,
        overlap=windows.overlap,
        mode=windows.mode,
        padding_mode=windows.outside,
        sw_device=device,
    )
    lower = precision != "float32"
    with torch.inference_mode(), torch.autocast(device.type, _DTYPES[precision] if lower else None, enabled=lower):
        logits = inferer(images, network)
    yield Box.whole(images.shape[2:]), logits.float()


def _only_whole(
    images: Tensor, run: Callable[[Tensor], Tensor], device: torch.device, budget: int | None, why: SeesEverything
) -> Iterator[tuple[Box, Tensor]]:
    """One pass over the volume mirrored up to a size the network takes; refused where it does not fit."""
    strides = whole.strides_taken(run, images)
    if strides is None:
        raise why
    size = [next_size(n, stride) for n, stride in zip(images.shape[2:], strides, strict=True)]
    if not whole.fits(run, images, size, device, budget):
        raise MemoryLimitError(
            f"the network sees all of its input, and one pass over {'x'.join(map(str, size))} voxels does not fit",
            mend="allow more memory, or use blend",
        ) from why
    yield whole.whole_pass(run, images, (0,) * len(size), size)


def _measured(module: object, network: Network, like: Tensor, dims: int) -> Reach:
    """A network is measured once, however many volumes it sees."""
    if not isinstance(module, nn.Module):
        return probe(network, like, dims)
    known = _MEASURED.setdefault(module, {})
    if dims not in known:
        known[dims] = probe(network, like, dims)
    return known[dims]


def _known(module: object) -> Reach | None:
    shape = getattr(module, "shape", None)
    return Reach.of(shape) if isinstance(shape, NetworkShape) else None


def _device(module: object, volume: Tensor) -> torch.device:
    if isinstance(module, nn.Module):
        for parameter in module.parameters():
            return parameter.device
    return volume.device


def _forced_axis(images: Tensor, sizes: Sequence[int] | None) -> int | None:
    """Where a tile was asked for: the axis it cuts into most pieces."""
    if sizes is None:
        return None
    count = [-(-n // t) for n, t in zip(images.shape[2:], sizes, strict=True)]
    return count.index(max(count))


def _per_axis(tile: int | Sequence[int], dims: int) -> tuple[int, ...]:
    sizes = (tile,) * dims if isinstance(tile, int) else tuple(int(t) for t in tile)
    if len(sizes) != dims or min(sizes) < 1:
        raise UsageError(f"tile {tile} does not suit a {dims}-D network", mend="one number, or one per axis")
    return sizes
