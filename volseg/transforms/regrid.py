"""From one grid to another over the same field of view: separable, axis by axis, in whole or row by row.

Voxels are areas (their outer faces coincide, not their centres), as in :meth:`volseg.geometry.Grid.reshaped`. When an
axis gets fewer voxels the kernel widens with it, so that nothing aliases. Where a step is given they are points: the
first ones coincide, the others follow at the step, and values are sampled, not averaged, as other toolkits do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from volseg.errors import UsageError

Order = Literal["nearest", "linear", "cubic"]
_REACH = {"nearest": 0.5, "linear": 1.0, "cubic": 2.0}


@dataclass(frozen=True, eq=False)
class AxisWeights:
    """How each voxel of a new axis is mixed from those of the old: ``indices`` and ``weights``, one row for each."""

    indices: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    def reads(self, start: int, stop: int) -> tuple[int, int]:
        """The old voxels that the new ones from ``start`` up to ``stop`` are mixed from."""
        rows = self.indices[start:stop]
        return int(rows.min()), int(rows.max()) + 1


@lru_cache(maxsize=64)
def axis_weights(old: int, new: int, order: Order = "linear", step: float | None = None) -> AxisWeights:
    """The weights from an axis of ``old`` voxels to one of ``new`` over the same length.

    With a ``step`` voxels are points: the first of both axes coincide, and the new ones are ``step`` old ones apart.

    Taps beyond the border repeat the border's voxel for linear and nearest, and are left out (the rest
    normalised) for cubic, as image libraries do.

    >>> axis_weights(2, 4).weights @ np.ones(2)
    array([1., 1., 1., 1.])
    """
    if order not in _REACH:
        raise UsageError(f"an order of interpolation is nearest, linear or cubic, not {order!r}")
    if old < 1 or new < 1:
        raise UsageError(f"an axis cannot go from {old} to {new} voxels")
    scale = old / new if step is None else 1.0
    centres = (np.arange(new) + 0.5) * scale - 0.5 if step is None else np.clip(np.arange(new) * step, 0, old - 1)
    if order == "nearest":
        nearest = np.clip(np.floor(centres + 0.5), 0, old - 1).astype(np.int64)[:, None]
        return AxisWeights(nearest, np.ones_like(nearest, dtype=np.float64))
    widen = max(scale, 1.0)
    reach = _REACH[order] * widen
    first = np.floor(centres - reach).astype(np.int64) + 1
    indices = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 1)
    weights = _kernel((indices - centres[:, None]) / widen, order)
    inside = (indices >= 0) & (indices < old)
    if order == "cubic" or widen > 1:
        weights = weights * inside
    weights /= weights.sum(axis=1, keepdims=True)
    used = np.abs(weights).max(axis=0) > 0  # columns that no voxel needs cost a pass over the data each
    return AxisWeights(np.clip(indices, 0, old - 1)[:, used], weights[:, used])


def regrid(
    x: Tensor,
    shape: Sequence[int],
    order: Order | Sequence[Order] = "linear",
    steps: Sequence[float] | None = None,
) -> Tensor:
    """``x`` with its last axes brought to ``shape``; leading axes (batch, channels) stay.

    With ``steps``, old voxels from one new voxel to the next, voxels are points.

    >>> regrid(torch.arange(4.0), (2,))
    tensor([0.7143, 2.2857])
    """
    orders = (order,) * len(shape) if isinstance(order, str) else tuple(order)
    axes = range(x.ndim - len(shape), x.ndim)
    by = (None,) * len(shape) if steps is None else tuple(steps)
    # the axis that shrinks most first: every later one has less to do
    for axis, new, how, step in sorted(zip(axes, shape, orders, by, strict=True), key=lambda a: a[1] / x.shape[a[0]]):
        x = regrid_axis(x, axis, axis_weights(x.shape[axis], int(new), how, step))
    return x


def regrid_axis(
    x: Tensor, axis: int, weights: AxisWeights, rows: tuple[int, int] | None = None, offset: int = 0
) -> Tensor:
    """Mix one axis; with ``rows`` only these new voxels, ``x`` then holding the old ones from ``offset`` on."""
    start, stop = rows or (0, len(weights.indices))
    places = weights.indices[start:stop] - offset
    if places.shape == (x.shape[axis], 1) and np.array_equal(places[:, 0], np.arange(len(places))):
        return x
    shares = torch.from_numpy(weights.weights[start:stop]).to(x.device, x.dtype)
    lie = [1] * x.ndim
    lie[axis] = len(places)
    mixed = _taken(x, axis, places[:, 0]) * shares[:, 0].view(lie)
    for tap in range(1, places.shape[1]):
        mixed.addcmul_(_taken(x, axis, places[:, tap]), shares[:, tap].view(lie))
    return mixed


def _taken(x: Tensor, axis: int, places: npt.NDArray[np.int64]) -> Tensor:
    """The voxels at these places of an axis; a single one is no copy, which saves passes over the data."""
    if len(places) == 1:
        return x.narrow(axis, int(places[0]), 1)
    return x.index_select(axis, torch.from_numpy(places).to(x.device))


def _kernel(distance: npt.NDArray[np.float64], order: Order) -> npt.NDArray[np.float64]:
    d = np.abs(distance)
    if order == "linear":
        return np.asarray(np.maximum(1 - d, 0.0))
    # Keys' cubic with a = -1/2: interpolates, and reproduces quadratics
    near = (1.5 * d - 2.5) * d**2 + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.asarray(np.where(d < 1, near, np.where(d < 2, far, 0.0)))
