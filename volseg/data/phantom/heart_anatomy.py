"""A beating heart as formulas: ventricles, wall, motion, and their volumes at any moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import simpson
from scipy.optimize import brentq

from volseg.data.phantom.solids import Array, Bullet, lens_area

GROUPS = ("NOR", "DCM", "HCM", "MINF", "RV")

# Per group: end-diastolic volume and ejection fraction of the left ventricle, its wall thickness (mm), and volume and
# ejection fraction of the right: what makes each group recognisable in the clinic.
_TYPICAL = {
    "NOR": (130.0, 0.60, 9.0, 140.0, 0.56),
    "DCM": (230.0, 0.24, 8.0, 160.0, 0.45),
    "HCM": (115.0, 0.66, 15.0, 125.0, 0.58),
    "MINF": (165.0, 0.38, 9.5, 140.0, 0.52),
    "RV": (110.0, 0.56, 9.0, 215.0, 0.38),
}


@dataclass(frozen=True)
class Chambers:
    """The heart at one moment. z runs from the apex of the left cavity (0) to the base; millimetres throughout."""

    endocardium: Bullet
    epicardium: Bullet
    right: Bullet
    #: how far the right ventricle's sections are centred from the left's, as a share of the epicardial radius
    offset: float

    def right_offset(self, z: Array) -> Array:
        """The distance between the centres of the two ventricles at the height z."""
        return self.offset * self.epicardium.section(z)

    def volumes(self) -> dict[int, float]:
        """Millilitres: 1 right ventricular cavity, 2 myocardium, 3 left ventricular cavity.

        The left ventricle is a closed form. The right is a disc less the share of it that the epicardium covers,
        closed at every height, and integrated over the height by Simpson's rule on 4001 heights.
        """
        z = np.linspace(self.right.apex, np.nextafter(self.right.base, 0), 4001)
        radius = self.right.section(z)
        crescent = np.pi * radius**2 - lens_area(radius, self.epicardium.section(z), self.right_offset(z))
        left = self.endocardium.volume
        return {
            1: float(simpson(crescent, x=z)) / 1000,
            2: (self.epicardium.volume - left) / 1000,
            3: left / 1000,
        }


@dataclass(frozen=True)
class Heart:
    """A heart's beat: everything that does not change while it beats, and :meth:`at` for what does.

    The myocardium keeps its volume, so it thickens as the cavity empties and the base comes down.
    """

    group: str
    length: float
    descent: float
    diastolic_volume: float
    ejection: float
    wall: float
    right_volume: float
    right_ejection: float

    @classmethod
    def drawn(cls, random: np.random.Generator, group: str, thickness: float) -> Heart:
        """A random heart of a group.

        Its base lies between two slices of this thickness at both end-diastole and end-systole: a stack that cut it
        mid-slice would have no truth for that slice but an opinion.
        """
        volume, ejection, wall, right, right_ejection = _TYPICAL[group]
        vary = random.normal(1, 0.07, 5).clip(0.85, 1.15)
        # never more than 16, so that the stack keeps to the 18 slices of the widest protocols
        slices = min(16, round((78 + 0.08 * volume + random.uniform(-5, 5)) / thickness))
        return cls(
            group,
            length=slices * thickness,
            descent=round(22 * ejection / thickness) * thickness,
            diastolic_volume=float(volume * vary[0]),
            ejection=float(ejection * vary[1]),
            wall=float(wall * vary[2]),
            right_volume=float(right * vary[3]),
            right_ejection=float(right_ejection * vary[4]),
        )

    def at(self, contraction: float) -> Chambers:
        """The chambers between end-diastole (0) and end-systole (1)."""
        base = self.length - contraction * self.descent
        cavity = _filled(self.diastolic_volume * (1 - contraction * self.ejection), base)
        epicardium = _shell(cavity, self._wall_at(cavity))
        right = self.right_volume * (1 - contraction * self.right_ejection)

        def chambers(radius: float) -> Chambers:
            return Chambers(cavity, epicardium, Bullet(radius, 0.1 * base, base), offset=0.95)

        return chambers(float(brentq(lambda r: chambers(r).volumes()[1] - right, 5.0, 120.0, xtol=1e-6)))

    def _wall_at(self, cavity: Bullet) -> float:
        relaxed = _filled(self.diastolic_volume, self.length)
        muscle = _shell(relaxed, self.wall).volume - relaxed.volume
        return float(brentq(lambda w: _shell(cavity, w).volume - cavity.volume - muscle, 1.0, 60.0, xtol=1e-9))


def contraction(frame: int, diastole: int, systole: int, frames: int) -> float:
    """How far the beat has come at a frame (from 1): 0 at end-diastole, 1 at end-systole.

    Filling comes in two waves, the early one and the atrium's.

    >>> [round(contraction(f, 1, 9, 25), 2) for f in (1, 5, 9, 25)]
    [0.0, 0.5, 1.0, 0.02]
    """
    passed, systolic = (frame - diastole) % frames / frames, (systole - diastole) / frames
    if passed <= systolic:
        return float(np.sin(np.pi / 2 * passed / systolic) ** 2)
    rest = (passed - systolic) / (1 - systolic)
    early, late = (np.sin(np.pi / 2 * np.clip(s, 0, 1)) ** 2 for s in (rest / 0.45, (rest - 0.7) / 0.3))
    return float(1 - 0.75 * early - 0.25 * late)


def _filled(millilitres: float, base: float) -> Bullet:
    """The cavity of this volume and length."""
    unit = Bullet(1.0, 0.0, base).volume
    return Bullet(float(np.sqrt(1000 * millilitres / unit)), 0.0, base)


def _shell(cavity: Bullet, wall: float) -> Bullet:
    """The epicardium around a cavity; the wall is thinner at the apex."""
    half = cavity.half_axis + 0.6 * wall
    apex = cavity.centre - half
    return Bullet(cavity.radius + wall, apex, cavity.base, flare=(cavity.base - cavity.centre) / half)
