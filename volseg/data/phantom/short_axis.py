"""Short-axis cine stacks of a beating heart, as a scanner would show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from volseg.data.phantom.heart_anatomy import GROUPS, Chambers, Heart, contraction
from volseg.data.phantom.model import Phantom, stream
from volseg.data.phantom.scanner import coil_bias, rician, texture
from volseg.data.phantom.solids import Array, Swirl
from volseg.errors import UsageError
from volseg.geometry import Grid
from volseg.labels import Labels

HEART_LABELS = Labels.of(
    {"right ventricle": 1, "myocardium": 2, "left ventricle": 3},
    codes={
        "right ventricle": ("SCT", "53085002", "Right ventricle"),
        "myocardium": ("SCT", "74281007", "Myocardium"),
        "left ventricle": ("SCT", "87878005", "Left ventricle"),
    },
)

_KIND = 1
_ANATOMY, _NOISE = 0, 1
# A slice is thick: what the scanner shows is the mean over its thickness.
_SUBSLICES = (-1 / 3, 0.0, 1 / 3)


@dataclass(frozen=True, eq=False)
class HeartPatient:
    """One patient in the scanner: the heart, where it lies, how the slices moved, what surrounds it."""

    seed: int
    case: int
    heart: Heart
    grid: Grid
    frames: int
    diastole: int
    systole: int
    height: float
    weight: float
    #: slices above the base
    above: int
    #: the left ventricle's centre in the slice plane, and its drift from slice to slice
    centre: tuple[float, float]
    tilt: tuple[float, float]
    #: the direction in which the right ventricle lies, radians
    facing: float
    stretch: float
    swirl: Swirl
    breathing: Array
    tissue: Mapping[str, float]
    gain: float
    noise: float

    @property
    def info(self) -> dict[str, str]:
        """What ``Info.cfg`` says."""
        return {
            "ED": str(self.diastole),
            "ES": str(self.systole),
            "Group": self.heart.group,
            "Height": f"{self.height:.1f}",
            "NbFrame": str(self.frames),
            "Weight": f"{self.weight:.1f}",
        }

    def frame(self, number: int) -> Phantom:
        """One frame of the cine, counted from 1.

        At end-diastole and end-systole the base lies between two slices and counted voxels agree with the formula;
        in between the base crosses slices and they may differ by the half of one.
        """
        if not 1 <= number <= self.frames:
            raise UsageError(f"frame {number} is not in 1 … {self.frames}")
        chambers = self.heart.at(contraction(number, self.diastole, self.systole, self.frames))
        label, _ = self._sections(chambers, 0.0)
        shown = np.stack([self._sections(chambers, share)[1] for share in _SUBSLICES]).mean(axis=0)
        return Phantom(self._scanned(shown.astype(np.float32), number), label, self.grid, chambers.volumes())

    def cine(self) -> Iterator[Phantom]:
        """Every frame in turn."""
        return (self.frame(number) for number in range(1, self.frames + 1))

    def _sections(self, chambers: Chambers, share: float) -> tuple[npt.NDArray[np.uint8], Array]:
        """Labels and signal in the planes at ``share`` of the thickness from the middle of each slice."""
        (n, m, slices), (sx, sy, thickness) = self.grid.shape, self.grid.spacing
        # the first slice is the most basal one
        z = self.heart.length + (self.above - 0.5 + share - np.arange(slices, dtype=np.float64)) * thickness
        x = ((np.arange(n) - (n - 1) / 2) * sx)[:, None, None] - self.breathing[:, 0]
        y = ((np.arange(m) - (m - 1) / 2) * sy)[None, :, None] - self.breathing[:, 1]
        chest = self.swirl(x + 0 * y, y + 0 * x)
        height = z - self.heart.length / 2
        u = (chest[0] - self.centre[0] - self.tilt[0] * height) * self.stretch
        v = (chest[1] - self.centre[1] - self.tilt[1] * height) / self.stretch
        return _painted(self, chambers, chest, (u, v), z)

    def _scanned(self, signal: npt.NDArray[np.float32], number: int) -> npt.NDArray[np.int16]:
        still, moving = stream(self.seed, _KIND, self.case, _NOISE), stream(self.seed, _KIND, self.case, _NOISE, number)
        sx = self.grid.spacing[0]
        # the same tissue shows the same texture in every frame; only noise is new
        signal = signal * (1 + 0.07 * texture(still, signal.shape, (3 / sx, 3 / sx, 0)))
        signal = signal * coil_bias(still, signal.shape, 0.22)
        signal = gaussian_filter(signal, (0.9 / sx, 0.9 / sx, 0)).astype(np.float32)
        image = rician(moving, signal, self.noise) * self.gain
        return image.round().clip(0, 4095).astype(np.int16)


def patient(seed: int, case: int = 0, *, size: int = 112, thickness: float | None = None) -> HeartPatient:
    """Draw a patient; the group goes round NOR, DCM, HCM, MINF, RV with ``case``.

    Args:
        seed: The cohort's seed.
        case: Which patient of the cohort, from 0.
        size: Voxels along each side of a slice; the voxels are then 0.7 to 1.9 mm, as the field of view needs.
        thickness: Millimetres from slice to slice, 5 to 10 by chance if not given.
    """
    if size < 88:
        raise UsageError(f"a heart needs slices of at least 88x88 voxels of 1.9 mm, not {size}x{size}")
    if thickness is not None and not 5 <= thickness <= 10:
        raise UsageError(f"short-axis slices lie 5 to 10 mm apart, not {thickness:g}")
    random = stream(seed, _KIND, case, _ANATOMY)
    drawn = (random.choice([5.0, 6.0, 7.0, 8.0, 8.0, 10.0, 10.0, 10.0]), random.uniform(166, 210))
    thick = float(drawn[0] if thickness is None else thickness)
    in_plane = round(float(np.clip(drawn[1] / size, 0.7, 1.9)), 4)
    heart = Heart.drawn(random, GROUPS[case % len(GROUPS)], thick)
    inside, above, below = round(heart.length / thick), int(random.integers(1, 3)), int(random.integers(1, 3))
    above, below = (1, 1) if inside > 14 else (above, below)
    slices = inside + above + below
    frames = int(random.integers(20, 33))
    diastole = int(random.choice([1, 1, 1, 1, 2, 3]))
    tilt = random.uniform(-0.12, 0.12, 2)
    return HeartPatient(
        seed,
        case,
        heart,
        _grid(random, (size, size, slices), (in_plane, in_plane, thick)),
        frames,
        diastole,
        systole=diastole + round(random.uniform(0.33, 0.42) * frames),
        height=round(float(random.normal(170, 9)), 1),
        weight=round(max(45.0, random.normal(75, 12)), 1),
        above=above,
        centre=(float(random.uniform(10, 20)), float(random.uniform(-8, 8))),
        tilt=(float(tilt[0]), float(tilt[1])),
        facing=float(np.pi + random.uniform(-0.45, 0.55)),
        stretch=float(random.uniform(0.94, 1.06)),
        swirl=Swirl.drawn(random, 2, count=4, amplitude=(1.0, 2.5), wavelength=(60, 120)),
        breathing=np.where(random.random((slices, 1)) < 0.2, 2.5, 1.0) * random.normal(0, 1.2, (slices, 2)),
        tissue={
            "blood": float(random.uniform(190, 240)),
            "muscle": float(random.uniform(70, 95)),
            "lung": float(random.uniform(12, 30)),
            "fat": float(random.uniform(160, 235)),
            "liver": float(random.uniform(80, 120)),
        },
        gain=float(random.choice([1.0, 1.3, 7.0, 14.0])),
        noise=float(random.uniform(6, 13)),
    )


def heart(
    seed: int, case: int = 0, *, frame: int | str = "ED", size: int = 112, thickness: float | None = None
) -> Phantom:
    """One short-axis stack, labels as in ACDC: 1 right ventricle, 2 myocardium, 3 left ventricle.

    ``frame`` is ``"ED"``, ``"ES"`` or a number; the other arguments are those of :func:`patient`.

    >>> relaxed, contracted = heart(7, frame="ED"), heart(7, frame="ES")
    >>> relaxed.volumes[3] > 2 * contracted.volumes[3], round(relaxed.volumes[2]) == round(contracted.volumes[2])
    (True, True)
    """
    someone = patient(seed, case, size=size, thickness=thickness)
    moments: dict[Any, int] = {"ED": someone.diastole, "ES": someone.systole}
    number = moments.get(frame, frame)
    if not isinstance(number, int):
        raise UsageError(f"frame {frame!r} is neither ED, ES nor a number")
    return someone.frame(number)


def _grid(random: np.random.Generator, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> Grid:
    """Axes towards left and posterior as a scanner's image has them, the centre of the stack near the world's."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    middle = affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[:3, 3] = (random.uniform(-30, 30, 3) - middle).round(3)
    return Grid(shape, affine)


