"""A label map on another grid: each voxel takes the label at its own place in the world."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from volseg.errors import GridMismatch
from volseg.geometry import Grid

# voxels at a time: three positions of 8 bytes each
_CHUNK = 1 << 20
# a place right between two voxels goes the same way whatever the last digit of the affine
_TIE = 1e-6


def resample_labels(array: npt.NDArray[Any], grid: Grid, target: Grid) -> npt.NDArray[Any]:
    """The nearest label at every voxel of ``target``; background beyond the old field of view.

    Exact where ``target`` only turns or flips the axes.

    >>> line = np.array([[1, 2], [3, 4]], dtype=np.uint8)
    >>> resample_labels(line, Grid.from_spacing((2, 2), (1, 1)), Grid.from_spacing((2, 3), (1, 1)))
    array([[1, 2, 0],
           [3, 4, 0]], dtype=uint8)
    """
    if grid.ndim != target.ndim:
        raise GridMismatch(f"a {grid.ndim}-D label map cannot be brought onto a {target.ndim}-D grid")
    ndim = grid.ndim
    index = np.linalg.solve(grid.affine, target.affine)  # from voxels of the target to voxels of the array
    result = np.zeros(target.shape, dtype=array.dtype)
    rows = max(1, _CHUNK // int(np.prod(target.shape[1:], dtype=np.int64)))
    for start in range(0, target.shape[0], rows):
        stop = min(start + rows, target.shape[0])
        axes = np.meshgrid(np.arange(start, stop), *map(np.arange, target.shape[1:]), indexing="ij", sparse=True)
        places, inside = [], np.ones((stop - start, *target.shape[1:]), dtype=bool)
        for axis in range(ndim):
            position = sum(index[axis, other] * axes[other] for other in range(ndim)) + index[axis, -1]
            place = np.floor(position + (0.5 + _TIE)).astype(np.int64)
            inside &= (place >= 0) & (place < grid.shape[axis])
            places.append(place.clip(0, grid.shape[axis] - 1))
        result[start:stop] = np.where(inside, array[tuple(places)], 0)
    return result
