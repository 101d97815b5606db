"""What cardiologists read from a segmented heart: ventricular volumes, ejection fraction, myocardial mass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from volseg.errors import UsageError
from volseg.labels import Labels

#: grams of myocardium per millilitre
DENSITY = 1.05


@dataclass(frozen=True)
class PhaseVolumes:
    """The volumes of one phase of the heart cycle, in millilitres."""

    left_ml: float
    right_ml: float
    myocardium_ml: float

    @property
    def mass_g(self) -> float:
        """The mass of the myocardium."""
        return DENSITY * self.myocardium_ml


@dataclass(frozen=True)
class Ventricle:
    """A ventricle's volumes at the end of diastole and of systole, and what follows.

    >>> left = Ventricle(edv_ml=120.0, esv_ml=48.0)
    >>> left.sv_ml, left.ef_percent
    (72.0, 60.0)
    """

    edv_ml: float
    esv_ml: float

    @property
    def sv_ml(self) -> float:
        """The stroke volume."""
        return self.edv_ml - self.esv_ml

    @property
    def ef_percent(self) -> float:
        """The ejection fraction; NaN where no ventricle was found at the end of diastole."""
        return 100 * self.sv_ml / self.edv_ml if self.edv_ml > 0 else math.nan


@dataclass(frozen=True)
class CardiacFunction:
    """Both ventricles, and the myocardial mass at the end of diastole."""

    left: Ventricle
    right: Ventricle
    mass_g: float

    def to_dict(self) -> dict[str, float]:
        """One row of a table."""
        row = {}
        for side, ventricle in (("lv", self.left), ("rv", self.right)):
            row[f"{side}_edv_ml"] = ventricle.edv_ml
            row[f"{side}_esv_ml"] = ventricle.esv_ml
            row[f"{side}_sv_ml"] = ventricle.sv_ml
            row[f"{side}_ef_percent"] = ventricle.ef_percent
        return {**row, "myocardial_mass_g": self.mass_g}


def phase_volumes(
    mask: npt.NDArray[np.integer],
    voxel_volume: float,
    labels: Labels,
    *,
    left: str = "left ventricle",
    right: str = "right ventricle",
    myocardium: str = "myocardium",
) -> PhaseVolumes:
    """The volumes of one phase from its label image.

    Args:
        mask: the label image of one frame.
        voxel_volume: of a voxel, in cubic millimetres.
        labels: where the three structures are looked up by name; values that it does not declare are an error.
        left, right, myocardium: the names of the two cavities and of the muscle.

    >>> labels = Labels.of({"right ventricle": 1, "myocardium": 2, "left ventricle": 3})
    >>> phase_volumes(np.array([3, 3, 2, 0, 1], dtype=np.uint8), 500.0, labels)
    PhaseVolumes(left_ml=1.0, right_ml=0.5, myocardium_ml=0.5)
    """
    if not 0 < voxel_volume < math.inf:
        raise UsageError(f"a voxel has a volume above 0 mm³, not {voxel_volume}")
    values, counts = np.unique(mask, return_counts=True)
    labels.check(values.tolist())
    voxels = dict(zip(values.tolist(), counts.tolist(), strict=True))
    lv, rv, muscle = (voxels.get(labels[name].value, 0) * voxel_volume / 1000 for name in (left, right, myocardium))
    return PhaseVolumes(lv, rv, muscle)


def cardiac_function(diastole: PhaseVolumes, systole: PhaseVolumes) -> CardiacFunction:
    """The function of the heart from the ends of diastole and systole.

    >>> function = cardiac_function(PhaseVolumes(120, 130, 100), PhaseVolumes(48, 65, 104))
    >>> function.right.ef_percent, function.mass_g
    (50.0, 105.0)
    """
    return CardiacFunction(
        Ventricle(diastole.left_ml, systole.left_ml), Ventricle(diastole.right_ml, systole.right_ml), diastole.mass_g
    )


def find_phases(cine: Sequence[PhaseVolumes]) -> tuple[int, int]:
    """The frames of a cine at the ends of diastole and systole: the largest and the smallest left cavity.

    >>> find_phases([PhaseVolumes(ml, 0, 0) for ml in (118, 120, 80, 50, 75)])
    (1, 3)
    """
    left = [phase.left_ml for phase in cine]
    if len(left) < 2 or max(left) == min(left):
        raise UsageError("the phases cannot be told apart: the left ventricle's volume does not change over the cine")
    return left.index(max(left)), left.index(min(left))
