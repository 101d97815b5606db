"""The one door through which files become volumes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from volseg.errors import GridMismatch, LabelError, UsageError, VolumeError
from volseg.io.formats import Format, identify
from volseg.io.geometry_check import require_plausible
from volseg.io.volume import PLAUSIBLE_SPACING, Outline, ReadOptions, Volume
from volseg.io.voxel_check import judge, present, whole_numbers
from volseg.labels import Labels, smallest_unsigned


def read_volume(
    path: str | os.PathLike[str],
    *,
    frame: int | None = None,
    geometry: Literal["sform", "qform"] | None = None,
    assume_ras: bool = False,
    fill_nan: float | None = None,
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING,
    series: str | None = None,
) -> Volume:
    """Read an image: NIfTI, NRRD, MetaImage, MGH, PNG, TIFF, or a DICOM series (a folder, or a file of it).

    The file is read to its end, checksums verified; its name, size, geometry and voxels are judged. There is one
    reader for each format and no second try with another.

    Args:
        path: the file or folder.
        frame: which frame of a time series, from 0.
        geometry: which statement of a NIfTI header to trust where they contradict each other.
        assume_ras: take a file that says nothing about orientation as right-anterior-superior.
        fill_nan: put this value where voxels are NaN or infinite, instead of refusing the file.
        spacing_range: voxel sizes in millimetres outside this range are refused.
        series: the series instance UID, where a DICOM folder holds several.

    Raises:
        VolumeError: if the file cannot be read or cannot be trusted, with the way to mend it.
    """
    options = ReadOptions(frame, geometry, assume_ras, fill_nan, spacing_range)
    return _read(Path(path), options, series)


def read_outline(
    path: str | os.PathLike[str],
    *,
    frame: int | None = None,
    geometry: Literal["sform", "qform"] | None = None,
    assume_ras: bool = False,
    fill_nan: float | None = None,
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING,
    series: str | None = None,
) -> Outline:
    """What the header alone tells of the volume that :func:`read_volume` would give with the same options.

    No voxel is read: a file with an outline may still be damaged. A file that is refused here is refused there, with
    the same line.

    Raises:
        VolumeError: if the header cannot be read or cannot be trusted.
    """
    path, options = Path(path), ReadOptions(frame, geometry, assume_ras, fill_nan, spacing_range)
    form = _form(path, options, series)
    if form.kind == "dicom":
        from volseg.io.dicom import outline_series

        outline = outline_series(path, series=series)
        require_plausible(outline.grid, options.spacing_range, path)
        return outline
    with np.errstate(all="ignore"):
        return _reader(form).outline(path, options)


def read_labels(
    path: str | os.PathLike[str],
    labels: Labels | None = None,
    *,
    frame: int | None = None,
    geometry: Literal["sform", "qform"] | None = None,
    assume_ras: bool = False,
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING,
    series: str | None = None,
) -> Volume:
    """Read a label map: as :func:`read_volume`, with whole, non-negative and (if ``labels`` is given) declared values.

    The array has the smallest unsigned type that holds its values.

    Raises:
        LabelError: naming the file and the values that are no labels.
    """
    options = ReadOptions(frame, geometry, assume_ras, None, spacing_range, as_labels=True)
    volume = _read(Path(path), options, series)
    array = whole_numbers(volume.array, path)
    values = present(array)
    if values[0] < 0:
        raise LabelError(f"holds the negative label value {values[0]}", where=path, mend="label values start at 0")
    if labels is not None:
        labels.check(values, where=path)
    return replace(volume, array=array.astype(smallest_unsigned(values[-1]), copy=False))


def options_of_labels(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options of :func:`read_volume` that hold for the label map beside an image too: about its place.

    >>> options_of_labels({"geometry": "sform", "fill_nan": 0.0, "series": None})
    {'geometry': 'sform'}
    """
    return {name: options[name] for name in ("geometry", "assume_ras") if name in options}


def frame_count(path: str | os.PathLike[str]) -> int:
    """How many frames a file holds, read from its header: 1 but for time series and stacks of pages."""
    path = Path(path)
    form = identify(path)
    if form.kind == "nifti":
        from volseg.io import nifti

        return nifti.frame_count(path)
    if form.kind == "mgh":
        from volseg.io import mgh

        return mgh.frame_count(path)
    if form.kind == "picture":
        from volseg.io import picture

        return picture.frame_count(path)
    return 1


def read_frames(path: str | os.PathLike[str], **options: object) -> Iterator[Volume]:
    """Every frame of a time series in turn, each judged by itself; takes the options of :func:`read_volume`."""
    for frame in range(frame_count(path)):
        yield read_volume(path, frame=frame, **options)  # type: ignore[arg-type]


def require_pair(image: Volume, label: Volume) -> None:
    """Refuse an image and a label map that do not lie on one grid.

    Raises:
        GridMismatch: naming both and how far apart they are.
    """
    name = image.source.name if image.source else "its image"
    try:
        label.grid.require_same(image.grid, where=label.source, what=f"the label map's grid and that of {name}")
    except GridMismatch as error:
        raise GridMismatch(error.what, where=error.where, mend="export it on the image's grid") from None


def _form(path: Path, options: ReadOptions, series: str | None) -> Format:
    """The format of a file, which must go with the options."""
    form = identify(path)
    if options.frame and form.kind in ("dicom", "nrrd", "metaimage"):
        raise VolumeError(f"holds no frame {options.frame}", where=path, mend="it has frame 0 only")
    if series is not None and form.kind != "dicom":
        raise UsageError("--series chooses in DICOM folders only", where=path)
    return form


def _read(path: Path, options: ReadOptions, series: str | None) -> Volume:
    form = _form(path, options, series)
    if form.kind == "dicom":
        from volseg.io.dicom import read_series

        volume = read_series(path, series=series)
        notes = require_plausible(volume.grid, options.spacing_range, path)
        # a volume's own array cannot be filled
        array = volume.array if options.fill_nan is None else volume.array.copy()
        found = judge(array, options, path)
        padding = found.padding if volume.padding is None else volume.padding  # a header knows better than a guess
        return replace(volume, array=array, notes=(*volume.notes, *notes, *found.notes), padding=padding)
    # absurd numbers in a header may overflow on the way to being refused; nobody needs numpy's word about that
    with np.errstate(all="ignore"):
        return _reader(form).read(path, options)


class _Reader(Protocol):
    """The module that reads a format."""

    def outline(self, path: Path, options: ReadOptions) -> Outline: ...

    def read(self, path: Path, options: ReadOptions) -> Volume: ...


def _reader(form: Format) -> _Reader:
    if form.kind == "nifti":
        from volseg.io import nifti as module
    elif form.kind == "nrrd":
        from volseg.io import nrrd as module  # type: ignore[no-redef]
    elif form.kind == "metaimage":
        from volseg.io import metaimage as module  # type: ignore[no-redef]
    elif form.kind == "mgh":
        from volseg.io import mgh as module  # type: ignore[no-redef]
    else:
        from volseg.io import picture as module  # type: ignore[no-redef]
    return module
