"""From logits to labels as pieces of them arrive: full-size logits never exist.

Where the network's grid is not the image's, logits are interpolated to the image's own grid and only then decided,
a few rows at a time; the result is that of doing it on the whole at once, to the bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from volseg.errors import NonFiniteError, UsageError
from volseg.inference.tiling import Box, layers_axis
from volseg.labels import smallest_unsigned
from volseg.transforms.regrid import AxisWeights, Order, axis_weights, regrid_axis

Piece = tuple[Box, Tensor]
"""Where a piece lies, and its channels: (channels, *box.shape)."""

# rows are interpolated and decided a few at a time: as many values as stay near the processor
_CHUNK = 1 << 19
_NARROW = 64


@dataclass(frozen=True)
class Decision:
    """How channels become a label.

    Attributes:
        values: the label value of each channel; for ``argmax`` the background is a channel too.
        kind: ``argmax``: the largest channel wins, the first of equals. ``threshold``: channels may overlap, and each
            voxel takes the value of the last channel above 0 (a probability above one half), or 0.
        given: ``logits``, or ``probabilities`` where several predictions were averaged.
        interpolated: what is interpolated where the network's grid is not the image's.
    """

    values: tuple[int, ...]
    kind: Literal["argmax", "threshold"] = "argmax"
    given: Literal["logits", "probabilities"] = "logits"
    interpolated: Literal["logits", "probabilities"] = "logits"
    dtype: np.dtype[np.unsignedinteger] = field(init=False)

    def __post_init__(self) -> None:
        if not self.values or min(self.values) < 0:
            raise UsageError(f"label values {self.values} decide nothing")
        object.__setattr__(self, "dtype", smallest_unsigned(max(self.values)))

    def decide(self, channels: Tensor) -> npt.NDArray[np.unsignedinteger]:
        """The label of each voxel of (channels, *spatial)."""
        if len(channels) != len(self.values):
            raise UsageError(f"{len(channels)} channels cannot be told by {len(self.values)} label values")
        # whole blocks at a time, true as 1.0: several times as fast as torch's argmax over the outermost axis
        count = len(channels)
        ranks = torch.arange(1, count + 1, dtype=torch.float32, device=channels.device)
        ranks = ranks.view(-1, *[1] * (channels.ndim - 1))
        true = torch.empty(channels.shape, dtype=torch.float32, device=channels.device)
        if self.kind == "argmax":
            values = self.values
            torch.eq(channels, channels.amax(dim=0), out=true)
            index = count - true.mul_(ranks.flip(0)).amax(dim=0)
        else:
            values = (0, *self.values)
            torch.gt(channels, 0.0 if self.given == "logits" else 0.5, out=true)
            index = true.mul_(ranks).amax(dim=0)
        places = index.to(torch.uint8 if count < 256 else torch.int64).cpu().numpy()
        if values == tuple(range(len(values))):
            return places.astype(self.dtype, copy=False)
        return np.asarray(np.asarray(values, dtype=self.dtype)[places])

    def probabilities(self, channels: Tensor) -> Tensor:
        """The channels as probabilities."""
        if self.given == "probabilities":
            return channels
        return channels.softmax(dim=0) if self.kind == "argmax" else channels.sigmoid()


@dataclass(frozen=True, eq=False)
class Decided:
    """Labels and, where asked for, the probability of each channel in steps of 1/255, and signs by structure."""

    labels: npt.NDArray[np.unsignedinteger]
    probabilities: npt.NDArray[np.uint8] | None
    signs: Mapping[str, Mapping[str, float]] | None = None


def decide(
    pieces: Iterable[Piece],
    shape: Sequence[int],
    decision: Decision,
    *,
    onto: Sequence[int] | None = None,
    order: Order = "linear",
    back: Sequence[float] | None = None,
    keep_probabilities: bool = False,
) -> Decided:
    """The labels of an image of ``onto`` voxels from the logits on a grid of ``shape``, the same field of view.

    Args:
        pieces: each voxel once; rows along one axis in order, or tiles in layers along the first.
        shape: the network's grid.
        decision: how channels become labels.
        onto: the image's grid; none is the network's.
        order: how logits are interpolated between the two.
        back: voxels of the network's grid from one of the image's to the next, where voxels are points and the two
            grids differ: they may do so with as many voxels.
        keep_probabilities: whether to keep probabilities too, a byte for each channel and voxel.

    Raises:
        NonFiniteError: if any logit is NaN or infinite.
    """
    shape = tuple(shape)
    target = shape if onto is None else tuple(onto)
    stays = target == shape and back is None
    interpolated: _Interpolated | None = None
    pieces = _finite(pieces)
    if decision.interpolated != decision.given and decision.interpolated == "probabilities" and not stays:
        pieces = _as_probabilities(pieces, decision)
        decision = replace(decision, given="probabilities")
    labels = np.zeros(target, dtype=decision.dtype)
    probabilities = np.zeros((len(decision.values), *target), dtype=np.uint8) if keep_probabilities else None

    def take(where: tuple[slice, ...], channels: Tensor) -> None:
        labels[where] = decision.decide(channels)
        if probabilities is not None:
            shares = decision.probabilities(channels).mul(255).round_().to(torch.uint8)
            probabilities[(slice(None), *where)] = shares.cpu().numpy()

    for axis, start, rows in _layers(pieces, shape):
        if stays:
            for first, channels in _chunks(rows, axis):
                take(_at(axis, start + first, start + first + channels.shape[axis + 1], len(shape)), channels)
            continue
        if interpolated is None:
            interpolated = _Interpolated(axis, shape, target, order, back)
        for first, channels in interpolated.put(rows):
            take(_at(axis, first, first + channels.shape[axis + 1], len(shape)), channels)
    return Decided(labels, probabilities)


def _finite(pieces: Iterable[Piece]) -> Iterator[Piece]:
    for box, channels in pieces:
        # the sum is finite only if every term is; twice as fast as a mask, and an overflow is no result either
        if not bool(torch.isfinite(channels.sum(dtype=torch.float32))):
            raise NonFiniteError(
                f"the network gave NaN or infinity between voxels {box.start} and {box.stop}",
                mend="check the weights, or predict in float32",
            )
        yield box, channels


def _as_probabilities(pieces: Iterable[Piece], decision: Decision) -> Iterator[Piece]:
    for box, channels in pieces:
        yield box, decision.probabilities(channels)


def _layers(pieces: Iterable[Piece], shape: tuple[int, ...]) -> Iterator[tuple[int, int, Tensor]]:
    """Pieces as complete rows: the axis that rows follow, the first row, the rows. Tiles are put together first."""
    axis: int | None = None
    layer: Tensor | None = None
    start = stop = missing = 0
    for box, channels in pieces:
        if axis is None:
            axis = layers_axis(box, shape)
        if all(n == size for a, (n, size) in enumerate(zip(box.shape, shape, strict=True)) if a != axis):
            yield axis, box.start[axis], channels
            continue
        if layer is None:
            start, stop = box.start[axis], box.stop[axis]
            across = (*shape[:axis], stop - start, *shape[axis + 1 :])
            layer = channels.new_empty((len(channels), *across))
            missing = int(np.prod(across))
        inside = list(box.slices)
        inside[axis] = slice(box.start[axis] - start, box.stop[axis] - start)
        layer[(slice(None), *inside)] = channels
        missing -= box.size
        if missing == 0:
            yield axis, start, layer
            layer = None


class _Interpolated:
    """Rows on the image's grid from rows on the network's, as far as those that came suffice.

    Axes are interpolated from the last to the first, whichever of them the rows follow, so that every plan gives the
    same bits; the first, whose rows are whole blocks of memory, comes when there is most to do.
    """

    def __init__(
        self,
        axis: int,
        shape: tuple[int, ...],
        target: tuple[int, ...],
        order: Order,
        back: Sequence[float] | None,
    ) -> None:
        self.axis = axis
        steps = (None,) * len(shape) if back is None else tuple(back)
        self.weights = [axis_weights(n, m, order, step) for n, m, step in zip(shape, target, steps, strict=True)]
        self.across = int(np.prod(target)) // target[axis]
        self.rows = target[axis]
        self.held: list[Tensor] = []  # rows that rows to come are mixed from
        self.offset = 0  # the first row held
        self.next = 0  # the next row to give

    def put(self, rows: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Take the next rows of the network's grid; give the image's rows known now, and where they start."""
        dim = self.axis + 1
        few = max(1, _CHUNK // (len(rows) * self.across))
        for start in range(0, rows.shape[dim], few):
            yield from self._put(rows.narrow(dim, start, min(few, rows.shape[dim] - start)))

    def _put(self, rows: Tensor) -> Iterator[tuple[int, Tensor]]:
        dim = self.axis + 1
        mixed = rows
        for before in reversed(range(self.axis + 1, len(self.weights))):
            mixed = _mixed(mixed, before + 1, self.weights[before])
        # what came may lie in memory that is used again
        self.held.extend(torch.split(mixed.clone() if mixed is rows else mixed, 1, dim))
        known = self.offset + len(self.held)
        weights = self.weights[self.axis]
        step = max(1, _CHUNK // (len(rows) * self.across))
        ready = int(np.searchsorted(weights.indices.max(axis=1), known))
        for first in range(self.next, ready, step):
            last = min(first + step, ready)
            part = self._mixed_rows(first, last)
            for after in reversed(range(self.axis)):
                part = _mixed(part, after + 1, self.weights[after])
            yield first, part
        self.next = ready
        if ready < self.rows:
            needed = min(int(weights.indices[ready].min()), known - 1)
            self.held = self.held[needed - self.offset :]
            self.offset = needed

    def _mixed_rows(self, first: int, last: int) -> Tensor:
        dim, weights = self.axis + 1, self.weights[self.axis]
        if dim == len(self.weights):
            return _mixed_last(torch.cat(self.held, dim), weights, (first, last), self.offset)
        rows = [weights.row(new, self.held, self.offset) for new in range(first, last)]
        return rows[0] if len(rows) == 1 else torch.cat(rows, dim)


def _mixed(x: Tensor, axis: int, weights: AxisWeights) -> Tensor:
    return _mixed_last(x, weights) if axis == x.ndim - 1 else regrid_axis(x, axis, weights)


def _mixed_last(x: Tensor, weights: AxisWeights, new: tuple[int, int] | None = None, offset: int = 0) -> Tensor:
    """The last axis mixed, as a matrix product: its zeros cost less than gathering its neighbours."""
    start, stop = new or (0, len(weights.indices))
    # libraries compute narrow products in another way, with other roundings: none is narrower than this
    lines, columns = max(_NARROW, x[..., 0].numel()), max(_NARROW, stop - start)
    matrix = np.zeros((x.shape[-1], columns))
    places = weights.indices[start:stop] - offset
    np.add.at(matrix, (places, np.arange(stop - start)[:, None]), weights.weights[start:stop])
    flat = x.reshape(-1, x.shape[-1])
    if len(flat) < lines:
        flat = torch.cat([flat, flat.new_zeros(lines - len(flat), x.shape[-1])])
    product = flat @ torch.from_numpy(matrix).to(x.device, x.dtype)
    return product[: x[..., 0].numel(), : stop - start].reshape(*x.shape[:-1], stop - start)


def _chunks(rows: Tensor, axis: int) -> Iterator[tuple[int, Tensor]]:
    step = max(1, _CHUNK // max(1, rows.numel() // rows.shape[axis + 1]))
    for first in range(0, rows.shape[axis + 1], step):
        yield first, rows.narrow(axis + 1, first, min(step, rows.shape[axis + 1] - first))


def _at(axis: int, start: int, stop: int, ndim: int) -> tuple[slice, ...]:
    return tuple(slice(start, stop) if a == axis else slice(None) for a in range(ndim))
