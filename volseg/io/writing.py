"""The one door through which results become files: whole, on exactly the source's grid, in the smallest type."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volseg.errors import GridMismatch, LabelError, UsageError
from volseg.geometry import Grid
from volseg.io.formats import ending
from volseg.io.volume import Volume
from volseg.io.voxel_check import present, whole_numbers
from volseg.labels import Labels, smallest_unsigned

WRITTEN = (".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".tif", ".tiff")


def write_labels(
    path: str | os.PathLike[str],
    array: npt.NDArray[Any],
    grid: Grid,
    labels: Labels | None = None,
    like: Volume | None = None,
    *,
    dtype: npt.DTypeLike | None = None,
) -> None:
    """Write a label map in the smallest unsigned type that holds its labels.

    Args:
        path: its ending chooses the format: ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha``; 2-D also ``.png``, ``.tif``.
        array: whole numbers, in the axis order of the grid.
        grid: where the voxels are.
        labels: the declared labels; other values are refused, and the type holds all of them, present or not.
        like: the volume that was segmented; its header is followed so that the affine stays equal to the bit.
        dtype: an integer type to write instead of the smallest; labels that it does not hold are refused.

    Raises:
        LabelError: if a value is no label.
        WriteError: if the file could not be written whole; nothing of it is left behind.
    """
    whole = whole_numbers(np.asarray(array), path)
    values = present(whole)
    if values and values[0] < 0:
        raise LabelError(f"negative label value {values[0]}", where=path)
    if labels is not None:
        labels.check(values, where=path)
    kind = labels.dtype if labels is not None else smallest_unsigned(values[-1] if values else 0)
    if dtype is not None:
        kind = _holding(np.dtype(dtype), values, path)
    _write(Path(path), whole.astype(kind, copy=False), grid, like)


def write_volume(path: str | os.PathLike[str], array: npt.NDArray[Any], grid: Grid, like: Volume | None = None) -> None:
    """Write an image in the type it has (half floats as floats, truth values as bytes).

    To NIfTI an array may have one axis more than the grid, its last: channels, say probabilities.

    Raises:
        WriteError: if the file could not be written whole; nothing of it is left behind.
    """
    array = np.asarray(array)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    elif array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise UsageError(f"voxels of type {array.dtype} cannot be written", where=path)
    _write(Path(path), array, grid, like)


def _write(path: Path, array: npt.NDArray[Any], grid: Grid, like: Volume | None) -> None:
    end = ending(path)
    if end not in WRITTEN:
        raise UsageError(f"no format is written by the name {path.name}", mend=f"known are {' '.join(WRITTEN)}")
    nifti = end in (".nii", ".nii.gz")
    if array.shape != grid.shape and not (nifti and array.shape[:-1] == grid.shape):
        raise GridMismatch(f"voxels of shape {array.shape} do not fill the grid {grid.shape}", where=path)
    if nifti:
        from volseg.io import nifti_writing

        nifti_writing.write(path, array, grid, _facts(like, grid))
    elif end in (".nrrd", ".mha"):
        from volseg.io import itk_writing

        itk_writing.write(path, array, grid)
    else:
        from volseg.io import picture

        picture.write(path, array, grid)


def _holding(dtype: np.dtype[Any], values: list[int], path: object) -> np.dtype[Any]:
    if dtype.kind not in "iu":
        raise UsageError(f"labels are written as integers, not {dtype}", where=path)
    if values and values[-1] > np.iinfo(dtype).max:
        raise LabelError(f"the label value {values[-1]} does not fit {dtype}", where=path, mend="choose a wider type")
    return dtype


def _facts(like: Volume | None, grid: Grid) -> Mapping[str, Any] | None:
    """The source's header, if it speaks of this very grid and of NIfTI."""
    if like is None or like.grid != grid or not str(like.header.get("format", "")).startswith("nifti"):
        return None
    return like.header
