"""Distances to the nearest and the second nearest object, for all voxels at once.

Along one axis after the other, each voxel keeps the two nearest *different* objects of its line. That suffices: if an
object is among the two nearest to a voxel, it is among the two nearest of the line that its own nearest voxel lies on,
for two nearer objects on that line would be nearer altogether. So the work is the same for two objects or two thousand,
and bounded by the radius of interest instead of the image's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from volseg.errors import MemoryLimitError

Integers = npt.NDArray[np.integer[Any]]
Distances = npt.NDArray[np.float64]

_CHUNK = 1 << 15  # voxels worked on at a time
_FRACTION_BITS = (40, 20)  # of a squared distance, most to fewest, where spacings are no multiples of each other


@dataclass(frozen=True)
class _Code:
    """A squared distance and an object's number in one integer: sums and minima of it are those of the distance."""

    dtype: np.dtype[np.integer[Any]]
    label_bits: int
    scale: int  # steps per squared unit

    @property
    def never(self) -> int:
        return (int(np.iinfo(self.dtype).max) // 2 >> self.label_bits) << self.label_bits

    @property
    def label_mask(self) -> int:
        return (1 << self.label_bits) - 1

    def offset(self, distance: float) -> int:
        return round(distance**2 * self.scale) << self.label_bits


def two_nearest(objects: Integers, radius: float, spacing: Sequence[float]) -> tuple[Distances, Distances]:
    """Distances from each voxel's centre to the nearest voxel of the nearest, and of the second nearest object.

    Args:
        objects: 0 outside, another number for each object.
        radius: distances beyond it need not be told apart from infinity.
        spacing: of the voxels, in the unit of ``radius``.

    Returns:
        both distances, infinite where no object is near.

    >>> first, second = two_nearest(np.array([1, 0, 0, 0, 2]), 9.0, [1.0])
    >>> first.tolist(), second.tolist()
    ([0.0, 1.0, 2.0, 1.0, 0.0], [4.0, 3.0, 2.0, 3.0, 4.0])
    """
    if objects.min() < 0 or objects.max() > np.iinfo(np.uint16).max:
        numbers, places = np.unique(objects, return_inverse=True)
        counted = np.cumsum(numbers != 0) * (numbers != 0)
        objects = counted[places].reshape(objects.shape)
    unit = min(spacing)
    steps = [s / unit for s in spacing]
    code = _code(int(objects.max()), radius / unit, steps)
    nearest = objects.astype(code.dtype)
    nearest[nearest == 0] = code.never
    second = np.full_like(nearest, code.never)
    for axis, step in enumerate(steps):
        nearest, second = _along(nearest, second, axis, step, radius / unit, code)
    return _distance(nearest, code) * unit, _distance(second, code) * unit


def _code(objects: int, radius: float, steps: Sequence[float]) -> _Code:
    label_bits = max(1, int(objects).bit_length())
    whole = all(float(step**2).is_integer() for step in steps)
    most, fewest = _FRACTION_BITS
    codes = (
        [_Code(np.dtype(kind), label_bits, 1) for kind in (np.uint32, np.uint64)]
        if whole
        else [_Code(np.dtype(np.uint64), label_bits, 1 << bits) for bits in range(most, fewest - 1, -1)]
    )
    for code in codes:
        # each axis adds at most one offset to a value that may already be "never"
        if (len(steps) + 1) * code.offset(radius + max(steps)) < code.never:
            return code
    raise MemoryLimitError(
        f"{objects} objects within a radius of {radius:.0f} voxels do not fit the distance code",
        mend="use a smaller sigma",
    )


def _along(
    nearest: Integers, second: Integers, axis: int, step: float, radius: float, code: _Code
) -> tuple[Integers, Integers]:
    """One axis: for each voxel the two best different objects of its line."""
    length = nearest.shape[axis]
    lines, second_lines = (np.moveaxis(values, axis, 0).reshape(length, -1) for values in (nearest, second))
    results = np.empty_like(lines), np.empty_like(lines)
    offsets = [code.offset(distance * step) for distance in range(1, min(length - 1, int(radius / step)) + 1)]
    width = max(1, _CHUNK // length)
    for start in range(0, lines.shape[1], width):
        chunk = slice(start, start + width)
        pair = np.ascontiguousarray(lines[:, chunk]), np.ascontiguousarray(second_lines[:, chunk])
        for result, values in zip(results, _chunk(*pair, offsets, code), strict=True):
            result[:, chunk] = values
    shape = (length, *np.delete(nearest.shape, axis))
    return tuple(np.moveaxis(values.reshape(shape), 0, axis) for values in results)  # type: ignore[return-value]


def _chunk(nearest: Integers, second: Integers, offsets: Sequence[int], code: _Code) -> tuple[Integers, Integers]:
    """Some lines (length, lines), few enough that all of this stays in the cache."""
    if (nearest >= code.never).all():
        return nearest, second
    labels = nearest & code.label_mask
    best, spare = nearest.copy(), np.empty_like(nearest)
    for distance, offset in enumerate(offsets, start=1):
        moved = np.add(nearest, offset, out=spare)
        np.minimum(best[distance:], moved[:-distance], out=best[distance:])
        np.minimum(best[:-distance], moved[distance:], out=best[:-distance])
    winner = best & code.label_mask
    # Any second best may be offered: where it is the winner itself, the nearest of its voxel is another and nearer.
    runner_up = second.copy()
    np.copyto(runner_up, nearest, where=labels != winner)
    other, one = np.empty_like(nearest), code.dtype.type(1)
    any_second = bool((second < code.never).any())  # none along the first axis
    for distance, offset in enumerate(offsets, start=1):
        if any_second:
            moved = np.add(second, offset, out=spare)
            np.minimum(runner_up[distance:], moved[:-distance], out=runner_up[distance:])
            np.minimum(runner_up[:-distance], moved[distance:], out=runner_up[:-distance])
        moved = np.add(nearest, offset, out=spare)
        for here, there in (
            (slice(distance, None), slice(None, -distance)),
            (slice(None, -distance), slice(distance, None)),
        ):
            # 0 - 1 is the largest number there is: voxels of the winner itself offer nothing
            offered = np.bitwise_xor(labels[there], winner[here], out=other[here])
            offered -= one
            np.maximum(offered, moved[there], out=offered)
            np.minimum(runner_up[here], offered, out=runner_up[here])
    np.minimum(best, code.never, out=best)
    np.minimum(runner_up, code.never, out=runner_up)
    return best, runner_up


def _distance(values: Integers, code: _Code) -> Distances:
    squared = (values >> code.label_bits).astype(np.float64) / code.scale
    squared[values >= code.never] = np.inf
    return np.sqrt(squared)
