"""An image in 256 grey levels that keep what matters: more of them where more of the voxels are."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_LEVELS = 256
_BINS = 4096
# enough to know a distribution by
_SAMPLES = 1 << 20


def grey_levels(image: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """The intensities of the levels, and the level of each voxel.

    An image of few values keeps them exactly. Otherwise half of the levels are spread evenly over the range and half
    follow the histogram, so that a narrow window still has contrast; what lies beyond 99.9 percent is clipped.

    >>> table, voxels = grey_levels(np.array([[-1000, 40], [40, 400]]))
    >>> table.tolist(), voxels.tolist()
    ([-1000.0, 40.0, 400.0], [[0, 1], [1, 2]])
    """
    values = image.ravel()[:: max(1, image.size // _SAMPLES)].astype(np.float64)
    few = np.unique(values)
    if few.size <= _LEVELS and values.size == image.size:
        return few, np.searchsorted(few, image.astype(np.float64)).astype(np.uint8)
    low, high = (float(x) for x in np.percentile(values, (0.05, 99.95)))
    if low == high:
        low, high = float(few[0]), float(few[-1])
    if low == high:
        return np.array([low]), np.zeros(image.shape, np.uint8)
    counts, edges = np.histogram(values.clip(low, high), _BINS, (low, high))
    share = 0.5 * counts / counts.sum() + 0.5 / _BINS
    reached = np.concatenate([[0.0], share.cumsum()])
    table = np.interp((np.arange(_LEVELS) + 0.5) / _LEVELS, reached, edges)
    middles = (table[1:] + table[:-1]) / 2
    return table, np.searchsorted(middles, image.astype(np.float64)).astype(np.uint8)


def window(table: npt.NDArray[np.float64], voxels: npt.NDArray[np.uint8]) -> tuple[float, float]:
    """The darkest and the brightest intensity that a first look shows: from 1 to 99 percent of the voxels.

    >>> window(np.array([0.0, 1.0, 2.0]), np.array([0, 1, 2], np.uint8))
    (0.0, 2.0)
    """
    reached = np.bincount(voxels.ravel(), minlength=table.size).cumsum() / voxels.size
    low, high = (float(table[min(int(np.searchsorted(reached, share)), table.size - 1)]) for share in (0.01, 0.99))
    return (low, high) if low < high else (float(table[0]), float(table[-1]))
