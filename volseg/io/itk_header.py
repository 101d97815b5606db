"""Headers of NRRD and MetaImage files, as SimpleITK reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its users' custom

from volseg.errors import VolumeError
from volseg.geometry import Affine

_TYPES = {
    sitk.sitkUInt8: "u1",
    sitk.sitkInt8: "i1",
    sitk.sitkUInt16: "u2",
    sitk.sitkInt16: "i2",
    sitk.sitkUInt32: "u4",
    sitk.sitkInt32: "i4",
    sitk.sitkUInt64: "u8",
    sitk.sitkInt64: "i8",
    sitk.sitkFloat32: "f4",
    sitk.sitkFloat64: "f8",
}


@dataclass(frozen=True)
class HeaderText:
    """The fields of a header that is text, their names in lower case, and where it ends."""

    fields: dict[str, str]
    end: int


@dataclass(frozen=True)
class ItkHeader:
    """What SimpleITK says a file holds; the affine is in LPS, the space both formats default to."""

    shape: tuple[int, ...]
    affine: Affine
    dtype: np.dtype[Any]


def read_header(path: Path, io: Literal["NrrdImageIO", "MetaImageIO"]) -> ItkHeader:
    """Read a header without the voxels, refusing what is no grey-value image or label map of two or three axes."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(io)
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise VolumeError(f"the header cannot be read ({_cause(error)})", where=path) from error
    shape = tuple(int(n) for n in reader.GetSize())
    sizes = " x ".join(map(str, shape))
    components = reader.GetNumberOfComponents()
    if components != 1 or reader.GetPixelIDValue() not in _TYPES:
        raise VolumeError(
            f"holds {components} values in each voxel (colour, vectors or channels), not grey values or labels",
            where=path,
            mend="save one channel by itself",
        )
    if len(shape) not in (2, 3):
        raise VolumeError(
            f"has {len(shape)} dimensions ({sizes}); images have 2 or 3", where=path, mend="save one frame by itself"
        )
    if min(shape) < 1:
        raise VolumeError(f"a dimension is zero or negative: {sizes}", where=path)
    if np.prod(shape) == 1:
        raise VolumeError(f"no image: {sizes} voxels", where=path)
    n = len(shape)
    affine: Affine = np.eye(n + 1)
    affine[:n, :n] = np.asarray(reader.GetDirection()).reshape(n, n) * np.asarray(reader.GetSpacing())
    affine[:n, n] = reader.GetOrigin()
    return ItkHeader(shape, affine, np.dtype(_TYPES[reader.GetPixelIDValue()]))


def to_ras(affine_lps: Affine) -> Affine:
    """Left and posterior to right and anterior: the first two world axes turn round."""
    turned = affine_lps.copy()
    turned[:2] *= -1
    return turned + 0.0  # no negative zeros


def _cause(error: RuntimeError) -> str:
    """The last thing SimpleITK says, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = re.sub(r"^.*?ERROR: \w+\(0x[0-9a-f]+\): ", "", lines[-1] if lines else "no reason given")
    return text[:160]
