"""The space that the network works in: orientation, spacing, dimensions, and the size of things in its voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np

from volseg.data.fingerprint import Fingerprint
from volseg.data.fingerprint_case import CaseFingerprint
from volseg.io import PLAUSIBLE_SPACING
from volseg.planning.choice import Choice

#: from this ratio of spacings on, slices are too thick to be interpolated across
THICK = 3.0
# spacings that differ by less are one
_SAME = 0.02


@dataclass(frozen=True)
class Space:
    """What the planner knows of space; one entry per image axis, in the network's order of axes.

    Attributes:
        order: the RAS axis that each axis is.
        axcodes: the orientation that images are turned to; none for 2-D images.
        spacing: what the recipe says.
        voxel: the typical voxel, in millimetres (pictures: 1).
        shape: the typical image, in voxels.
        reach: the box around all structures, in voxels: that of the largest twentieth of the cases.
        slices: whether the network works slice by slice.
        thick: whether the last axis runs across thick slices.
    """

    order: tuple[int, ...]
    axcodes: str | None
    spacing: tuple[float | Literal["native"], ...] | Literal["native"]
    voxel: tuple[float, ...]
    shape: tuple[int, ...]
    reach: tuple[int, ...]
    slices: bool
    thick: bool

    @property
    def dims(self) -> int:
        """Dimensions of the network."""
        return len(self.shape) - (1 if self.slices else 0)

    @property
    def is_plane(self) -> bool:
        """Whether what is turned stays within the first two axes: in pictures, slices and thick stacks."""
        return self.thick or self.dims == 2


def make_space(found: Fingerprint, dims: int | None = None, coarser: float = 1.0) -> Space:
    """The space for a cohort.

    Args:
        found: the fingerprint.
        dims: of the network, where somebody chose them.
        coarser: factor on the target spacing of the axes that are resampled.
    """
    cases = found.labelled
    ndim = len(cases[0].shape)
    spacings = np.array([case.spacing for case in cases])
    typical = np.median(spacings, axis=0)
    order = tuple(range(ndim))
    thick = False
    if ndim == 3:
        worst = int(typical.argmax())
        thick = bool(typical[worst] >= THICK * typical.min())
        if thick and worst != 2:  # slices lie along the last axis
            order = (*(axis for axis in order if axis != worst), worst)
    typical = typical[list(order)]
    slices = ndim == 3 and (thick if dims is None else dims == 2)
    axcodes = "".join("RAS"[axis] for axis in order) if ndim == 3 else None
    if ndim == 2 and _alike(spacings):
        spacing: tuple[float | Literal["native"], ...] | Literal["native"] = "native"
        voxel = tuple(float(mm) for mm in typical)
    else:
        plane = range(2) if thick or ndim == 2 else range(ndim)
        wanted = _evened([float(typical[axis]) * coarser for axis in plane])
        spacing = (*wanted, "native") if thick else tuple(wanted)
        voxel = (*wanted, float(typical[2])) if thick else tuple(wanted)
    shapes = [[case.extent[axis] / mm for axis, mm in zip(order, voxel, strict=True)] for case in cases]
    if thick:
        for row, case in zip(shapes, cases, strict=True):
            row[2] = case.shape[order[2]]
    shape = tuple(max(1, round(median(column))) for column in zip(*shapes, strict=True))
    reach = tuple(
        max(1, min(n, round(_reach(cases, axis) / mm))) for axis, mm, n in zip(order, voxel, shape, strict=True)
    )
    return Space(order, axcodes, spacing, voxel, shape, reach, slices, thick)


def space_choices(found: Fingerprint, space: Space, *, asked: int | None, coarser: float) -> Iterator[Choice]:
    """The geometry's keys, and their reasons."""
    cases = found.labelled
    ndim = len(space.shape)
    yield Choice("image.spatial_dims", ndim, f"the images are {ndim}-D")
    yield Choice("image.modality", found.modality.modality, f"{found.modality.sureness}: {found.modality.why}")
    if found.declared.channels and len(found.declared.channels) == len(cases[0].channels):
        yield Choice("image.channels", list(found.declared.channels), "as dataset.json names them")
    elif len(cases[0].channels) > 1:
        named = [f"channel {number}" for number in range(len(cases[0].channels))]
        yield Choice("image.channels", named, "in the order of the files")
    if space.axcodes is not None and space.axcodes != "RAS":
        yield Choice(
            "image.axcodes", space.axcodes, "the thick slices lie along the last axis, where the network slices"
        )
    ranges = [(min(column), max(column)) for column in _columns(cases, space.order, "spacing")]
    told = " x ".join(f"{low:.3g}" if high - low <= _SAME * high else f"{low:.3g}-{high:.3g}" for low, high in ranges)
    if space.spacing == "native":
        yield Choice("image.spacing", "native", "one spacing throughout, and pictures say little about theirs")
    elif space.thick:
        yield Choice(
            "image.spacing",
            list(space.spacing),
            f"spacings are {told} mm: the median in the plane; slices {space.voxel[2] / space.voxel[0]:.1f} times as"
            " thick stay as they are, since interpolating across them would invent anatomy" + _coarse(coarser),
        )
    else:
        yield Choice("image.spacing", list(space.spacing), f"the median of {told} mm" + _coarse(coarser))
    if any(case.picture for case in cases):
        yield Choice("image.allowed_spacing", [1e-6, 1000], "pictures say little about their scale")
    elif min(min(case.spacing) for case in cases) < 0.05:
        yield Choice("image.allowed_spacing", list(PLAUSIBLE_SPACING), "voxels this small are meant here")
    padding = sorted({c.padding for case in cases for c in case.channels if c.padding is not None})
    if padding:
        yield Choice(
            "image.padding_values", padding, "the value around the measured field, left out of every statistic"
        )
    if ndim == 3 and asked is not None:
        yield Choice("network.spatial_dims", space.dims, "as asked")
    elif ndim == 3 and space.slices:
        yield Choice(
            "network.spatial_dims",
            2,
            f"slices are {space.voxel[2] / space.voxel[0]:.1f} times as thick as a pixel is wide: they share little,"
            " and slice by slice a step sees many more of them",
        )
    elif ndim == 3:
        yield Choice("network.spatial_dims", 3, "voxels are nearly as deep as wide: the third dimension tells as much")


