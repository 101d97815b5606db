"""Shapes whose sizes are known by a formula, and a deformation that leaves their sizes alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bullet:
    """An ellipsoid of revolution along z from its apex to a flat base: how a ventricle is drawn.

    The centre lies below the base by ``flare`` times the half axis, so that the wall curves in again at the base.
    """

    radius: float
    apex: float
    base: float
    flare: float = 0.3

    @property
    def half_axis(self) -> float:
        return (self.base - self.apex) / (1 + self.flare)

    @property
    def centre(self) -> float:
        return self.apex + self.half_axis

    @property
    def volume(self) -> float:
        """Cubic millimetres.

        >>> round(Bullet(10.0, apex=0.0, base=10.0, flare=0.0).volume, 1)  # half a ball
        2094.4
        """
        return float(np.pi * self.radius**2 * self.half_axis * self.volume_factor(self.flare))

    @staticmethod
    def volume_factor(flare: float) -> float:
        """The volume over pi, radius squared and half axis: the integral of 1 - t^2 from -1 to ``flare``."""
        return (flare + 1) - (flare**3 + 1) / 3

    def section(self, z: npt.ArrayLike) -> Array:
        """The radius at the height z, 0 outside."""
        height = np.asarray(z, dtype=np.float64)
        share = 1 - ((height - self.centre) / self.half_axis) ** 2
        result: Array = np.where(height < self.base, self.radius * np.sqrt(share.clip(min=0.0)), 0.0)
        return result


def lens_area(r: npt.ArrayLike, s: npt.ArrayLike, distance: npt.ArrayLike) -> Array:
    """The area that two discs share.

    >>> float(lens_area(2.0, 1.0, 0.5).round(4)), float(lens_area(2.0, 1.0, 3.5))
    (3.1416, 0.0)
    """
    r, s, d = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (r, s, distance)))
    small = np.minimum(r, s)
    inside, apart = d <= np.abs(r - s), d >= r + s
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # where one disc holds the other
        first = r**2 * np.arccos(((d**2 + r**2 - s**2) / (2 * d * r)).clip(-1, 1))
        second = s**2 * np.arccos(((d**2 + s**2 - r**2) / (2 * d * s)).clip(-1, 1))
        kite = 0.5 * np.sqrt(((-d + r + s) * (d + r - s) * (d - r + s) * (d + r + s)).clip(min=0))
        lens = first + second - kite
    result: Array = np.where(inside, np.pi * small**2, np.where(apart, 0.0, lens))
    return result


def ellipsoid_volume(semi_axes: npt.ArrayLike, cut: float = 1.0) -> float:
    """Cubic millimetres of an ellipsoid, or of what a plane leaves of it.

    Args:
        semi_axes: The three half axes.
        cut: Where the plane stands, in the coordinates in which the ellipsoid is the unit ball: -1 leaves nothing,
            0 one half, 1 everything.

    >>> round(ellipsoid_volume((1, 1, 1)), 4), round(ellipsoid_volume((1, 2, 3), cut=0.0), 4)
    (4.1888, 12.5664)
    """
    return float(np.pi * (2 / 3 + cut - cut**3 / 3) * np.prod(np.asarray(semi_axes, dtype=np.float64)))


@dataclass(frozen=True, eq=False)
class Swirl:
    """A smooth deformation that makes shapes organic and keeps the area of every slice.

    A sequence of shears: each moves points along a direction of the slice plane by a sine of a coordinate at right
    angles to it, so its Jacobian is exactly one. Closed-form sizes stay true after it.
    """

    directions: Array
    waves: Array
    amplitudes: Array
    phases: Array

    @classmethod
    def drawn(
        cls,
        random: np.random.Generator,
        ndim: int,
        *,
        count: int,
        amplitude: tuple[float, float],
        wavelength: tuple[float, float],
    ) -> Swirl:
        """``count`` random shears in ``ndim`` dimensions, the slice plane being the first two."""
        angles = random.uniform(0, 2 * np.pi) + np.arange(count) * np.pi * (3 - np.sqrt(5))  # well spread directions
        lean = random.uniform(-0.5, 0.5, count) if ndim == 3 else np.zeros(count)
        across = np.stack([-np.sin(angles) * np.cos(lean), np.cos(angles) * np.cos(lean), np.sin(lean)], axis=1)
        along = np.stack([np.cos(angles), np.sin(angles), np.zeros(count)], axis=1)
        waves = 2 * np.pi * across[:, :ndim] / random.uniform(*wavelength, count)[:, None]
        return cls(along[:, :2], waves, random.uniform(*amplitude, count), random.uniform(0, 2 * np.pi, count))

    def __call__(self, *points: Array) -> tuple[Array, ...]:
        """Where each point comes from: one array per axis in, one per axis out."""
        x, y, *rest = points
        for along, wave, amplitude, phase in zip(
            self.directions, self.waves, self.amplitudes, self.phases, strict=True
        ):
            angle = wave[0] * x + wave[1] * y + phase
            for k, axis in zip(wave[2:], rest, strict=True):
                angle = angle + k * axis
            push = amplitude * np.sin(angle)
            x, y = x + along[0] * push, y + along[1] * push
        return (x, y, *rest)
