"""What may be given as an image: a path, a volume, or voxels with their grid."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from volseg.errors import UsageError, VolumeError
from volseg.geometry import Grid
from volseg.io import ReadOptions, Volume, read_volume
from volseg.io.voxel_check import judge
from volseg.recipe import Recipe

StrPath = str | os.PathLike[str]
#: one image, or a list of one for each channel
Image = StrPath | Volume | npt.NDArray[Any]


def as_volumes(
    image: Image | Sequence[Image],
    grid: Grid | None,
    recipe: Recipe,
    *,
    frame: int | None = None,
    fill_nan: float | None = None,
    **reading: Any,
) -> list[Volume]:
    """The channels of a case as volumes, judged as files are.

    Args:
        image: paths, volumes, or arrays that lie on ``grid``.
        grid: where the voxels of arrays are.
        recipe: of the bundle, for the voxel sizes that it allows.
        frame: which frame of a time series, from 0.
        fill_nan: put this where voxels are NaN or infinite, instead of refusing them.
        reading: other options of :func:`volseg.io.read_volume`.
    """
    options = {"frame": frame, "fill_nan": fill_nan, "spacing_range": recipe.image.spacing_range, **reading}
    one = isinstance(image, str | os.PathLike | Volume | np.ndarray)
    given: Sequence[Any] = [image] if one else image  # type: ignore[assignment]
    volumes = []
    for each in given:
        if isinstance(each, Volume):
            volumes.append(each)
        elif isinstance(each, str | os.PathLike):
            volumes.append(read_volume(each, **options))
        else:
            volumes.append(_on_grid(np.asarray(each), grid, fill_nan))
    return volumes


def _on_grid(array: npt.NDArray[Any], grid: Grid | None, fill_nan: float | None) -> Volume:
    if grid is None:
        raise UsageError(
            "an array does not say where its voxels are", mend="give its grid too, such as Grid.from_spacing(…)"
        )
    if array.dtype.kind not in "iufb":
        raise VolumeError(f"an image holds real numbers, not {array.dtype}")
    judged = array.astype(np.uint8) if array.dtype.kind == "b" else array.copy() if fill_nan is not None else array
    found = judge(judged, ReadOptions(fill_nan=fill_nan), None)
    return Volume(judged, grid, notes=found.notes, padding=found.padding)
