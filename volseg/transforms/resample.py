"""One resampling of a tensor through a map of coordinates, in slabs that stay in the processor's cache.

Positions are never stored for the whole volume: each slab's come out of one small matrix product, already in the order
the sampler reads. Nearest neighbours are a gather of our own, in the label's own integer type.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F

from volseg.errors import UsageError, nearest
from volseg.transforms.coordinates import CoordinateMap, DenseMap
from volseg.transforms.splines import prefilter

#: ``probability`` warps one indicator image per class and takes the most probable: smooth borders, no new values.
Mode = Literal["linear", "cubic", "nearest", "probability"]
MODES: tuple[Mode, ...] = ("linear", "cubic", "nearest", "probability")
#: outside the image: ``reflect`` mirrors about the outermost voxels, ``border`` repeats them, ``constant`` fills
Padding = Literal["reflect", "border", "constant"]
PADDINGS: tuple[Padding, ...] = ("reflect", "border", "constant")

Map = CoordinateMap | DenseMap

_SAME_AS = {"bilinear": "linear", "bicubic": "cubic", "reflection": "reflect", "zeros": "constant"}  # MONAI's words
_SLAB = 1 << 16  # voxels: three float32 positions each stay within a core's second-level cache
_EXACT_IN_FLOAT32 = 1 << 24


def mode_named(name: str) -> Mode:
    """The interpolation of that name; torch's and MONAI's names are understood."""
    return cast(Mode, _named(name, MODES, "interpolation"))


def padding_named(name: str) -> Padding:
    """The padding of that name; torch's and MONAI's names are understood."""
    return cast(Padding, _named(name, PADDINGS, "padding"))


def _named(name: str, known: Sequence[str], what: str) -> str:
    chosen = _SAME_AS.get(str(name), str(name))
    if chosen not in known:
        near = nearest(chosen, list(known))
        raise UsageError(f"{name!r} is no {what}", mend=f"did you mean {near!r}?" if near else f"one of {known}")
    return chosen


@torch.no_grad()
def warp(
    image: torch.Tensor,
    mapping: Map,
    *,
    mode: str = "linear",
    padding: str = "reflect",
    fill: float = 0.0,
    shape: Sequence[int] | None = None,
) -> torch.Tensor:
    """A channel-first image ``(C, *spatial)`` resampled at the positions that ``mapping`` gives its voxels.

    Args:
        image: on any device; integer images come back as float32 from ``linear`` and ``cubic``, and as they are from
            ``nearest`` and ``probability``.
        mapping: from output to input voxels.
        mode: one of :data:`MODES`.
        padding: one of :data:`PADDINGS`.
        fill: the value outside, for ``constant``.
        shape: of what comes out; none is the image's own. A patch is taken from the whole image that way, with what
            really lies around it.

    >>> shifted = CoordinateMap.affine([[1.0, 1.0], [0.0, 1.0]], (4,))
    >>> warp(torch.tensor([[1, 2, 3, 4]]), shifted, mode="nearest").tolist()
    [[2, 3, 4, 3]]
    """
    chosen, outside = mode_named(mode), padding_named(padding)
    if image.ndim != mapping.ndim + 1:
        raise UsageError(
            f"a map of {mapping.ndim} axes cannot warp a tensor of shape {tuple(image.shape)}",
            mend="tensors are channel-first: (channels, *spatial)",
        )
    onto = tuple(image.shape[1:]) if shape is None else tuple(int(n) for n in shape)
    if chosen == "nearest":
        return _nearest(image, mapping, outside, fill, onto)
    if chosen == "probability":
        return _most_probable(image, mapping, outside, fill, onto)
    kept = image.dtype if image.is_floating_point() else torch.float32
    work = image.to(torch.float64 if kept == torch.float64 else torch.float32)
    if chosen == "cubic":
        return _cubic(work, mapping, outside, fill, onto).to(kept)
    return _linear(work, mapping, outside, fill, onto).to(kept)


def warp_batch(
    batch: torch.Tensor,
    mappings: Sequence[Map],
    *,
    mode: str = "linear",
    padding: str = "reflect",
    fill: float = 0.0,
) -> torch.Tensor:
    """:func:`warp` for a batch (B, C, *spatial) on its own device, one map for each sample."""
    if len(batch) != len(mappings):
        raise UsageError(f"{len(batch)} samples need as many maps, not {len(mappings)}")
    return torch.stack(
        [
            warp(image, mapping, mode=mode, padding=padding, fill=fill)
            for image, mapping in zip(batch, mappings, strict=True)
        ]
    )


@dataclass(frozen=True)
class _Slab:
    where: slice
    positions: torch.Tensor


def _slabs(
    mapping: Map, shape: Sequence[int], dtype: torch.dtype, device: torch.device, *, planar: bool
) -> Iterator[_Slab]:
    """Positions slab by slab along the first axis: (axis, slab, *rest) if planar, else (slab, *rest, axis)."""
    positions = mapping.rows(shape, dtype, device, planar=planar)
    depth = shape[0] if device.type != "cpu" else max(1, _SLAB // max(1, int(np.prod(shape[1:]))))
    for start in range(0, shape[0], depth):
        where = slice(start, min(start + depth, shape[0]))
        yield _Slab(where, positions(where))


def _mirrors(mapping: Map, shape: Sequence[int], onto: Sequence[int]) -> int:
    """How far the map leaves the image: 0 not at all, 1 by less than its length on every axis, 2 by more."""
    lower, upper = mapping.bounds(onto)
    last = np.asarray(shape) - 1.0
    if (lower >= 0).all() and (upper <= last).all():
        return 0
    return 1 if (lower >= -last).all() and (upper <= 2 * last).all() else 2


def _reflect(x: torch.Tensor, last: float, mirrors: int) -> torch.Tensor:
    """Positions mirrored into [0, last], in place."""
    if mirrors == 0:
        return x
    if last == 0:
        return x.zero_()
    if mirrors == 2:
        x.remainder_(2 * last)
    else:
        x.abs_()
    return x.neg_().add_(last).abs_().neg_().add_(last)


def _nearest(image: torch.Tensor, mapping: Map, padding: Padding, fill: float, onto: tuple[int, ...]) -> torch.Tensor:
    shape = tuple(image.shape[1:])
    dtype = torch.float32 if image[0].numel() <= _EXACT_IN_FLOAT32 or image.device.type == "mps" else torch.float64
    mirrors = _mirrors(mapping, shape, onto) if padding == "reflect" else 0
    source = image.reshape(len(image), -1)
    result = source.new_empty((len(image), int(np.prod(onto))))
    voxels = int(np.prod(onto[1:]))
    for slab in _slabs(mapping, onto, dtype, image.device, planar=True):
        positions = slab.positions.round_()
        outside = None
        index = torch.zeros_like(positions[0])
        for x, size in zip(positions, shape, strict=True):
            if padding == "constant":
                beyond = (x < 0) | (x > size - 1)
                outside = beyond if outside is None else outside.logical_or_(beyond)
            index.mul_(size).add_(_reflect(x, size - 1, mirrors).clamp_(0, size - 1))
        flat = index.reshape(-1).long()
        span = slice(slab.where.start * voxels, slab.where.stop * voxels)
        for channel, out in zip(source, result, strict=True):
            torch.index_select(channel, 0, flat, out=out[span])
        if outside is not None:
            result[:, span].masked_fill_(outside.reshape(-1), fill)
    return result.view(len(image), *onto)


def _most_probable(
    image: torch.Tensor, mapping: Map, padding: Padding, fill: float, onto: tuple[int, ...]
) -> torch.Tensor:
    present = torch.unique(image)
    if padding == "constant" and not bool((present == fill).any()):
        present = torch.cat((present, torch.as_tensor([fill], dtype=present.dtype, device=present.device)))
    result = image.new_full((len(image), *onto), present[0].item())
    best = torch.full(result.shape, -1.0, dtype=torch.float32, device=image.device)
    for value in present:  # the first of equals wins, as in argmax
        share = _linear((image == value).float(), mapping, padding, float(value == fill), onto)
        better = share > best
        best = torch.where(better, share, best)
        result.masked_fill_(better, value.item())
    return result


def _linear(image: torch.Tensor, mapping: Map, padding: Padding, fill: float, onto: tuple[int, ...]) -> torch.Tensor:
    shape = tuple(image.shape[1:])
    last = np.asarray(shape, dtype=np.float64) - 1
    mirrors = _mirrors(mapping, shape, onto) if padding == "reflect" else 0
    if padding == "constant":  # -1 and 1 are the outer faces of the outermost voxels
        scale, shift = 2 / (last + 1), 1 / (last + 1) - 1
        image = image - fill
    else:  # -1 and 1 are their centres; while mirrors are to come, 0 and 2
        scale = np.divide(2.0, last, out=np.zeros_like(last), where=last > 0)
        shift = np.zeros_like(last) if mirrors else np.where(last > 0, -1.0, 0.0)
    turned = mapping.scaled(scale, shift)
    result = image.new_empty((len(image), *onto))
    for slab in _slabs(turned, onto, image.dtype, image.device, planar=False):
        grid = slab.positions
        if mirrors:
            _reflect(grid, 2.0, mirrors).sub_(1.0)
        result[:, slab.where] = _grid_sample(image, grid, "zeros" if padding == "constant" else "border")
    return result.add_(fill) if padding == "constant" else result


def _grid_sample(image: torch.Tensor, grid: torch.Tensor, padding: str) -> torch.Tensor:
    """One channel-first image sampled over a slab; 0 outside if ``zeros``.

    torch shares the work among threads by samples only, so each slice of the slab is handed over as a sample.
    """
    if image.ndim == 2:  # torch has no sampler along one axis: a second one of one voxel
        grid = torch.stack((torch.zeros_like(grid[..., 0]), grid[..., 0]), dim=-1).unsqueeze(1)
        image = image.unsqueeze(-1)
    parts = len(grid) if image.ndim > 3 and grid.device.type == "cpu" else _divisor(len(grid))
    grid = grid.view(parts, len(grid) // parts, *grid.shape[1:])
    sampled = F.grid_sample(
        image.expand(parts, *image.shape),
        grid,
        mode="bilinear",
        padding_mode=padding,
        align_corners=padding == "border",
    )
    return sampled.transpose(0, 1).reshape(len(image), -1, *sampled.shape[3:])


def _divisor(size: int) -> int:
    return next(parts for parts in (8, 4, 2, 1) if size % parts == 0)


def _cubic(image: torch.Tensor, mapping: Map, padding: Padding, fill: float, onto: tuple[int, ...]) -> torch.Tensor:
    """A cubic spline through the voxels, evaluated as 2^d linear samples of its coefficients."""
    shape = tuple(image.shape[1:])
    mirrors = _mirrors(mapping, shape, onto) if padding == "reflect" else 0
    coefficients = _padded(_coefficients(image))
    result = image.new_empty((len(image), *onto))
    for slab in _slabs(mapping, onto, image.dtype, image.device, planar=True):
        coverage = torch.ones_like(slab.positions[0]) if padding == "constant" else None
        sides = []
        for x, size in zip(slab.positions, shape, strict=True):
            if coverage is not None:
                coverage.mul_((1 - torch.relu(-x) - torch.relu(x - (size - 1))).clamp_(0, 1))
            sides.append(_bspline_pair(_reflect(x, size - 1, mirrors).clamp_(0, size - 1), size + 2 * _CONTEXT))
        total = torch.zeros_like(result[:, slab.where])
        for corner in product((0, 1), repeat=len(shape)):
            weight = torch.stack([sides[axis][side][1] for axis, side in enumerate(corner)]).prod(dim=0)
            grid = torch.stack([sides[axis][side][0] for axis, side in reversed(list(enumerate(corner)))], dim=-1)
            total += weight * _grid_sample(coefficients, grid, "border")
        if coverage is not None:
            total = total * coverage + fill * (1 - coverage)
        result[:, slab.where] = total
    return result


_CONTEXT = 2  # coefficients beyond the outermost voxels that a position on them still reads


def _coefficients(image: torch.Tensor) -> torch.Tensor:
    with torch.autocast(image.device.type, enabled=False):
        for size in image.shape[1:]:
            solve = prefilter(size, image.dtype, image.device)
            image = torch.tensordot(image, solve, dims=([1], [1]))
    return image


def _padded(image: torch.Tensor) -> torch.Tensor:
    for axis, size in enumerate(image.shape[1:], start=1):
        around = torch.arange(-_CONTEXT, size + _CONTEXT, device=image.device)
        if size > 1:
            around = (size - 1) - ((around % (2 * size - 2)) - (size - 1)).abs()
        image = image.index_select(axis, around.clamp(0, size - 1))
    return image


def _bspline_pair(x: torch.Tensor, size: int) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """Two positions (normalised to a padded axis of ``size``) whose weighted linear samples are the cubic B-spline."""
    left = x.floor()
    b = x - left
    a = 1 - b
    near = (a**3 + 4 - 6 * b**2 + 3 * b**3) / 6  # weights of the two coefficients before, and of the two behind
    lower = left - 1 + (4 - 6 * b**2 + 3 * b**3) / 6 / near
    upper = left + 1 + b**3 / 6 / (1 - near)
    scale = 2 / (size - 1)
    return ((lower + _CONTEXT) * scale - 1, near), ((upper + _CONTEXT) * scale - 1, 1 - near)