def _coarse(coarser: float) -> str:
    if coarser == 1:
        return ""
    return f"; {coarser:.2g} times coarser, so that a patch that fits the time and memory shows enough around it"


def _alike(spacings: np.ndarray) -> bool:
    return bool((np.ptp(spacings, axis=0) <= _SAME * spacings.max(axis=0)).all())


def _evened(spacing: Sequence[float]) -> list[float]:
    """Axes whose spacings are nearly one get one, and numbers are what a person would write."""
    together = float(np.exp(np.mean(np.log(spacing))))
    even = max(spacing) <= 1.15 * min(spacing)
    return [float(f"{together if even else mm:.3g}") for mm in spacing]


def _columns(cases: Sequence[CaseFingerprint], order: Sequence[int], name: str) -> list[tuple[float, ...]]:
    return [tuple(getattr(case, name)[axis] for case in cases) for axis in order]


def _reach(cases: Sequence[CaseFingerprint], axis: int) -> float:
    """How far the structures of a case reach along an axis together, in millimetres, in all but a twentieth."""
    found = []
    for case in cases:
        if case.structures:
            low = min(s.centre[axis] - s.extent[axis] / 2 for s in case.structures)
            high = max(s.centre[axis] + s.extent[axis] / 2 for s in case.structures)
            found.append(high - low)
    return float(np.percentile(found, 95))


def seen_choices(found: Fingerprint, space: Space, names: dict[int, str]) -> Iterator[Choice]:
    """What the images were like, so that predictions on others carry a hint."""
    cases = found.labelled
    if not all(case.picture for case in cases):
        for key, name in (("spacing", "spacing"), ("field_of_view", "extent")):
            ranges = [_rounded(min(c), max(c)) for c in _columns(cases, space.order, name)]
            yield Choice(f"image.seen.{key}", ranges, f"of the {len(cases)} cases this was planned on")
        volumes = {names[c.value]: _rounded(c.volumes[0], c.volumes[2]) for c in found.classes if c.value in names}
        yield Choice(
            "image.seen.volumes", volumes, "smallest and largest, in ml" if len(space.shape) == 3 else "in cm²"
        )
    whole = found.whole()
    if found.modality.modality == "CT" and whole is not None:
        low, high = (float(f"{value:.4g}") for value in (whole.low, whole.high))
        yield Choice("image.seen.intensity", [low, high], "0.5 and 99.5 percentile of the images")


def _rounded(low: float, high: float) -> list[float]:
    """A range rounded outwards to three digits."""
    step = 10.0 ** (np.floor(np.log10(max(abs(high), 1e-12))) - 2)
    lower = float(f"{np.floor(low / step) * step:.6g}")
    return [lower if lower > 0 else low, float(f"{np.ceil(high / step) * step:.6g}")]
