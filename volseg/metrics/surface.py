"""Distances between two surfaces in millimetres: Hausdorff, its percentile, the symmetric mean, surface Dice.

A surface is, as in MONAI, the set of mask voxels with a face neighbour outside the mask; beyond the image's border is
outside. Distances run between voxel centres. HD95 is the larger of the two directed 95th percentiles, ASSD the mean of
all distances both ways, surface Dice the share of all surface voxels within the tolerance.

The values are MONAI's, computed once for all four measures and kept in float64: MONAI's distances are float32, a
micrometre off at 20 mm, and its crop alone takes longer than everything here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

from volseg.errors import UsageError
from volseg.metrics.empty import DEFAULT, EmptyPolicy
from volseg.metrics.masks import Mask, bounding_box, checked_spacing, pair

Lengths = npt.NDArray[np.float64]

# a tolerance of 0.3 mm covers three voxels of 0.1 mm, though 3 * 0.1 > 0.3 in binary
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """From every surface voxel of one mask the distance to the other's surface, and what empty masks are worth."""

    to_truth: Lengths
    to_prediction: Lengths
    #: whether there is a prediction, and a truth
    predicted: bool
    present: bool
    #: the field of view's diagonal
    diagonal: float
    policy: EmptyPolicy = DEFAULT

    @property
    def hd(self) -> float:
        """The Hausdorff distance."""
        return self.percentile(100)

    @property
    def hd95(self) -> float:
        """The larger of the two directed 95th percentiles."""
        return self.percentile(95)

    @property
    def assd(self) -> float:
        """The average symmetric surface distance."""
        pooled = np.concatenate([self.to_truth, self.to_prediction])
        return self._distance() if not pooled.size else float(pooled.mean())

    def percentile(self, q: float) -> float:
        """The larger of the two directed ``q``-th percentiles (linear between order statistics)."""
        directed = [d for d in (self.to_truth, self.to_prediction) if d.size]
        return self._distance() if not directed else max(float(np.percentile(d, q)) for d in directed)

    def surface_dice(self, tolerance: float) -> float:
        """The share of both surfaces that lies within ``tolerance`` millimetres of the other."""
        if not 0 <= tolerance < float("inf"):
            raise UsageError(f"a tolerance is a length of at least 0 mm, not {tolerance}")
        if self.predicted != self.present:
            return 0.0
        pooled = np.concatenate([self.to_truth, self.to_prediction])
        return float((pooled <= tolerance + _ROUNDING).mean()) if pooled.size else self.policy.nothing(1.0)

    def _distance(self) -> float:
        """The value where no distance was measured."""
        return self.policy.far(self.diagonal) if self.predicted != self.present else self.policy.nothing(0.0)


def surface_distances(
    prediction: npt.ArrayLike,
    truth: npt.ArrayLike,
    spacing: Sequence[float],
    *,
    valid: npt.ArrayLike | None = None,
    policy: EmptyPolicy = DEFAULT,
    diagonal: float | None = None,
) -> SurfaceDistances:
    """The distances between the surfaces of two boolean masks.

    Args:
        prediction, truth: boolean masks of one shape, 2-D or 3-D.
        spacing: millimetres between voxels along each axis.
        valid: where the truth is known. Elsewhere the prediction stands for it, so that no surface appears where
            knowledge ends, and surface voxels there are not counted.
        policy: what empty masks are worth.
        diagonal: the diagonal of the field of view, where the masks are a cut-out of it.

    >>> a, b = np.zeros((2, 20, 20), dtype=bool)
    >>> a[5:10, 5:10] = b[5:10, 7:10] = True
    >>> surface_distances(a, b, (1.0, 0.5)).hd
    1.0
    """
    first, second = pair(prediction, truth)
    steps = checked_spacing(spacing, first.ndim)
    if diagonal is None:
        diagonal = float(np.linalg.norm(steps * first.shape))
    counted = None if valid is None else pair(first, second, valid)
    present = [bool(mask.any()) for mask in (counted or (first, second))]
    nowhere = np.zeros(0)
    if not all(present):
        return SurfaceDistances(nowhere, nowhere, present[0], present[1], diagonal, policy)
    if valid is not None:
        second = np.where(np.asarray(valid, dtype=bool), second, first)
    box = bounding_box(first | second)
    assert box is not None  # both hold something
    edges = surface(first[box]), surface(second[box])
    known = None if valid is None else np.asarray(valid, dtype=bool)[box]
    there = _to_nearest(edges[0] if known is None else edges[0] & known, edges[1], steps)
    back = _to_nearest(edges[1] if known is None else edges[1] & known, edges[0], steps)
    return SurfaceDistances(there, back, True, True, diagonal, policy)


def surface(mask: Mask) -> Mask:
    """The mask's voxels that have a face neighbour outside it."""
    inner: Mask = ndimage.binary_erosion(mask)  # beyond the array is outside
    return mask ^ inner


def _to_nearest(points: Mask, others: Mask, steps: Lengths) -> Lengths:
    """For each point the distance to the nearest of the others."""
    away = np.argwhere(points & ~others) * steps  # a voxel on both surfaces is 0 away: nothing to search
    distances = np.zeros(int(np.count_nonzero(points)))
    if len(away):
        distances[: len(away)] = KDTree(np.argwhere(others) * steps, leafsize=32, balanced_tree=False).query(away)[0]
    return distances
