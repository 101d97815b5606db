"""The logits of a volume, piece by piece, by the way of working that suits the network and the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from volseg.errors import SizeError, UsageError
from volseg.inference import allocator
from volseg.inference.arithmetic import Precision, possible
from volseg.inference.memory import parse_bytes
from volseg.inference.probing import Reach
from volseg.inference.tiling import Box
from volseg.inference.ways import Network, Ways, per_axis
from volseg.inference.windows import Windows

# slices of a 2-D network that pass together: as many as have about this many pixels
_PIXELS = 600_000


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
    networks give tiles, in layers along the first axis, or all at once where they see all of their input. Nothing is
    computed before the first piece is asked for.

    Args:
        x: ``(channels, *spatial)``, on any device.
        network: in evaluation mode, on the device it is to run on.
        max_memory: the peak above the loaded model and the input volume, as ``"2GiB"`` or in bytes.
        tile: the size of tiles, or of slabs along the axis they follow, instead of what the memory suggests.
        blend: MONAI's overlapping windows instead of exact pieces, Gaussian ones unless said; makes full-size logits.
        precision: of the computation, float32 where the device lacks it; the logits are float32.
        reach: what a network from elsewhere sees; measured where it is not given.
        spatial_dims: of a network from elsewhere, where it is not the volume's.
        slice_axis: the axis whose slices a 2-D network takes from a volume.
        axis: the axis that slabs of a U-Net follow; none for the longest.
    """
    volume = plain(x)
    ways = _ways(volume, network, max_memory, tile, blend, precision, reach, spatial_dims, axis)
    if ways.device.type == "cpu":
        allocator.keep_large_blocks()

    def pieces(images: Tensor) -> Iterator[tuple[Box, Tensor]]:
        return ways.of(images).logits()

    if volume.ndim - 1 == ways.dims:
        for box, logits in pieces(volume[None]):
            held = [logits[0]]
            del logits
            yield box, held.pop()
    else:
        yield from _by_slices(volume, _stacked(ways.dims, slice_axis), pieces)


def needed_bytes(
    shape: Sequence[int],
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
) -> int | None:
    """The bytes that :func:`stream_logits` is expected to take for (channels, *spatial) with the same options.

    They are those above the loaded network and the volume, which is not needed to tell; none for blended windows,
    which nobody counts.

    Raises:
        MemoryLimitError: if no way of working stays within ``max_memory``.
    """
    volume = torch.zeros(1).expand(*shape)  # a shape without voxels
    ways = _ways(volume, network, max_memory, tile, blend, precision, reach, spatial_dims, axis)
    if volume.ndim - 1 == ways.dims:
        return ways.of(volume[None]).needs()
    stacked = _stacked(ways.dims, slice_axis)
    slab = volume.narrow(stacked + 1, 0, min(_slices(volume, stacked), shape[stacked + 1]))
    return ways.of(slab.movedim(stacked + 1, 0)).needs()


def _ways(
    volume: Tensor,
    network: Network,
    max_memory: str | int | None,
    tile: int | Sequence[int] | None,
    blend: bool | Windows,
    precision: Precision,
    reach: Reach | None,
    spatial_dims: int | None,
    axis: int | None,
) -> Ways:
    """What was asked for, judged."""
    module = unwrapped(network)
    if getattr(module, "training", False):
        raise UsageError("the network is in training mode", mend="call network.eval() first")
    dims = spatial_dims or getattr(module, "spatial_dims", None) or volume.ndim - 1
    if volume.ndim - 1 not in (dims, dims + 1) or min(volume.shape) < 1:
        raise SizeError(f"a {dims}-D network cannot take (channels, *spatial) of {tuple(volume.shape)}")
    device = device_of(module, volume)
    return Ways(
        network,
        module,
        device,
        dims,
        None if max_memory is None else parse_bytes(max_memory),
        None if tile is None else per_axis(tile, dims),
        blend,
        possible(precision, device),
        reach,
        axis,
    )


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
    step = _slices(volume, slice_axis)
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


def _stacked(dims: int, slice_axis: int) -> int:
    """The spatial axis of a volume whose slices a network of fewer dimensions takes, counted from the first."""
    axes = dims + 1
    if slice_axis not in range(-axes, axes):
        raise UsageError(f"a {axes}-D volume has no slice_axis {slice_axis}", mend=f"it is from {-axes} to {axes - 1}")
    return slice_axis % axes


def _slices(volume: Tensor, slice_axis: int) -> int:
    """How many slices pass together."""
    return max(1, _PIXELS // (volume[0].numel() // volume.shape[slice_axis + 1]))


def device_of(module: object, volume: Tensor) -> torch.device:
    """Where a network runs: where its weights are, or, without any, the volume."""
    if isinstance(module, nn.Module):
        for parameter in module.parameters():
            return parameter.device
    return volume.device
