"""Whether voxels can be trusted: not finite, all the same, or padded with a value that means "not measured"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from volseg.errors import LabelError, UsageError, VolumeError
from volseg.io.volume import ReadOptions

# Scanners and converters fill what they did not measure with one of these.
PADDING_VALUES = (-32768, -9999, -8192, -4096, -3024, -3000, -2048, -2000)

# Padding stands apart: between it and the lowest measured value nothing lies for at least this much.
_APART = 100

# A resampled or converted label map may be off by so much and still mean the whole number.
WHOLE = 1e-3


@dataclass(frozen=True)
class Findings:
    """What is worth telling about voxels that were accepted."""

    notes: tuple[str, ...] = ()
    padding: float | None = None


def judge(array: npt.NDArray[Any], options: ReadOptions, where: object) -> Findings:
    """Judge the values of an image or label map; where asked to, values that are not finite are replaced in place."""
    notes = require_finite(array, options.fill_nan, where)
    if options.as_labels:
        return Findings(notes)
    if constant(array):
        notes += (f"all voxels hold the same value, {array.flat[0]:g}",)
    padding = padding_value(array)
    if padding is not None:
        notes += (f"{int(np.count_nonzero(array == padding))} voxels hold the padding value {padding:g}",)
    return Findings(notes, padding)


def require_finite(array: npt.NDArray[Any], fill_nan: float | None, where: object) -> tuple[str, ...]:
    """Refuse NaN and infinity, or write ``fill_nan`` in their place (in the array itself) and note how many."""
    if array.dtype.kind != "f" or _sums_to_finite(array):
        return ()
    nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
    if not nan and not infinite:
        return ()  # a sum of large finite values ran over
    found = " and ".join(f"{n} {name}" for n, name in ((nan, "NaN"), (infinite, "infinite")) if n)
    several = "voxel" if nan + infinite == 1 else "voxels"
    if fill_nan is None:
        raise VolumeError(
            f"holds {found} {several} of {array.size}",
            where=where,
            mend="mend the file; volseg predict --fill-nan VALUE puts a value in their place",
        )
    if abs(fill_nan) > np.finfo(array.dtype).max:
        raise UsageError(f"--fill-nan {fill_nan:g} does not fit voxels of type {array.dtype}", where=where)
    array[~np.isfinite(array)] = fill_nan
    return (f"{found} {several} replaced by {fill_nan:g}",)


def constant(array: npt.NDArray[Any]) -> bool:
    """Whether all voxels hold one value. A sparse look decides for nearly every real image."""
    flat = array.ravel(order="K")
    first = flat[0]
    return bool((flat[:: max(1, flat.size // 1000)] == first).all() and (flat == first).all())


def padding_value(array: npt.NDArray[Any]) -> float | None:
    """The value that pads an image, if its lowest value is a customary one and stands apart from the rest.

    >>> padding_value(np.array([-2000, -2000, -1010, 40, 300]))
    -2000.0
    >>> padding_value(np.array([-2000, -1990, -1010, 40, 300])) is None
    True
    """
    if array.dtype.kind == "u":
        return None
    lowest = array.min()
    if lowest not in PADDING_VALUES:
        return None
    rest = array[array != lowest]
    if rest.size == 0 or float(rest.min()) - float(lowest) < _APART:
        return None
    return float(lowest)


def whole_numbers(array: npt.NDArray[Any], where: object) -> npt.NDArray[Any]:
    """The integers a label map means; values off by more than a thousandth are refused.

    >>> whole_numbers(np.array([0.0, 0.9999, 2.0]), "mask.nii").tolist()
    [0, 1, 2]
    """
    if array.dtype.kind in "iub":
        return array
    rounded = np.rint(array)
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(array - rounded) <= WHOLE)  # NaN and infinity are off too
    if off.any():
        example = float(array[off].flat[0])
        raise LabelError(
            f"not a label map: {int(off.sum())} of {array.size} voxels hold no whole number, such as {example:g}",
            where=where,
            mend="resample label maps with nearest neighbour",
        )
    if rounded.size and float(np.abs(rounded).max()) >= 2**53:
        raise LabelError("not a label map: values beyond 2^53 have lost their last digits", where=where)
    whole: npt.NDArray[np.int64] = rounded.astype(np.int64)
    return whole


def present(array: npt.NDArray[Any]) -> list[int]:
    """Every value of an integer array, in order.

    >>> present(np.array([3, 0, 3, 200], np.uint8))
    [0, 3, 200]
    """
    if array.size == 0:
        return []
    flat = array.ravel(order="K")
    lowest, highest = int(flat.min()), int(flat.max())
    if highest - lowest >= 1 << 16:
        return [int(v) for v in np.unique(flat)]
    seen = np.zeros(highest - lowest + 1, dtype=bool)
    for start in range(0, flat.size, 1 << 20):  # in pieces: an index array of the whole would be eight times a mask
        piece = flat[start : start + (1 << 20)]
        if highest >= 2**63:  # beyond what a signed index holds
            piece, base = piece - piece.dtype.type(lowest), 0
        else:
            base = lowest
        seen[piece.astype(np.int64) - base] = True
    return [int(i) + lowest for i in np.flatnonzero(seen)]


def _sums_to_finite(array: npt.NDArray[Any]) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.ravel(order="K").sum()))
