"""What a phantom is: an image, its truth, and the volumes that a formula gives for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from volseg.errors import UsageError
from volseg.geometry import Grid


@dataclass(frozen=True, eq=False)
class Phantom:
    """A synthetic image with its truth.

    ``volumes`` holds, by label value, the size of each structure as its formula gives it, not as its voxels count:
    millilitres in 3-D, square millimetres in 2-D. A structure that the image's border cuts is left out.
    """

    image: npt.NDArray[Any]
    label: npt.NDArray[Any]
    grid: Grid
    volumes: Mapping[int, float]

    def __post_init__(self) -> None:
        if self.image.shape != self.grid.shape or self.label.shape != self.grid.shape:
            raise UsageError(f"image {self.image.shape}, label {self.label.shape} and grid {self.grid.shape} differ")
        object.__setattr__(self, "volumes", MappingProxyType(dict(self.volumes)))

    def voxel_volumes(self) -> dict[int, float]:
        """What counting voxels gives for each label of ``volumes``, in the same unit."""
        unit = self.grid.voxel_volume / (1000.0 if self.grid.ndim == 3 else 1.0)
        return {value: float(np.count_nonzero(self.label == value)) * unit for value in self.volumes}


def stream(seed: int, *key: int) -> np.random.Generator:
    """The random numbers of one purpose of one case: they depend on nothing else, least of all on how many cases.

    >>> float(stream(7, 1, 2).random()) == float(stream(7, 1, 2).random()) != float(stream(7, 1, 3).random())
    True
    """
    if seed < 0:
        raise UsageError(f"a seed is zero or more, not {seed}")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))
