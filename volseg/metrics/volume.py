"""Volumes in millilitres, and how far a predicted one is off."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class VolumePair:
    """The volumes of a structure in prediction and truth.

    >>> pair = VolumePair.of(1100, 1000, voxel_volume=2.0)
    >>> pair.difference_ml, pair.difference_percent
    (0.2, 10.0)
    """

    prediction_ml: float
    truth_ml: float

    @classmethod
    def of(cls, prediction_voxels: int, truth_voxels: int, voxel_volume: float) -> VolumePair:
        """From voxel counts and the volume of a voxel in cubic millimetres."""
        return cls(prediction_voxels * voxel_volume / 1000, truth_voxels * voxel_volume / 1000)

    @property
    def difference_ml(self) -> float:
        """Prediction less truth: positive where too much was predicted."""
        return round(self.prediction_ml - self.truth_ml, 9)

    @property
    def difference_percent(self) -> float:
        """The difference in percent of the truth: -100 for a missed structure, infinite for an invented one.

        Nothing in either is no difference, and NaN in percent.
        """
        if self.truth_ml == 0:
            return math.inf if self.prediction_ml > 0 else math.nan
        return round(100 * (self.prediction_ml - self.truth_ml) / self.truth_ml, 9)
