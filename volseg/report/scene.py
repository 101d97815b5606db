"""A case as it is shown: image, prediction and truth on one grid, turned as radiologists look, small enough."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from volseg.geometry import Grid
from volseg.io import Volume
from volseg.labels import Labels
from volseg.report.levels import grey_levels

# Of masks as they are shown: structures count from 1 in the order of the labels, and this one carries no truth.
IGNORED = 255
# the planes by the axis that they are stacked along
PLANES = ("sagittal", "coronal", "axial")
# patients on their backs, seen from their feet: columns run to the left, rows to the back and to the feet
_SHOWN = "LPI"


@dataclass(frozen=True, eq=False)
class Scene:
    """Voxels by column, row and slice; a 2-D image has the one slice.

    Attributes:
        table: the intensity of each grey level.
        image: grey levels.
        prediction, truth: structures by number, 0 none; either may be missing.
        spacing: millimetres along columns, rows and slices.
        index: the affine from the shown voxels to those of the file, counted from 0.
        sides: the letters of the two ends of each axis, empty where there is no patient.
        reduced: how many of the file's voxels each shown one stands for, along each axis.
        oblique: the angle of the file's axes to the body's, in degrees.
    """

    table: npt.NDArray[np.float64]
    image: npt.NDArray[np.uint8]
    prediction: npt.NDArray[np.uint8] | None
    truth: npt.NDArray[np.uint8] | None
    spacing: tuple[float, float, float]
    index: npt.NDArray[np.float64]
    sides: tuple[str, ...]
    reduced: tuple[int, int, int]
    oblique: float

    @property
    def shape(self) -> tuple[int, int, int]:
        columns, rows, slices = self.image.shape
        return columns, rows, slices

    @property
    def disagreement(self) -> npt.NDArray[np.bool_] | None:
        """Where prediction and truth differ and there is a truth."""
        if self.prediction is None or self.truth is None:
            return None
        different: npt.NDArray[np.bool_] = (self.prediction != self.truth) & (self.truth != IGNORED)
        return different

    @property
    def planes(self) -> tuple[int, ...]:
        """The axes that slices can be stacked along, the one with the finest slices first."""
        if min(self.shape) == 1:
            return (self.shape.index(1),) if self.shape[2] > 1 else (2,)
        return tuple(sorted(range(3), key=lambda axis: (-round(self.spacing[axis], 3), -axis)))

    @cached_property
    def look_at(self) -> tuple[int, int, int]:
        """The voxel to look at first: in the slice where most disagrees, else where most is segmented, its middle."""
        main = self.planes[0]
        marked = [mask for mask in (self.prediction, self.truth) if mask is not None]
        there = np.any([(mask > 0) & (mask != IGNORED) for mask in marked], axis=0) if marked else np.zeros(self.shape)
        differs = self.disagreement
        wanted = differs if differs is not None and differs.any() else there
        at = [n // 2 for n in self.shape]
        if wanted.any():
            at[main] = int(wanted.sum(axis=tuple(axis for axis in range(3) if axis != main)).argmax())
            inside = np.argwhere(
                np.take(there if np.take(there, at[main], axis=main).any() else wanted, at[main], main)
            )
            for axis, middle in zip((a for a in range(3) if a != main), inside.mean(axis=0), strict=True):
                at[axis] = int(middle)
        return at[0], at[1], at[2]


def make_scene(
    image: Volume,
    prediction: Volume | None,
    truth: Volume | None,
    labels: Labels,
    *,
    most: int,
    instances: bool = False,
) -> Scene:
    """Bring a case to what is shown of it.

    Args:
        image, prediction, truth: on one grid; whoever calls this has seen to it.
        labels: of the masks.
        most: voxels that are shown.
        instances: whether the masks tell objects apart by value; all of them are then the one structure.
    """
    grid = image.grid
    picture = image.header.get("format") == "picture"
    axes, flips = _turn(grid, picture)

    def turned(array: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        array = np.flip(array.transpose(axes), tuple(axis for axis, flip in enumerate(flips) if flip))
        return array[..., None] if array.ndim == 2 else array

    array = turned(image.array)
    spacing = _three([grid.spacing[axis] for axis in axes], min(grid.spacing))
    factors = reduction(array.shape, spacing, most)
    table, levels = grey_levels(_averaged(array, factors))
    masks = [
        None if mask is None else _sampled(turned(_numbered(mask.array, labels, instances)), factors).astype(np.uint8)
        for mask in (prediction, truth)
    ]
    return Scene(
        table,
        levels,
        masks[0],
        masks[1],
        _three([s * f for s, f in zip(spacing, factors, strict=True)], 1.0),
        _index(array.shape, axes, flips, factors),
        () if picture else tuple(_SHOWN[: grid.ndim]),
        factors,
        grid.obliquity,
    )


def reduction(shape: Sequence[int], spacing: Sequence[float], most: int) -> tuple[int, int, int]:
    """By which whole factor each axis is thinned out so that at most so many voxels are left, the finest axes first.

    >>> reduction((512, 512, 40), (0.7, 0.7, 5.0), 3_000_000)
    (2, 2, 1)
    """
    factors = [1, 1, 1]
    while math.prod(math.ceil(n / f) for n, f in zip(shape, factors, strict=True)) > most:
        long = [axis for axis in range(3) if math.ceil(shape[axis] / factors[axis]) > 1]
        finest = min(spacing[axis] * factors[axis] for axis in long)
        tied = [axis for axis in long if spacing[axis] * factors[axis] <= 1.05 * finest]
        # equally fine pixels stay square; of cubes the slices are thinned out first
        for axis in tied if len(tied) < 3 else tied[2:]:
            factors[axis] += 1
    return factors[0], factors[1], factors[2]


def _turn(grid: Grid, picture: bool) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    if picture:  # rows come first in a picture
        return (1, 0), (False, False)
    turn = grid.reoriented(_SHOWN[: grid.ndim])
    return turn.axes, turn.flips


def _three(values: Sequence[float], last: float) -> tuple[float, float, float]:
    x, y, *z = values
    return x, y, z[0] if z else last


def _numbered(mask: npt.NDArray[np.generic], labels: Labels, instances: bool) -> npt.NDArray[np.generic]:
    """Label values as numbers of structures."""
    highest = max((int(mask.max(initial=0)), labels.ignore or 0, *labels.values))
    numbers = np.zeros(highest + 1, np.uint8)
    if instances:
        numbers[1:] = 1
    else:
        for number, structure in enumerate(labels.structures, start=1):
            numbers[structure.value] = number
    if labels.ignore is not None:
        numbers[labels.ignore] = IGNORED
    found: npt.NDArray[np.generic] = numbers[mask]
    return found


def _averaged(array: npt.NDArray[np.generic], factors: Sequence[int]) -> npt.NDArray[np.generic]:
    """Means over blocks; the last block along an axis may be smaller."""
    if max(factors) == 1:
        return array
    found: npt.NDArray[np.generic] = array
    for axis, factor in enumerate(factors):
        if factor > 1:
            starts = np.arange(0, array.shape[axis], factor)
            sizes = np.diff([*starts, array.shape[axis]]).reshape([-1 if a == axis else 1 for a in range(3)])
            found = np.add.reduceat(found, starts, axis=axis, dtype=np.float32) / sizes.astype(np.float32)
    return found


def _sampled(mask: npt.NDArray[np.generic], factors: Sequence[int]) -> npt.NDArray[np.generic]:
    """The voxel in the middle of each block."""
    places = [
        np.minimum(np.arange(0, n, factor) + factor // 2, n - 1) for n, factor in zip(mask.shape, factors, strict=True)
    ]
    return mask[np.ix_(*places)]


def _index(
    shape: Sequence[int], axes: Sequence[int], flips: Sequence[bool], factors: Sequence[int]
) -> npt.NDArray[np.float64]:
    """From shown voxels to the file's: a row for each axis of the file."""
    found = np.zeros((len(axes), 4))
    for shown, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        factor = factors[shown]
        found[axis, shown] = -factor if flip else factor
        found[axis, 3] = shape[shown] - 1 - (factor - 1) / 2 if flip else (factor - 1) / 2
    return found
