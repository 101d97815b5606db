"""A volume whose voxels lie in its file as they are: what the header tells, and the volume itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volseg.geometry import Grid
from volseg.io.raw_voxels import Storage, read_voxels
from volseg.io.volume import Outline, ReadOptions, Volume
from volseg.io.voxel_check import judge


@dataclass(frozen=True)
class PlainVolume:
    """All that a header tells of a volume; no voxel is read before it is asked for."""

    path: Path
    format: str
    storage: Storage
    dtype: np.dtype[Any]
    grid: Grid
    notes: tuple[str, ...]
    frame: int = 0
    frames: int = 1

    @property
    def outline(self) -> Outline:
        """What is known without the voxels."""
        return Outline(self.grid)

    def read(self, options: ReadOptions) -> Volume:
        """The volume, its voxels judged."""
        shape = self.grid.shape
        flat, more = read_voxels(self.storage, shape, self.dtype, self.path, frame=self.frame, frames=self.frames)
        found = judge(flat, options, self.path)
        array, notes = flat.reshape(shape, order="F"), (*self.notes, *more, *found.notes)
        return Volume(array, self.grid, {"format": self.format}, notes, self.path, found.padding)
