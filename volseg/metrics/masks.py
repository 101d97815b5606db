"""Masks as the metrics take them: boolean arrays of one shape, and the box that holds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from volseg.errors import GridMismatch, UsageError

Mask = npt.NDArray[np.bool_]


def pair(prediction: npt.ArrayLike, truth: npt.ArrayLike, valid: npt.ArrayLike | None = None) -> tuple[Mask, Mask]:
    """Both masks as booleans; voxels that are not valid are in neither."""
    first, second = np.asarray(prediction), np.asarray(truth)
    require_same_shape(first, second)
    for mask in (first, second):
        if mask.dtype != np.bool_:
            raise UsageError(f"a mask is boolean, not {mask.dtype}", mend="compare with a label's value first")
    if valid is None:
        return first, second
    kept = np.asarray(valid, dtype=bool)
    require_same_shape(first, kept)
    return first & kept, second & kept


def require_same_shape(first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]) -> None:
    if first.shape != second.shape:
        raise GridMismatch(f"prediction and truth differ in shape: {first.shape} and {second.shape}")


def bounding_box(mask: Mask) -> tuple[slice, ...] | None:
    """The smallest box that holds every true voxel; None where there is none.

    >>> bounding_box(np.array([[False, False, False], [False, True, True]]))
    (slice(1, 2, None), slice(1, 3, None))
    """
    box: list[slice] = []
    for axis in range(mask.ndim):
        # each axis is looked at inside the box of those before it, so that the work shrinks as it goes
        others = tuple(a for a in range(mask.ndim) if a != axis)
        where = np.flatnonzero(mask[tuple(box)].any(axis=others))
        if not where.size:
            return None
        box.append(slice(int(where[0]), int(where[-1]) + 1))
    return tuple(box)


def checked_spacing(spacing: Sequence[float], ndim: int) -> npt.NDArray[np.float64]:
    """The spacing as an array, one positive length for each axis."""
    lengths = np.asarray(spacing, dtype=np.float64)
    if lengths.shape != (ndim,) or not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise UsageError(f"{ndim} axes need {ndim} positive spacings, not {tuple(spacing)}")
    return lengths