def _painted(
    who: HeartPatient, chambers: Chambers, chest: tuple[Array, ...], heart: tuple[Array, Array], z: Array
) -> tuple[npt.NDArray[np.uint8], Array]:
    """Paint from the outside in; ``chest`` are coordinates about the image's middle, ``heart`` about the axis."""
    x, y = chest
    u, v = heart
    tissue, facing = who.tissue, who.facing
    along, across = u * np.cos(facing) + v * np.sin(facing), v * np.cos(facing) - u * np.sin(facing)
    radius, outer = np.hypot(u, v), chambers.epicardium.section(z)
    right_distance = np.hypot(along - chambers.right_offset(z), across)
    right, inner = chambers.right.section(z), chambers.endocardium.section(z)
    signal = _chest(tissue, x, y, z)
    # fat around the heart lies in patches, mostly in the grooves
    near = (radius < outer + 6) | ((right > 0) & (right_distance < right + 8))
    patches = np.sin(0.09 * across + 0.05 * z) + np.sin(0.07 * along) > 0.2
    signal = np.where(near & (outer > 0), np.where(patches, tissue["fat"] * 0.9, tissue["muscle"] * 0.6), signal)
    signal = np.where((right > 0) & (right_distance < right + 3), tissue["muscle"] * 0.9, signal)  # the free wall
    signal = _great_vessels(tissue, signal, along, across, z - chambers.epicardium.base)

    crescent, wall, cavity = (right_distance < right), (radius < outer), (radius < inner)
    label = np.where(cavity, 3, np.where(wall, 2, np.where(crescent, 1, 0))).astype(np.uint8)
    trabeculae = (right_distance > right - 7) & (np.sin(0.55 * across + 0.2 * z) + np.sin(0.5 * along) > 0.9)
    signal = np.where(crescent, np.where(trabeculae, 0.6, 0.95) * tissue["blood"], signal)
    signal = np.where(wall, tissue["muscle"], signal)
    signal = np.where(cavity, tissue["blood"], signal)
    # the papillary muscles belong to the cavity by the custom of the annotations, whatever they look like
    middle = (z > 0.25 * chambers.endocardium.base) & (z < 0.72 * chambers.endocardium.base)
    for angle in (facing + 1.9, facing - 2.0):
        away = np.hypot(u - 0.55 * inner * np.cos(angle), v - 0.55 * inner * np.sin(angle))
        signal = np.where(cavity & middle & (away < 2.0 + 0.1 * inner), tissue["muscle"] * 1.1, signal)
    return label, signal


