"""Computed tomography of an abdomen: Hounsfield units, organs from litres to millilitres."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from volseg.data.phantom.model import Phantom, stream
from volseg.data.phantom.scanner import texture
from volseg.data.phantom.solids import Array, Swirl, ellipsoid_volume
from volseg.errors import UsageError
from volseg.geometry import Grid
from volseg.labels import Labels

CT_LABELS = Labels.of(
    {"liver": 1, "spleen": 2, "kidneys": 3, "aorta": 4, "gallbladder": 5},
    codes={
        "liver": ("SCT", "10200004", "Liver"),
        "spleen": ("SCT", "78961009", "Spleen"),
        "kidneys": ("SCT", "64033007", "Kidney"),
        "aorta": ("SCT", "15825003", "Aorta"),
        "gallbladder": ("SCT", "28231008", "Gallbladder"),
    },
)

#: what scanners write outside the circle that they reconstruct
PADDING = -2000

_KIND = 3
_ANATOMY, _NOISE = 0, 1
_AORTA_RADIUS = 11.0
# the body's half axes in the slice plane, before the patient's scale
_BODY = (165.0, 112.0)


@dataclass(frozen=True)
class Organ:
    """An ellipsoid, whole or cut by a plane. Millimetres from the middle of the scan: left, posterior, up."""

    label: int
    units: float
    centre: tuple[float, float, float]
    semi_axes: tuple[float, float, float]
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    #: the plane's normal and position in the coordinates of the unit ball; what lies beyond is not the organ
    normal: tuple[float, float, float] = (0.0, 0.0, 1.0)
    cut: float = 1.0

    @property
    def volume(self) -> float:
        """Cubic millimetres."""
        return ellipsoid_volume(self.semi_axes, self.cut)

    def contains(self, x: Array, y: Array, z: Array) -> npt.NDArray[np.bool_]:
        """Which points lie in it."""
        axes = Rotation.from_euler("xyz", self.turn, degrees=True).as_matrix()
        away = (x - self.centre[0], y - self.centre[1], z - self.centre[2])
        ball = [
            sum(float(a) * d for a, d in zip(axis, away, strict=True)) / s
            for axis, s in zip(axes.T, self.semi_axes, strict=True)
        ]
        height = sum(n * b for n, b in zip(self.normal, ball, strict=True))
        result: npt.NDArray[np.bool_] = np.asarray(sum(b**2 for b in ball) < 1) & np.asarray(height < self.cut)
        return result

    def drawn(self, random: np.random.Generator, scale: float) -> Organ:
        """The same organ in another body: a little elsewhere, a little turned, a little larger or smaller."""
        size = scale * random.uniform(0.93, 1.03, 3)
        return Organ(
            self.label,
            self.units + float(random.uniform(-10, 10)),
            tuple((scale * np.array(self.centre) + random.uniform(-2.5, 2.5, 3)).tolist()),
            tuple((size * np.array(self.semi_axes)).tolist()),
            tuple((np.array(self.turn) + random.uniform(-5, 5, 3)).tolist()),
            self.normal,
            self.cut,
        )


_SLANT = (0.5, 0.35, -0.7922)  # the liver's underside faces left, back and down; a unit vector
_ORGANS = (
    Organ(1, 108.0, (-62.0, -10.0, 42.0), (80.0, 72.0, 70.0), (0.0, 10.0, 0.0), _SLANT, 0.35),
    Organ(2, 118.0, (102.0, 28.0, 52.0), (24.0, 38.0, 46.0), (0.0, 12.0, 10.0)),
    Organ(3, 165.0, (58.0, 46.0, -28.0), (23.0, 25.0, 48.0), (8.0, -8.0, 0.0)),
    Organ(3, 165.0, (-60.0, 48.0, -45.0), (23.0, 25.0, 47.0), (8.0, 8.0, 0.0)),
    Organ(5, 12.0, (-34.0, -50.0, -46.0), (13.0, 13.0, 27.0), (15.0, 0.0, 0.0)),
)
# As bright as the organs, and no label.
_OTHERS = (
    Organ(0, 35.0, (52.0, -42.0, 50.0), (42.0, 32.0, 36.0), (0.0, 15.0, 0.0)),  # stomach
    Organ(0, -900.0, (52.0, -62.0, 50.0), (24.0, 8.0, 22.0)),  # and its gas
    Organ(0, 95.0, (22.0, -14.0, -8.0), (46.0, 12.0, 13.0), (0.0, -12.0, 0.0)),  # pancreas
    Organ(0, 120.0, (-55.0, -30.0, -85.0), (30.0, 24.0, 22.0)),  # bowel loops
    Organ(0, 150.0, (18.0, -50.0, -80.0), (34.0, 24.0, 20.0)),
    Organ(0, 110.0, (80.0, -25.0, -85.0), (26.0, 26.0, 24.0)),
    Organ(0, -850.0, (82.0, -32.0, -85.0), (12.0, 9.0, 12.0)),
)


def ct(seed: int, case: int = 0, *, shape: tuple[int, int, int] = (128, 128, 64)) -> Phantom:
    """One abdomen: 1 liver, 2 spleen, 3 kidneys, 4 aorta, 5 gallbladder; voxels outside the scanner's circle are -2000.

    The affine is oblique in all three axes. The aorta runs through the whole scan, so its volume is that of a tube
    from the first slice to the last.

    Args:
        seed: The cohort's seed.
        case: Which patient of the cohort, from 0.
        shape: Voxels; the field of view is always the whole body and about 240 mm of its height, so that the shape
            decides how large voxels are and how long.

    >>> sizes = ct(7, shape=(48, 48, 24)).volumes
    >>> sizes[1] > 30 * sizes[5]
    True
    """
    if len(shape) != 3 or min(shape) < 16:
        raise UsageError(f"a CT phantom needs three sizes of at least 16 voxels, not {shape}")
    random = stream(seed, _KIND, case, _ANATOMY)
    scale = float(random.uniform(0.92, 1.06))
    field = 2.15 * _BODY[0] * scale
    steps = (field / shape[0], field / shape[1], 245 * scale / shape[2])
    swirl = Swirl.drawn(random, 3, count=5, amplitude=(1.5, 4.0), wavelength=(110, 200))
    organs = [organ.drawn(random, scale) for organ in _ORGANS]
    others = [organ.drawn(random, scale) for organ in _OTHERS]
    x, y, z = np.meshgrid(*((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, steps, strict=True)), indexing="ij")
    circle = np.hypot(x, y) < field / 2
    body = swirl(x, y, z)
    units, label = _filled(body, scale, organs, others)
    radius = _AORTA_RADIUS * scale
    aorta = np.hypot(body[0] - 11 * scale, body[1] - 34 * scale) < radius
    units[aorta], label[aorta] = 155.0, 4
    volumes = {4: float(np.pi * radius**2 * shape[2] * steps[2])}
    for organ in organs:
        volumes[organ.label] = volumes.get(organ.label, 0.0) + organ.volume
    image = _scanned(random, stream(seed, _KIND, case, _NOISE), units, y, scale, steps)
    image[~circle] = PADDING
    return Phantom(image, label, _grid(random, shape, steps), {k: v / 1000 for k, v in sorted(volumes.items())})


def _filled(
    body: tuple[Array, ...], scale: float, organs: list[Organ], others: list[Organ]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Hounsfield units without noise, and labels, painted from the skin inwards."""
    x, y, z = body
    skin = np.sqrt((x / (_BODY[0] * scale)) ** 2 + (y / (_BODY[1] * scale)) ** 2)
    units = np.select([skin > 1, skin > 0.9, skin > 0.83], [-1000.0, -105.0, 55.0], default=-95.0).astype(np.float32)
    ribs = (skin > 0.845) & (skin < 0.885) & (np.sin(0.22 * (z + 0.35 * y)) > 0.55) & (z > -30 * scale)
    units[ribs] = 420.0
    # the lungs reach down behind the dome of the diaphragm
    for side in (-1, 1):
        lung = Organ(0, 0, (side * 78 * scale, 12 * scale, 150 * scale), (58 * scale, 78 * scale, 95 * scale))
        units[lung.contains(x, y, z) & (skin < 0.83)] = -830.0
    psoas = np.minimum(np.hypot(x - 42 * scale, y - 72 * scale), np.hypot(x + 42 * scale, y - 72 * scale))
    units[(psoas < 20 * scale) & (skin < 0.9)] = 58.0
    vertebra = np.hypot(x, y - 68 * scale) / scale
    units[vertebra < 22] = np.where(vertebra < 18, 230.0, 600.0)[vertebra < 22]
    units[np.hypot(x + 20 * scale, y - 34 * scale) < 11.5 * scale] = 135.0  # the inferior vena cava
    for other in others:
        units[other.contains(x, y, z)] = other.units
    label = np.zeros(units.shape, np.uint8)
    for organ in organs:
        inside = organ.contains(x, y, z)
        units[inside], label[inside] = organ.units, organ.label
    return units, label


def _scanned(
    random: np.random.Generator,
    noise: np.random.Generator,
    units: npt.NDArray[np.float32],
    y: Array,
    scale: float,
    steps: tuple[float, ...],
) -> npt.NDArray[np.int16]:
    """Tissue texture, the table, the blur of the kernel, and noise that is correlated as a reconstruction's is."""
    units = np.where(units > -200, units + 9 * texture(random, units.shape, [6 / s for s in steps]), units)
    table = np.abs(y - (_BODY[1] + 14) * scale) < 3
    units = np.where(table & (units < -900), -250.0, units)
    units = gaussian_filter(units, [1.2 / s for s in steps])
    grain = texture(noise, units.shape, [1.6 / s for s in steps])
    result: npt.NDArray[np.int16] = (units + 17 * grain).round().clip(-1024, 3071).astype(np.int16)
    return result


def _grid(random: np.random.Generator, shape: tuple[int, int, int], steps: tuple[float, ...]) -> Grid:
    """Axes near left, posterior and up, turned by a few degrees about each."""
    angles = random.uniform(3, 11, 3) * random.choice([-1, 1], 3)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag([-1, -1, 1]) * steps
    affine[:3, 3] = random.uniform(-40, 40, 3) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)
