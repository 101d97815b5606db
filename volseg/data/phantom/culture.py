"""Fluorescence images of cells that touch, each with its own number in the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from volseg.data.phantom.model import Phantom, stream
from volseg.data.phantom.scanner import coil_bias, texture
from volseg.data.phantom.solids import Array, Swirl
from volseg.errors import UsageError
from volseg.geometry import Grid
from volseg.labels import Labels

CELL_LABELS = Labels.of({"cell": 1})

_KIND = 2
_ANATOMY, _NOISE = 0, 1


@dataclass(frozen=True, eq=False)
class Discs:
    """Discs that share out their overlaps along straight seams: a power diagram.

    Flattened where they touch, as crowded cells are, and each of known area.
    """

    centres: Array
    radii: Array

    def seams(self, i: int) -> tuple[Array, Array]:
        """For disc i the direction to every overlapping disc, and how far from its centre the seam lies."""
        away = np.delete(self.centres, i, axis=0) - self.centres[i]
        others = np.delete(self.radii, i)
        distance = np.hypot(away[:, 0], away[:, 1])
        near = distance < others + self.radii[i]
        away, distance, others = away[near], distance[near], others[near]
        return np.arctan2(away[:, 1], away[:, 0]), (distance**2 + self.radii[i] ** 2 - others**2) / (2 * distance)

    def area(self, i: int) -> float:
        """The area of disc i within its seams.

        Integrated over 20,000 directions from the centre, each cut at the circle or the nearest seam; exact but for
        the corners, where it errs by less than 1e-6 of the area.
        """
        theta = np.linspace(0, 2 * np.pi, 20_000, endpoint=False)
        reach = np.full(theta.shape, self.radii[i])
        for angle, height in zip(*self.seams(i), strict=True):
            cosine = np.cos(theta - angle)
            with np.errstate(divide="ignore"):
                reach = np.where(cosine > 0, np.minimum(reach, height / cosine), reach)
        return float(np.pi * np.mean(reach**2))

    def nearest(self, x: Array, y: Array) -> tuple[npt.NDArray[np.intp], Array]:
        """For every point the disc that it falls to, and its power distance (negative inside the disc)."""
        owner, power = np.zeros(x.shape, np.intp), np.full(x.shape, np.inf)
        for i, (centre, radius) in enumerate(zip(self.centres, self.radii, strict=True)):
            own = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 - radius**2
            owner, power = np.where(own < power, i, owner), np.minimum(own, power)
        return owner, power


def cells(seed: int, case: int = 0, *, size: int = 256, count: int = 48, radius: float = 11.0) -> Phantom:
    """One image of touching cells; the label holds instance numbers, 1 and up. One pixel is one millimetre here.

    ``volumes`` are the areas of the cells that lie wholly inside the image.

    Args:
        seed: The cohort's seed.
        case: Which image of the cohort, from 0.
        size: Pixels along each side.
        count: How many cells are sown; in a crowded image fewer find room.
        radius: Their typical radius in pixels.
    """
    if size < 4 * radius or count < 1 or radius < 3:
        raise UsageError(f"no room for {count} cells of radius {radius:g} in {size}x{size} pixels")
    random = stream(seed, _KIND, case, _ANATOMY)
    discs = _sown(random, size, count, radius)
    swirl = Swirl.drawn(
        random, 2, count=6, amplitude=(0.1 * radius, 0.28 * radius), wavelength=(3.5 * radius, 8 * radius)
    )
    rows, columns = np.meshgrid(*(np.arange(size, dtype=np.float64),) * 2, indexing="ij")
    y, x = swirl(rows, columns)
    owner, power = discs.nearest(y, x)
    inside = power < 0
    kept, numbers = np.unique(owner[inside], return_inverse=True)
    label = np.zeros((size, size), np.uint16)
    label[inside] = numbers + 1
    image = _photographed(random, stream(seed, _KIND, case, _NOISE), discs, owner, power, radius)
    cut = set(np.unique(np.concatenate([label[0], label[-1], label[:, 0], label[:, -1]])).tolist())
    areas = {n: discs.area(int(disc)) for n, disc in enumerate(kept, 1) if n not in cut}
    return Phantom(image, label, Grid.from_spacing((size, size), (1.0, 1.0)), areas)


def _sown(random: np.random.Generator, size: int, count: int, radius: float) -> Discs:
    """Cells one after the other: some alone, most pressed against one that is there."""
    centres, radii = np.empty((0, 2)), np.empty(0)
    for _ in range(40 * count):
        if len(radii) == count:
            break
        r = radius * float(np.clip(random.normal(1, 0.2), 0.55, 1.6))
        if len(radii) and random.random() < 0.7:
            mate, angle = int(random.integers(len(radii))), random.uniform(0, 2 * np.pi)
            reach = random.uniform(0.78, 0.96) * (r + radii[mate])
            spot = centres[mate] + reach * np.array([np.cos(angle), np.sin(angle)])
        else:
            spot = random.uniform(0, size, 2)
        if (spot < -0.3 * r).any() or (spot > size + 0.3 * r).any():
            continue
        distance = np.hypot(*(centres - spot).T)
        # every seam leaves each of its two cells the greater part, so both centres stay in their own cells
        seam, back = (distance**2 + r**2 - radii**2), (distance**2 + radii**2 - r**2)
        touching = distance < r + radii
        if touching.any() and min((seam / r)[touching].min(), (back / radii)[touching].min()) < 1.1 * distance.min():
            continue
        centres, radii = np.vstack([centres, spot]), np.append(radii, r)
    return Discs(centres, radii)


def _photographed(
    random: np.random.Generator,
    noise: np.random.Generator,
    discs: Discs,
    owner: npt.NDArray[np.intp],
    power: Array,
    radius: float,
) -> npt.NDArray[np.uint8]:
    """Dim and bright cells, glow from other planes, uneven light, photon noise."""
    shape = owner.shape
    depth = (-power).clip(min=0) / discs.radii[owner] ** 2
    bright = np.exp(random.normal(0, 0.45, len(discs.radii))).clip(0.35, 2.6)
    body = bright[owner] * (0.55 + 0.45 * depth**0.5) * (1 + 0.12 * texture(random, shape, (1.5, 1.5)))
    signal = np.where(power < 0, body, 0.0)
    # cells of other planes glow without being in focus, and belong to no instance
    blur = np.zeros(shape)
    for _ in range(5):
        spot = random.uniform(0, shape[0], 2)
        blur[int(spot[0]), int(spot[1])] = random.uniform(0.5, 1.0)
    glow = gaussian_filter(blur, 1.8 * radius) * 2 * np.pi * (1.8 * radius) ** 2
    signal = gaussian_filter(signal, 0.9) + 0.75 * glow + 0.22
    signal = signal * coil_bias(random, shape, 0.3)
    photons = noise.poisson(signal * 60) / 60 + noise.normal(0, 0.035, shape)
    result: npt.NDArray[np.uint8] = (photons * 90).round().clip(0, 255).astype(np.uint8)
    return result