def _chest(tissue: Mapping[str, float], x: Array, y: Array, z: Array) -> Array:
    """Lung, chest wall, liver with its vessels, stomach, spine and the descending aorta."""
    signal = np.full(x.shape, tissue["lung"])
    wall = -52 + 0.15 * x  # anterior is where y is negative
    signal = np.where(y < wall, tissue["muscle"] * 1.1, signal)
    signal = np.where(y < wall - 9, tissue["fat"] * 1.1, signal)
    below = y > 50 + 0.35 * (x + 10) + 0.08 * z
    vessels = np.sin(0.21 * x + 0.03 * z) * np.sin(0.19 * y + 1.3) > 0.72
    signal = np.where(below, np.where(vessels, tissue["blood"] * 0.8, tissue["liver"]), signal)
    signal = np.where((x - 52) ** 2 / 30**2 + (y - 62) ** 2 / 22**2 < 1, tissue["blood"] * 0.9, signal)  # stomach
    signal = np.where((x + 5) ** 2 + (y - 88) ** 2 < 24**2, tissue["liver"] * 0.9, signal)  # vertebra
    aorta = np.hypot(x - 24, y - 70)
    return np.where(aorta < 13, np.where(aorta < 11, tissue["blood"], tissue["muscle"]), signal)


def _great_vessels(tissue: Mapping[str, float], signal: Array, along: Array, across: Array, height: Array) -> Array:
    """Above the base: the atria and the outflow tracts, as bright as the ventricles and yet no label."""
    for a, b, r in ((-6.0, 16.0, 25.0), (38.0, 24.0, 22.0), (24.0, -24.0, 14.0), (4.0, -14.0, 13.0)):
        away = np.hypot(along - a, across - b)
        signal = np.where((height > 0) & (away < r + 2), tissue["muscle"] * 0.7, signal)
        signal = np.where((height > 0) & (away < r), tissue["blood"] * 0.97, signal)
    return signal
