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

    def row(self, new: int, rows: Sequence[Tensor], offset: int = 0) -> Tensor:
        """One new row of a volume from its old ones, of which ``rows`` holds those from ``offset`` on."""
        places, shares = self.indices[new] - offset, self.weights[new]
        mixed: Tensor = rows[places[0]] * float(shares[0])
        for place, share in zip(places[1:], shares[1:], strict=True):
            mixed.add_(rows[place], alpha=share)
        return mixed


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


def regrid_axis(x: Tensor, axis: int, weights: AxisWeights) -> Tensor:
    """Mix one axis."""
    places = torch.from_numpy(weights.indices)
    if places.shape == (x.shape[axis], 1) and bool((places[:, 0] == torch.arange(len(places))).all()):
        return x
    places = places.to(x.device)
    lie = [1] * x.ndim
    lie[axis] = len(places)
    shares = torch.from_numpy(weights.weights).to(x.device, x.dtype)
    mixed = x.index_select(axis, places[:, 0]).mul_(shares[:, 0].view(lie))
    for tap in range(1, places.shape[1]):
        mixed.addcmul_(x.index_select(axis, places[:, tap]), shares[:, tap].view(lie))
    return mixed


def _kernel(distance: npt.NDArray[np.float64], order: Order) -> npt.NDArray[np.float64]:
    d = np.abs(distance)
    if order == "linear":
        return np.asarray(np.maximum(1 - d, 0.0))
    # Keys' cubic with a = -1/2: interpolates, and reproduces quadratics
    near = (1.5 * d - 2.5) * d**2 + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return np.asarray(np.where(d < 1, near, np.where(d < 2, far, 0.0)))
