"""The three functions of ``scipy.ndimage`` that cleaning a mask needs, on NumPy alone, for where there is no SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


def label(mask: Mask, structure: Mask | None = None) -> tuple[npt.NDArray[np.int64], int]:
    """Number the connected parts of a mask in the order of their first voxels, and count them.

    Args:
        mask: of any number of dimensions.
        structure: all ones for parts that touch through faces, edges and corners; none for faces alone.

    >>> label(np.array([[True, False], [False, True]]))[1], label(np.eye(2, dtype=bool), np.ones((3, 3), dtype=bool))[1]
    (2, 1)
    """
    nobody = mask.size
    owner = np.where(mask, np.arange(mask.size).reshape(mask.shape), nobody)
    # the smallest number of all neighbours wins; a part's voxels point to their owner, and ways are cut short
    parents = np.arange(nobody + 1)
    while True:
        nearest = _smallest_around(owner, full=structure is not None)
        nearest[~mask] = nobody
        if np.array_equal(nearest, owner):
            break
        np.minimum.at(parents, owner[mask], nearest[mask])
        while not np.array_equal(shorter := parents[parents], parents):
            parents = shorter
        owner = parents[nearest]
    roots = np.unique(owner[mask])
    numbers = np.zeros(mask.shape, dtype=np.int64)
    numbers[mask] = np.searchsorted(roots, owner[mask]) + 1
    return numbers, len(roots)


def find_objects(numbers: npt.NDArray[Any]) -> list[tuple[slice, ...]]:
    """The box around what is 1.

    >>> find_objects(np.array([0, 1, 0, 1, 0]))
    [(slice(1, 4, None),)]
    """
    places = np.nonzero(numbers == 1)
    return [tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in places)]


def binary_fill_holes(mask: Mask) -> Mask:
    """The mask with the background that it encloses.

    >>> binary_fill_holes(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool)).all()
    np.True_
    """
    outside = np.pad(~mask, 1, constant_values=True)
    parts, _ = label(outside)
    inner = tuple(slice(1, -1) for _ in mask.shape)
    return np.asarray((parts != 1)[inner])


def _smallest_around(values: npt.NDArray[np.int64], *, full: bool) -> npt.NDArray[np.int64]:
    found = values.copy()
    for axis in range(values.ndim):
        source = found.copy() if full else values
        here, there = _beside(values.ndim, axis)
        np.minimum(found[here], source[there], out=found[here])
        np.minimum(found[there], source[here], out=found[there])
    return found


def _beside(ndim: int, axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    first, second = [slice(None)] * ndim, [slice(None)] * ndim
    first[axis], second[axis] = slice(None, -1), slice(1, None)
    return tuple(first), tuple(second)
