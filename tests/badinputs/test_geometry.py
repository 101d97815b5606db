"""Headers that contradict themselves about space, and pairs that lie apart: refused, mended aloud, or placed right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from volseg.errors import GridMismatch
from volseg.io import read_labels, read_volume, require_pair, write_labels

CHOOSE = "--geometry sform or --geometry qform says which to trust"
SFORM_RIGHT = "mend the header, or --geometry sform if its sform is right"
QFORM_RIGHT = "mend the header, or --geometry qform if its qform is right"


def no_orientation(nifti: Any, refused: Any, accepted: Any, image: Any, **_: Any) -> None:
    path = nifti(affine=None)
    refused(
        path,
        "the header does not say where left and right are (neither sform nor qform);"
        " mend the header, or --assume-ras if it is stored right-anterior-superior",
    )
    note = ("no orientation in the header, taken as RAS",)
    accepted(path, image, np.diag([0.8, 0.8, 2.5, 1]), note, assume_ras=True)


def forms_mirrored(nifti: Any, refused: Any, accepted: Any, image: Any, affine: Any, **_: Any) -> None:
    path = nifti(srow_x=-affine[0])
    refused(path, f"sform and qform mirror each other (RAS and LAS); {CHOOSE}")
    accepted(path, image, affine, ("took the qform, as told",), geometry="qform")
    accepted(path, image, affine * [[-1], [1], [1], [1]], ("took the sform, as told",), geometry="sform")
    turned = nifti(srow_x=-affine[0], srow_y=-affine[1])  # half a turn: LPS against RAS
    refused(turned, f"sform and qform mirror each other (RPS and LAS); {CHOOSE}")
    swapped = nifti(srow_x=[0, 0.8, 0, 0], srow_y=[0.8, 0, 0, 0], srow_z=[0, 0, 2.5, 0])
    refused(swapped, f"sform and qform turn the axes differently (ARS and LAS); {CHOOSE}")
    c, s = np.cos(np.deg2rad(140)), np.sin(np.deg2rad(140))  # most of half a turn
    nearly = nifti(srow_x=[-0.8 * c, -0.8 * s, 0, 0], srow_y=[-0.8 * s, 0.8 * c, 0, 0], srow_z=[0, 0, 2.5, 0])
    refused(nearly, f"sform and qform mirror each other (RPS and LAS); {CHOOSE}")


def sform_singular(nifti: Any, refused: Any, accepted: Any, image: Any, affine: Any, **_: Any) -> None:
    flat = f"the sform is singular: it maps the volume onto a plane, line or point; {QFORM_RIGHT}"
    refused(nifti(srow_z=[0, 0, 0, 0]), flat)
    refused(nifti(srow_x=[0] * 4, srow_y=[0] * 4, srow_z=[0] * 4), flat)
    refused(nifti(srow_y=affine[0]), flat)
    path = nifti(srow_x=[np.nan, 0, 0, 0])
    refused(path, f"the sform holds NaN or infinity; {QFORM_RIGHT}")
    accepted(path, image, affine, ("took the qform, as told",), geometry="qform")
    refused(path, "the sform holds NaN or infinity; " + QFORM_RIGHT, geometry="sform")


def sheared(nifti: Any, accepted: Any, image: Any, affine: Any, **_: Any) -> None:
    leaning = affine.copy()
    leaning[0, 1] = 0.2
    leaning[1, 1] = np.sqrt(0.8**2 - 0.2**2)
    path = nifti(srow_x=leaning[0], srow_y=leaning[1], qform_code=0)
    accepted(path, image, leaning, ("sheared: two axes are 75.52 degrees apart, not 90",))


def oblique(nifti: Any, accepted: Any, image: Any, **_: Any) -> None:
    angle = np.deg2rad(20)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    tilted = np.eye(4)
    tilted[:3, :3] = turn * [0.8, 0.8, 2.5]
    tilted[:3, 3] = [-90, -110, 40]
    volume = accepted(nifti(affine=tilted.astype(np.float32)), image, tilted)
    assert volume.grid.obliquity == pytest.approx(20, abs=1e-3)


def pixdim_contradicts(nifti: Any, refused: Any, accepted: Any, image: Any, affine: Any, **_: Any) -> None:
    path = nifti(pixdim=[-1, 1, 1, 5, 0, 0, 0, 0])
    refused(path, f"the sform says 0.8 x 0.8 x 2.5 mm voxels, pixdim says 1 x 1 x 5 mm; {CHOOSE}")
    accepted(path, image, affine, ("took the sform, as told",), geometry="sform")
    accepted(nifti(pixdim=[-1, 0.801, 0.8, 2.5, 0, 0, 0, 0], qform_code=0), image, affine)
    alone = nifti(pixdim=[-1, 1, 1, 5, 0, 0, 0, 0], qform_code=0)
    refused(
        alone,
        "the sform says 0.8 x 0.8 x 2.5 mm voxels, pixdim says 1 x 1 x 5 mm; --geometry sform takes the sform",
    )
    # as some published files are: a placeholder in the sform, the truth in qform and pixdim
    unit = nifti(srow_x=[1, 0, 0, 0], srow_y=[0, 1, 0, 0], srow_z=[0, 0, 1, 0])
    note = ("took the qform: the sform has unit voxels where pixdim says 0.8 x 0.8 x 2.5 mm",)
    volume = accepted(unit, image, affine, note)
    accepted(unit, image, np.eye(4), ("took the sform, as told",), geometry="sform")
    mask = unit.with_name("mask.nii.gz")
    write_labels(mask, image > 0, volume.grid, like=volume)
    assert read_labels(mask).grid == volume.grid  # what we write contradicts itself no longer
    assert read_labels(mask).notes == ()


def pixdim_zero(nifti: Any, refused: Any, accepted: Any, image: Any, affine: Any, **_: Any) -> None:
    path = nifti(pixdim=[-1, 0.8, 0, 2.5, 0, 0, 0, 0])
    refused(path, f"pixdim holds a voxel size of zero (0.8 x 0 x 2.5); {SFORM_RIGHT}")
    accepted(path, image, affine, ("took the sform, as told",), geometry="sform")


def pixdim_nan(nifti: Any, refused: Any, accepted: Any, image: Any, affine: Any, **_: Any) -> None:
    path = nifti(pixdim=[-1, 0.8, 0.8, np.nan, 0, 0, 0, 0])
    refused(path, f"pixdim holds a voxel size that is no number (0.8 x 0.8 x nan); {SFORM_RIGHT}")
    accepted(path, image, affine, ("took the sform, as told",), geometry="sform")


def pixdim_negative(nifti: Any, accepted: Any, image: Any, affine: Any, **_: Any) -> None:
    note = ("negative voxel sizes in pixdim (-0.8 x 0.8 x 2.5) taken without their sign",)
    fields = {"pixdim": [-1, -0.8, 0.8, 2.5, 0, 0, 0, 0]}
    accepted(nifti(**fields), image, affine, note)
    accepted(nifti(**fields, sform_code=0), image, affine, note)


def other_units(nifti: Any, accepted: Any, image: Any, affine: Any, **_: Any) -> None:
    for code, unit in ((1, 1e-3), (3, 1e3)):
        scaled = affine * [[unit], [unit], [unit], [1]]
        volume = accepted(nifti(affine=scaled, xyzt_units=code, pixdim=[-1, *(np.array([0.8, 0.8, 2.5]) * unit),
                                                                        0, 0, 0, 0]), image, affine)  # fmt: skip
        mask = volume.source.with_name("mask.nii")  # type: ignore[union-attr]
        write_labels(mask, image > 0, volume.grid, like=volume)
        assert read_labels(mask).grid == volume.grid
    c, s = np.cos(np.deg2rad(3)), np.sin(np.deg2rad(3))
    turned = affine.copy()
    turned[:2, :2] = np.array([[c, -s], [s, c]]) @ affine[:2, :2]
    path = nifti(srow_x=turned[0], srow_y=turned[1], sform_code=4)
    accepted(path, image, turned, ("took the sform: the qform is turned by 3 degrees and moved by 0 mm",))


def implausible_spacing(nifti: Any, refused: Any, accepted: Any, image: Any, affine: Any, **_: Any) -> None:
    mend = "mend the header's unit, or allow such spacings in the recipe"
    for size, line in (
        (0.01, f"voxels of 0.01 x 0.01 x 0.01 mm are outside 0.02 to 50 mm; {mend}"),
        (100, f"voxels of 100 x 100 x 100 mm are outside 0.02 to 50 mm; {mend}"),
    ):
        path = nifti(affine=np.diag([size, size, size, 1]), pixdim=[1, size, size, size, 0, 0, 0, 0])
        refused(path, line)
        accepted(path, image, np.diag([size, size, size, 1]), spacing_range=(0.001, 200))


def pair_grids_differ(nifti: Any, image: Any, affine: Any, **_: Any) -> None:
    scan = read_volume(nifti("scan.nii.gz"))
    moved = affine.copy()
    moved[0, 3] += 0.1
    label = read_labels(nifti("label.nii.gz", array=(image > 0).astype(np.uint8), affine=moved))
    with pytest.raises(GridMismatch) as caught:
        require_pair(scan, label)
    assert str(caught.value) == (
        f"{label.source}: the label map's grid and that of scan.nii.gz lie 0.1 mm apart"
        " (spacing 0.8x0.8x2.5 mm, LAS and 0.8x0.8x2.5 mm, LAS); export it on the image's grid"
    )
    near = affine.copy()
    near[0, 3] += 0.004  # half a hundredth of the smallest spacing: rounding of another tool
    require_pair(scan, read_labels(nifti("near.nii.gz", array=(image > 0).astype(np.uint8), affine=near)))


def pair_shapes_differ(nifti: Any, image: Any, **_: Any) -> None:
    scan = read_volume(nifti("scan.nii.gz"))
    label = read_labels(nifti("label.nii.gz", array=(image[:5] > 0).astype(np.uint8)))
    with pytest.raises(GridMismatch) as caught:
        require_pair(scan, label)
    assert str(caught.value) == (
        f"{label.source}: the label map's grid and that of scan.nii.gz differ in shape: (5, 5, 4) and (6, 5, 4);"
        " export it on the image's grid"
    )


CASES: dict[str, Callable[..., None]] = {
    "24-no_orientation": no_orientation,
    "25-forms_mirrored": forms_mirrored,
    "26-sform_singular": sform_singular,
    "27-sheared": sheared,
    "28-oblique": oblique,
    "29-pixdim_contradicts": pixdim_contradicts,
    "30-pixdim_zero": pixdim_zero,
    "31-pixdim_nan": pixdim_nan,
    "32-pixdim_negative": pixdim_negative,
    "33-other_units": other_units,
    "34-implausible_spacing": implausible_spacing,
    "35-pair_grids_differ": pair_grids_differ,
    "36-pair_shapes_differ": pair_shapes_differ,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input(
    case: Callable[..., None], nifti: Any, refused: Any, accepted: Any, image: Any, affine: Any, tmp_path: Path
) -> None:
    """The file gets exactly its verdict: one line that names it, or its right voxels and affine."""
    case(nifti=nifti, refused=refused, accepted=accepted, image=image, affine=affine, tmp_path=tmp_path)


def test_a_quaternion_that_is_no_rotation(nifti: Any, refused: Any, accepted: Any, image: Any, affine: Any) -> None:
    """Is refused unless the sform is to be trusted; where its sign is not said it is as the standard has it."""
    path = nifti(quatern_b=0.9, quatern_c=0.9)
    refused(path, f"the qform is no rotation (quaternion [0.8999999761581421, 0.8999999761581421, 0.0]); {SFORM_RIGHT}")
    accepted(path, image, affine, ("took the sform, as told",), geometry="sform")
    alone = nifti(affine=None, qform_code=1, pixdim=[0, 0.8, 0.8, 2.5, 0, 0, 0, 0])
    accepted(alone, image, np.diag([0.8, 0.8, 2.5, 1]))  # a qfac of 0 counts as 1


def test_forms_that_differ_a_little_are_noted(nifti: Any, affine: Any, image: Any, accepted: Any) -> None:
    """An sform in a space a few degrees from the scanner's is taken, and said to be."""
    moved = affine.copy()
    moved[2, 3] += 7
    path = nifti(srow_z=moved[2], sform_code=4)
    volume = accepted(path, image, moved, ("took the sform: the qform is turned by 0 degrees and moved by 7 mm",))
    mask = path.with_name("mask.nii.gz")
    write_labels(mask, image > 0, volume.grid, like=volume)
    assert int(nib.load(mask).header["qform_code"]) == 0
    assert read_labels(mask).grid == volume.grid
