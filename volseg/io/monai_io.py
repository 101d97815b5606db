"""The same strictness through MONAI's doors: a reader for ``LoadImage``, a writer for ``SaveImage``.

MONAI tries one reader after another, and one writer after another, until one does not complain: what a strict reader
refuses, another then reads. Here a refusal ends the matter.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from monai.data import ImageReader, ImageWriter
from monai.data.utils import is_no_channel
from monai.utils import MetaKeys, SpaceKeys, convert_data_type

from volseg.errors import NonFiniteError, UsageError
from volseg.geometry import Grid
from volseg.io.formats import ending
from volseg.io.reading import read_labels, read_volume
from volseg.io.volume import PLAUSIBLE_SPACING, Volume
from volseg.io.writing import write_labels, write_volume

#: Where the header of the source travels in MONAI's metadata: text, which data loaders pass on untouched.
HEADER = "volseg_header"

# An affine that came through MONAI's transforms and back differs from the original by rounding only.
_ROUNDING = 1e-4


@dataclass(frozen=True)
class _Outcome:
    """What reading gave: volumes, or the refusal, kept until MONAI has stopped looking for another reader."""

    volumes: tuple[Volume, ...] = ()
    refusal: Exception | None = None


class VolsegReader(ImageReader):  # type: ignore[misc]
    """Reads through :func:`volseg.io.read_volume`; for ``LoadImaged(reader="volseg.io.monai_io.VolsegReader")``.

    Args:
        as_labels: read label maps (:func:`volseg.io.read_labels`): whole numbers in the smallest type.
        frame: which frame of a time series, from 0.
        geometry: which statement of a NIfTI header to trust where they contradict each other.
        assume_ras: take a file that says nothing about orientation as right-anterior-superior.
        fill_nan: put this value where voxels are NaN or infinite, instead of refusing the file.
        spacing_range: voxel sizes in millimetres outside this range are refused.
        series: the series instance UID, where a DICOM folder holds several.
    """

    def __init__(
        self,
        *,
        as_labels: bool = False,
        frame: int | None = None,
        geometry: Literal["sform", "qform"] | None = None,
        assume_ras: bool = False,
        fill_nan: float | None = None,
        spacing_range: Sequence[float] = PLAUSIBLE_SPACING,
        series: str | None = None,
    ) -> None:
        low, high = spacing_range
        self._as_labels = as_labels
        self._options: dict[str, Any] = {
            "frame": frame,
            "geometry": geometry,
            "assume_ras": assume_ras,
            "spacing_range": (float(low), float(high)),
            "series": series,
        }
        if not as_labels:
            self._options["fill_nan"] = fill_nan

    def verify_suffix(self, filename: Sequence[os.PathLike[str] | str] | os.PathLike[str] | str) -> bool:
        """Whether the names are of a format that is read here; the content is judged when it is read."""
        return all(Path(name).is_dir() or bool(ending(name)) for name in _several(filename))

    def read(self, data: Sequence[os.PathLike[str] | str] | os.PathLike[str] | str, **_: Any) -> _Outcome:
        """Read one file, or several of one grid. A refusal is raised by :meth:`get_data`, the step after."""
        read = read_labels if self._as_labels else read_volume
        try:
            volumes = tuple(read(name, **self._options) for name in _several(data))
            for volume in volumes[1:]:
                volumes[0].grid.require_same(volume.grid, where=volume.source, what="two channels of a case")
        except Exception as refusal:  # raised here, MONAI would hand the file to its next reader
            return _Outcome(refusal=refusal)
        return _Outcome(volumes)

    def get_data(self, img: _Outcome) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """The voxels (several files as channels, first axis) and MONAI's metadata.

        Raises:
            VolsegError: if reading refused the file.
        """
        if img.refusal is not None:
            raise img.refusal
        first = img.volumes[0]
        alone = len(img.volumes) == 1
        array = first.array if alone else np.stack([volume.array for volume in img.volumes])
        meta: dict[str, Any] = {
            str(MetaKeys.AFFINE): first.grid.affine.copy(),
            str(MetaKeys.ORIGINAL_AFFINE): first.grid.affine.copy(),
            str(MetaKeys.SPATIAL_SHAPE): np.asarray(first.grid.shape),
            str(MetaKeys.SPACE): SpaceKeys.RAS,
            str(MetaKeys.ORIGINAL_CHANNEL_DIM): float("nan") if alone else 0,
            HEADER: json.dumps(dict(first.header)),
            "volseg_notes": "\n".join(note for volume in img.volumes for note in volume.notes),
            "padding_value": float("nan") if first.padding is None else first.padding,
        }
        return array, meta


class VolsegWriter(ImageWriter):  # type: ignore[misc]
    """Writes through :mod:`volseg.io`; for ``SaveImaged(writer="volseg.io.monai_io.VolsegWriter")``.

    With an integer ``output_dtype`` the values must be whole numbers that it holds; no value is ever wrapped or cut.
    On the grid that was read the affine is written back equal to the bit.
    """

    def __init__(self, output_dtype: Any = None, scale: int | None = None, **kwargs: Any) -> None:
        if scale is not None:
            raise UsageError("VolsegWriter does not rescale values", mend="leave scale out, or rescale before saving")
        super().__init__(output_dtype=output_dtype, **kwargs)
        self._grid: Grid | None = None
        self._like: Volume | None = None

    def set_data_array(
        self, data_array: Any, channel_dim: int | None = 0, squeeze_end_dims: bool = True, **_: Any
    ) -> None:
        """Take the voxels; channels become the last axis, a single one is dropped."""
        array = convert_data_type(data_array, np.ndarray)[0]
        if channel_dim is not None and not is_no_channel(channel_dim):
            array = np.moveaxis(array, channel_dim, -1)
            if array.shape[-1] == 1 and squeeze_end_dims:
                array = array[..., 0]
        self.data_obj = array

    def set_metadata(self, meta_dict: Mapping[str, Any] | None, resample: bool = True, **options: Any) -> None:
        """Take the grid, resampling to the original one if asked to and if it is another."""
        if not meta_dict or meta_dict.get(MetaKeys.AFFINE) is None:
            raise UsageError("no affine in the metadata: where the voxels are is not known", mend="save a MetaTensor")
        original, affine, shape = self.get_meta_info(meta_dict)
        affine = _numpy(affine)
        if resample and original is not None and not np.allclose(affine, _numpy(original), atol=_ROUNDING):
            self.data_obj, affine = self.resample_if_needed(
                self.data_obj, affine=affine, target_affine=original, output_spatial_shape=shape, **options
            )
            affine = _numpy(affine)
        ndim = affine.shape[0] - 1
        spatial = self.data_obj.shape[:ndim]
        if len(spatial) < ndim:  # a 2-D image whose affine is 3-D
            keep = [*range(len(spatial)), ndim]
            affine, ndim = affine[np.ix_(keep, keep)], len(spatial)
        self._grid, self._like = _source_grid(Grid(spatial, affine), meta_dict)

    def write(self, filename: os.PathLike[str] | str, verbose: bool = True, **_: Any) -> None:
        """Write the file, whole or not at all."""
        super().write(filename, verbose=verbose)
        if self._grid is None or self.data_obj is None:
            raise UsageError("nothing to write", mend="call set_data_array and set_metadata first")
        array = self.data_obj
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise NonFiniteError("the result holds NaN or infinite values", where=filename)
        wanted = array.dtype if self.output_dtype is None else _dtype(self.output_dtype)
        if wanted.kind == "u" and array.shape == self._grid.shape:
            write_labels(filename, array, self._grid, like=self._like, dtype=wanted)
        else:
            write_volume(filename, _exactly(array, wanted, filename), self._grid, like=self._like)


def _several(data: Any) -> tuple[Any, ...]:
    return (data,) if isinstance(data, str | os.PathLike) else tuple(data)


def _numpy(value: Any) -> npt.NDArray[np.float64]:
    array: npt.NDArray[np.float64] = np.asarray(convert_data_type(value, np.ndarray)[0], dtype=np.float64)
    return array


def _dtype(kind: Any) -> np.dtype[Any]:
    """A numpy type from numpy's, torch's or a written name of it."""
    name = str(kind).removeprefix("torch.") if "torch" in str(type(kind)) else kind
    return np.dtype(name)


def _exactly(array: npt.NDArray[Any], wanted: np.dtype[Any], where: object) -> npt.NDArray[Any]:
    """The array in another type, refused where an integer would be wrapped or a fraction cut off."""
    if wanted.kind not in "iu" or wanted == array.dtype:
        return array.astype(wanted, copy=False)
    limits = np.iinfo(wanted)
    rounded = np.rint(array) if array.dtype.kind == "f" else array
    if array.size and (
        rounded.min() < limits.min or rounded.max() > limits.max or np.abs(array - rounded).max() > 1e-3
    ):
        raise UsageError(
            f"values from {array.min():g} to {array.max():g} do not fit {wanted}",
            where=where,
            mend="choose another output_dtype",
        )
    return rounded.astype(wanted)


def _source_grid(grid: Grid, meta: Mapping[str, Any]) -> tuple[Grid, Volume | None]:
    """The grid of the source itself, bit for bit, and its header, where this grid differs from it by rounding only."""
    stored, original, shape = meta.get(HEADER), meta.get(MetaKeys.ORIGINAL_AFFINE), meta.get(MetaKeys.SPATIAL_SHAPE)
    if stored is None or original is None or shape is None:
        return grid, None
    affine = _numpy(original)
    if affine.shape != grid.affine.shape or tuple(int(n) for n in shape) != grid.shape:
        return grid, None
    source = Grid(grid.shape, affine)
    if not grid.same_as(source, _ROUNDING):
        return grid, None
    return source, Volume(np.broadcast_to(np.uint8(0), source.shape), source, json.loads(stored))
