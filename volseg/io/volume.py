"""A volume in memory: voxels, where they are, and what was found out while reading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from volseg.errors import UsageError
from volseg.geometry import Grid

#: Voxels outside these millimetres are more likely a wrong unit than a real voxel.
PLAUSIBLE_SPACING = (0.02, 50.0)


@dataclass(frozen=True, eq=False)
class Volume:
    """An image or a label map as its file holds it: no axis turned, no value changed but by the file's own scaling.

    Attributes:
        array: the voxels in the file's own axis order, in native byte order, not writeable.
        grid: where they are, in millimetres (RAS+).
        header: what the format needs to be written back the same; never anything about the patient.
        notes: what a careful reader would tell, one line each; empty for an unremarkable file.
        source: the file or folder it came from.
        padding: the value that stands for "not measured" around the image, if one was found.
    """

    array: npt.NDArray[Any]
    grid: Grid
    header: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    source: Path | None = None
    padding: float | None = None

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise UsageError(f"voxels of shape {self.array.shape} do not fill a grid of shape {self.grid.shape}")
        array = self.array.view()
        array.flags.writeable = False
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "header", MappingProxyType(dict(self.header)))

    def __reduce__(self) -> tuple[Any, ...]:
        # volumes cross process borders (data workers), and a mapping proxy does not pickle
        return (type(self), (self.array, self.grid, dict(self.header), self.notes, self.source, self.padding))


@dataclass(frozen=True)
class Outline:
    """What a header tells of a volume before any voxel of it is read.

    Attributes:
        grid: where its voxels are, in millimetres (RAS+).
        modality: what made it, as DICOM calls it; none in other formats.
    """

    grid: Grid
    modality: str | None = None


@dataclass(frozen=True)
class ReadOptions:
    """What a person may decide where a file leaves it open, or where they know better than the file."""

    frame: int | None = None
    geometry: Literal["sform", "qform"] | None = None
    assume_ras: bool = False
    fill_nan: float | None = None
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING
    #: label maps are not judged for padding values and constant content
    as_labels: bool = False

    def __post_init__(self) -> None:
        if self.geometry not in (None, "sform", "qform"):
            raise UsageError(f"geometry can be sform or qform, not {self.geometry!r}")
        if self.frame is not None and self.frame < 0:
            raise UsageError(f"frames count from 0, {self.frame} is none")
        if not 0 <= self.spacing_range[0] < self.spacing_range[1]:
            raise UsageError(f"a range of spacings runs from small to large, not {self.spacing_range}")
        if self.fill_nan is not None and not np.isfinite(self.fill_nan):
            raise UsageError(f"--fill-nan needs a finite value, not {self.fill_nan}")
