"""Writing NIfTI on exactly the grid of the source: from NIfTI to NIfTI not a bit of the affine changes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from volseg.geometry import Affine, Grid
from volseg.io.atomic import atomic_write
from volseg.io.byte_stream import Compressor
from volseg.io.itk_writing import voxel_bytes

_LONGEST_NIFTI1 = 32767
_MILLIMETRES = 2


def write(path: Path, array: npt.NDArray[Any], grid: Grid, facts: Mapping[str, Any] | None) -> None:
    """Write voxels; ``facts`` is the header of the volume whose grid this is, if that was a NIfTI file."""
    header = header_for(array, grid, facts)
    packed = path.name.lower().endswith(".gz")
    with atomic_write(path) as file:
        pack = Compressor() if packed else None
        # four zero bytes say that no extension follows the header
        for piece in chain([header.binaryblock + bytes(4)], voxel_bytes(array)):
            file.write(pack.compress(piece) if pack else piece)
        if pack:
            file.write(pack.flush())


def header_for(array: npt.NDArray[Any], grid: Grid, facts: Mapping[str, Any] | None) -> Any:
    """The header of an array on a grid."""
    second = (facts is not None and facts["format"] == "nifti2") or max(array.shape) > _LONGEST_NIFTI1
    header = (nib.Nifti2Header if second else nib.Nifti1Header)()
    header.set_data_dtype(array.dtype.newbyteorder("="))
    header.set_data_shape(array.shape)
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["vox_offset"] = header.template_dtype.itemsize + 4
    _place(header, _affine3(grid))
    if facts is not None:
        _place_as_source(header, facts)
    return header


def _place(header: Any, affine: Affine) -> None:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    header["pixdim"][1:4] = spacing
    header["xyzt_units"] = _MILLIMETRES
    header.set_sform(affine, code=1)
    directions = affine[:3, :3] / spacing
    if np.abs(directions.T @ directions - np.eye(3)).max() < 1e-5:
        header.set_qform(affine, code=1)
        header["pixdim"][1:4] = spacing


def _place_as_source(header: Any, facts: Mapping[str, Any]) -> None:
    """The statement about space that was believed, as it stood; another only if it said the same."""
    form, both = facts["form"], facts["other_agrees"]
    if form == "assumed":
        return
    header["xyzt_units"] = facts["xyzt_units"]
    header["pixdim"][:4] = facts["pixdim"]
    header["sform_code"] = facts["sform_code"] if form == "sform" or both else 0
    header["qform_code"] = facts["qform_code"] if form == "qform" or both else 0
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        header[name] = facts["srow"][row] if header["sform_code"] > 0 else 0
    for values, prefix, axes in (("quatern", "quatern_", "bcd"), ("qoffset", "qoffset_", "xyz")):
        for value, axis in zip(facts[values], axes, strict=True):
            header[prefix + axis] = value if header["qform_code"] > 0 else 0
    if form == "sform" and not both:  # voxel sizes that were overruled are not passed on
        header["pixdim"][1:4] = np.linalg.norm(np.asarray(facts["srow"])[:, :3], axis=0)


def _affine3(grid: Grid) -> Affine:
    if grid.ndim == 3:
        return grid.affine
    affine: Affine = np.eye(4)
    affine[np.ix_([0, 1, 3], [0, 1, 3])] = grid.affine
    return affine
