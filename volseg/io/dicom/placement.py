"""Where the planes of a stack are: their order and the affine, or why they are no volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from highdicom.spatial import get_volume_positions

from volseg.errors import VolumeError
from volseg.io.dicom.headers import Plane

Array = npt.NDArray[np.float64]

# A slice may lie this share of the spacing away from its regular place: positions are often rounded to 0.1 mm.
IRREGULAR = 0.1
# beyond this it is worth a note
NOTEWORTHY = 0.01
# A stack may drift sideways by this share of a pixel over its whole height; more is a tilted gantry.
DRIFT = 0.5
# Direction cosines must be unit vectors at right angles to this accuracy.
ORTHONORMAL = 1e-3

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Placement:
    """Planes in order along the normal, and the affine (RAS+) of the volume they form."""

    planes: tuple[Plane, ...]
    affine: Array
    notes: tuple[str, ...]


def place(planes: Sequence[Plane]) -> Placement:
    """Order the planes of one stack and judge that they form a regular volume; every position different."""
    first = planes[0]
    if first.position is None or first.orientation is None:
        return _place_flat(planes)
    notes: list[str] = []
    spacing = _pixel_spacing(first, notes)
    cosines = np.array(first.orientation).reshape(2, 3)
    if np.abs(cosines @ cosines.T - np.eye(2)).max() > ORTHONORMAL:
        raise VolumeError("its ImageOrientationPatient is not two unit vectors at right angles")
    normal = np.cross(cosines[0], cosines[1])
    positions = np.array([plane.position for plane in planes])
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    positions, heights = positions[order], heights[order]
    if len(planes) == 1:
        step = normal * _single_spacing(first, notes)
    else:
        _judge(positions, heights, first, normal, min(spacing), notes)
        step = (positions[-1] - positions[0]) / (len(planes) - 1)
    affine = np.eye(4)
    affine[:3, 0] = cosines[0] * spacing[1]
    affine[:3, 1] = cosines[1] * spacing[0]
    affine[:3, 2] = step
    affine[:3, 3] = positions[0]
    return Placement(tuple(planes[i] for i in order), LPS_TO_RAS @ affine + 0.0, tuple(notes))


def _judge(positions: Array, heights: Array, first: Plane, normal: Array, pixel: float, notes: list[str]) -> None:
    """Raise, saying what is wrong, unless the positions are a regular upright stack."""
    extent = heights[-1] - heights[0]
    across = (positions - positions[0]) - np.outer(heights - heights[0], normal)
    drift = float(np.linalg.norm(across, axis=1).max())
    if drift > DRIFT * pixel:
        raise _sideways(across, heights, drift)
    # the angle at which the drift would be just too large, as highdicom counts it: 1 - cosine
    tolerance = 1 - 1 / np.hypot(1, DRIFT * pixel / extent) if extent > 0 else 0.0
    steps = np.diff(heights)
    spacing, _ = get_volume_positions(
        positions,
        first.orientation,
        rtol=IRREGULAR,
        # a neighbour's angle is measured over one step alone, where rounding weighs more
        perpendicular_tol=max(1e-3, float(tolerance), 1 - 1 / float(np.hypot(1, drift / max(steps.min(), 1e-6)))),
    )
    regular = heights[0] + np.arange(len(heights)) * extent / (len(heights) - 1)
    off = float(np.abs(heights - regular).max())
    if spacing is None or off > IRREGULAR * extent / (len(heights) - 1):
        raise _uneven(heights)
    if off > NOTEWORTHY * spacing:
        notes.append(f"slices lie up to {off:.3g} mm off their regular places (spacing {spacing:.4g} mm)")
    between = first.between
    if between and abs(abs(between) - spacing) > NOTEWORTHY * spacing:
        notes.append(f"slices lie {spacing:.4g} mm apart, the header says {abs(between):.4g} mm: the positions count")


def _sideways(across: Array, heights: Array, drift: float) -> VolumeError:
    lean = across[-1] / (heights[-1] - heights[0]) if heights[-1] > heights[0] else across[-1]
    straight = np.outer(heights - heights[0], lean)
    if np.linalg.norm(across - straight, axis=1).max() > 0.1 * drift:
        return VolumeError(
            f"its slices wander sideways by up to {drift:.3g} mm: they form no box",
            mend="export the series again, or a reconstruction of it on a regular grid",
        )
    angle = np.degrees(np.arctan(np.linalg.norm(lean)))
    return VolumeError(
        f"the gantry was tilted by {angle:.1f} degrees: its slices lean and form no box",
        mend="straighten it first, for example with dcm2niix, and give the NIfTI file it calls _Tilt",
    )


def _uneven(heights: Array) -> VolumeError:
    """Missing slices, each gap named; or spacings that no number of missing slices explains."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    if usual <= 0 or steps.min() < (1 - IRREGULAR) * usual:
        usual = float(steps.min())
    lost = np.rint(steps / usual).astype(int) - 1 if usual > 1e-6 else np.zeros(len(steps), dtype=int)
    explained = usual > 1e-6 and np.abs(steps / usual - lost - 1).max() <= 2 * IRREGULAR
    if explained and lost.sum() > 0:
        gaps = [
            f"{step:.4g} mm between {low:.4g} and {high:.4g} mm"
            for step, low, high, missing in zip(steps, heights[:-1], heights[1:], lost, strict=True)
            if missing
        ]
        shown = ", ".join(gaps[:5]) + (f" and {len(gaps) - 5} more" if len(gaps) > 5 else "")
        count = int(lost.sum())
        return VolumeError(
            f"{count} slice{'s are' if count > 1 else ' is'} missing (spacing {usual:.4g} mm): {shown}",
            mend="export the whole series again",
        )
    return VolumeError(
        f"its slices are unevenly spaced, from {steps.min():.4g} to {steps.max():.4g} mm",
        mend="export a reconstruction with one spacing",
    )


def _place_flat(planes: Sequence[Plane]) -> Placement:
    """A radiograph: two dimensions, no place in the patient."""
    first = planes[0]
    if first.modality in ("CT", "MR", "PT"):
        raise VolumeError(
            f"its {first.modality} images have no position or orientation in the patient",
            mend="export the original series, not a derived one",
        )
    if len(planes) > 1:
        raise VolumeError(
            f"holds {len(planes)} two-dimensional images, which form no volume",
            mend="name one of the files",
        )
    notes: list[str] = []
    spacing = _pixel_spacing(first, notes)
    return Placement(tuple(planes), np.diag([-spacing[1], -spacing[0], 1.0]), tuple(notes))


def _pixel_spacing(plane: Plane, notes: list[str]) -> tuple[float, float]:
    if plane.spacing is None:
        if plane.position is not None:
            raise VolumeError("its images have no PixelSpacing", mend="export the original series")
        notes.append("no pixel spacing is given: pixels count as 1 mm")
        return (1.0, 1.0)
    if min(plane.spacing) <= 0:
        raise VolumeError("its PixelSpacing is not positive", mend="export the original series")
    if plane.spacing_at_detector:
        notes.append("the pixel spacing is that at the detector, magnification not taken out")
    return (plane.spacing[0], plane.spacing[1])


def _single_spacing(plane: Plane, notes: list[str]) -> float:
    """How thick a single slice counts."""
    for value in (plane.between, plane.thickness):
        if value:
            return abs(value)
    notes.append("a single slice without a thickness: it counts as 1 mm")
    return 1.0
