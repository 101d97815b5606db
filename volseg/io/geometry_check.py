"""Whether what a header says about space can be believed, and which of its statements to take.

A NIfTI header says where voxels are up to three times: the sform (an affine), the qform (a rotation, an offset and the
voxel sizes) and the voxel sizes alone (pixdim). They can contradict each other, and each reader of the field believes
another one. Here they must agree, or the file is refused with the choice that mends it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from volseg.errors import VolumeError
from volseg.geometry import Affine, Grid
from volseg.io.volume import ReadOptions

# Sizes that differ by less than this share are the same size, written with fewer digits.
_SAME_SIZE = 0.01

# Below this share of the volume its edges span, a parallelepiped is flat.
_FLAT = 1e-4

# Cosine between two axes beyond which they are no longer called perpendicular.
_SHEARED = 1e-4

# Axes of sform and qform that are more than 45 degrees apart point to different sides of the patient.
_APART = np.cos(np.pi / 4)

_CHOOSE = "--geometry sform or --geometry qform says which to trust"


@dataclass(frozen=True)
class Statements:
    """What a NIfTI header says about space, in its own unit."""

    #: None where its code is 0
    sform: Affine | None
    qform: Affine | None
    #: as stored, signs and all, for the spatial axes only
    pixdim: tuple[float, ...]
    #: one unit of the header in millimetres
    unit: float = 1.0


@dataclass(frozen=True)
class Placement:
    """The statement that was taken."""

    affine: Affine
    form: Literal["sform", "qform", "assumed"]
    #: whether the statement that was not taken says the same
    other_agrees: bool
    notes: tuple[str, ...] = ()


def place(said: Statements, options: ReadOptions, where: object) -> Placement:
    """Choose between the statements of a header, or refuse."""
    chosen = options.geometry
    if chosen is not None:
        return _as_told(said, chosen, where)
    sizes, notes = _sizes(said.pixdim, where)
    if said.sform is None:
        if said.qform is None:
            return _assumed(sizes, notes, said, options, where)
        _require_regular(said.qform, "qform", where)
        return Placement(_in_mm(said.qform, said.unit), "qform", False, notes)
    _require_regular(said.sform, "sform", where)
    lengths = np.linalg.norm(said.sform[:3, :3], axis=0)
    contradicted = bool((np.abs(lengths[: len(sizes)] - sizes) > _SAME_SIZE * sizes).any())
    if contradicted:
        if said.qform is not None and np.allclose(lengths, 1, atol=1e-3):
            # As published in ACDC: a placeholder for the sform, the truth in pixdim and qform.
            _require_regular(said.qform, "qform", where)
            note = f"took the qform: the sform has unit voxels where pixdim says {_times(sizes * said.unit)} mm"
            return Placement(_in_mm(said.qform, said.unit), "qform", False, (*notes, note))
        raise VolumeError(
            f"the sform says {_times(lengths * said.unit)} mm voxels, pixdim says {_times(sizes * said.unit)} mm",
            where=where,
            mend="--geometry sform takes the sform" if said.qform is None else _CHOOSE,
        )
    agrees = False
    if said.qform is not None:
        _require_regular(said.qform, "qform", where)
        agrees, more = _compare(said.sform, said.qform, said.unit, where)
        notes += more
    return Placement(_in_mm(said.sform, said.unit), "sform", agrees, notes)


def require_plausible(grid: Grid, spacing_range: tuple[float, float], where: object) -> tuple[str, ...]:
    """Refuse voxel sizes that no scanner makes; note axes that are not perpendicular."""
    low, high = spacing_range
    if min(grid.spacing) < low or max(grid.spacing) > high:
        raise VolumeError(
            f"voxels of {_times(grid.spacing)} mm are outside {low:g} to {high:g} mm",
            where=where,
            mend="mend the header's unit, or allow such spacings in the recipe",
        )
    if grid.shear > _SHEARED:
        return (f"sheared: two axes are {np.degrees(np.arccos(min(1.0, grid.shear))):.4g} degrees apart, not 90",)
    return ()


def grid_of_affine(shape: Sequence[int], affine: Affine, where: object) -> Grid:
    """A grid with as many axes as its affine, refused where the affine is singular or not finite."""
    _require_regular(affine, "affine", where)
    return Grid(tuple(shape), affine)


def grid_of(shape: Sequence[int], affine: Affine, where: object) -> tuple[Grid, tuple[str, ...]]:
    """The grid of a NIfTI image, whose affine is always 3-D: 2-D if it has two axes, placed if they are axial."""
    _require_regular(affine, "affine", where)
    if len(shape) == 3:
        return Grid(tuple(shape), affine), ()
    flat = affine[np.ix_([0, 1, 3], [0, 1, 3])]
    lengths = np.linalg.norm(affine[:3, :2], axis=0)
    if np.allclose(np.linalg.norm(flat[:2, :2], axis=0), lengths, rtol=1e-4):
        return Grid(tuple(shape), flat), ()
    note = "a 2-D image outside the axial plane: its spacing is kept, its place in space is not"
    return Grid.from_spacing(shape, tuple(float(x) for x in lengths)), (note,)


def _assumed(sizes: Affine, notes: tuple[str, ...], said: Statements, options: ReadOptions, where: object) -> Placement:
    if not options.assume_ras:
        raise VolumeError(
            "the header does not say where left and right are (neither sform nor qform)",
            where=where,
            mend="mend the header, or --assume-ras if it is stored right-anterior-superior",
        )
    affine = np.diag([*sizes, *[1.0] * (3 - len(sizes)), 1.0])
    note = "no orientation in the header, taken as RAS"
    return Placement(_in_mm(affine, said.unit), "assumed", False, (*notes, note))


def _as_told(said: Statements, chosen: Literal["sform", "qform"], where: object) -> Placement:
    affine = said.sform if chosen == "sform" else said.qform
    if affine is None:
        raise VolumeError(f"--geometry {chosen} was asked for, but the header has no {chosen}", where=where)
    notes: tuple[str, ...] = ()
    if chosen == "qform":
        _, notes = _sizes(said.pixdim, where)  # a qform is made of them
    _require_regular(affine, chosen, where)
    return Placement(_in_mm(affine, said.unit), chosen, False, (*notes, f"took the {chosen}, as told"))


def _sizes(pixdim: tuple[float, ...], where: object) -> tuple[Affine, tuple[str, ...]]:
    sizes = np.asarray(pixdim, dtype=np.float64)
    if not np.isfinite(sizes).all():
        raise VolumeError(
            f"pixdim holds a voxel size that is no number ({_times(sizes)})",
            where=where,
            mend="mend the header, or --geometry sform if its sform is right",
        )
    if (sizes == 0).any():
        raise VolumeError(
            f"pixdim holds a voxel size of zero ({_times(sizes)})",
            where=where,
            mend="mend the header, or --geometry sform if its sform is right",
        )
    if (sizes < 0).any():
        return np.abs(sizes), (f"negative voxel sizes in pixdim ({_times(sizes)}) taken without their sign",)
    return sizes, ()


def _require_regular(affine: Affine, name: str, where: object) -> None:
    mend = {"sform": "mend the header, or --geometry qform if its qform is right"}.get(name, "mend the header")
    if not np.isfinite(affine).all():
        raise VolumeError(f"the {name} holds NaN or infinity", where=where, mend=mend)
    matrix = affine[:-1, :-1]
    lengths = np.linalg.norm(matrix, axis=0)
    flat = not lengths.all() or not abs(np.linalg.det(matrix / lengths)) >= _FLAT
    if flat or np.linalg.matrix_rank(matrix) < len(matrix):  # the rank sees axes of absurdly different lengths
        raise VolumeError(
            f"the {name} is singular: it maps the volume onto a plane, line or point", where=where, mend=mend
        )


def _compare(sform: Affine, qform: Affine, unit: float, where: object) -> tuple[bool, tuple[str, ...]]:
    s, q = (m[:3, :3] / np.linalg.norm(m[:3, :3], axis=0) for m in (sform, qform))
    codes = Grid((1, 1, 1), sform).axcodes, Grid((1, 1, 1), qform).axcodes
    if np.linalg.det(s) * np.linalg.det(q) < 0 or ((s * q).sum(axis=0) < -_APART).any():
        raise VolumeError(f"sform and qform mirror each other ({codes[0]} and {codes[1]})", where=where, mend=_CHOOSE)
    if ((s * q).sum(axis=0) < _APART).any():
        raise VolumeError(
            f"sform and qform turn the axes differently ({codes[0]} and {codes[1]})", where=where, mend=_CHOOSE
        )
    turned = float(np.degrees(np.arccos(np.clip((s * q).sum(axis=0).min(), -1, 1))))
    moved = float(np.linalg.norm(sform[:3, 3] - qform[:3, 3])) * unit
    size = float(np.linalg.norm(sform[:3, :3], axis=0).min()) * unit
    if turned > 0.1 or moved > 0.1 * size:
        return False, (f"took the sform: the qform is turned by {turned:.2g} degrees and moved by {moved:.3g} mm",)
    return True, ()


def _in_mm(affine: Affine, unit: float) -> Affine:
    if unit == 1.0:
        return affine
    scaled = affine.copy()
    scaled[:3] *= unit
    return scaled


def _times(sizes: Sequence[float] | Affine) -> str:
    return " x ".join(f"{float(s):.4g}" for s in sizes)
