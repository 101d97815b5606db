"""Phantoms: deterministic, of known volume, and not to be had by a threshold."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu

from volseg.data.phantom import (
    CT_LABELS,
    HEART_LABELS,
    PADDING,
    Phantom,
    cells,
    ct,
    heart,
    patient,
    write_cohort,
)
from volseg.data.phantom.culture import Discs
from volseg.data.phantom.heart_anatomy import GROUPS, contraction
from volseg.data.phantom.model import stream
from volseg.data.phantom.solids import Bullet, Swirl, ellipsoid_volume, lens_area
from volseg.errors import UsageError, WriteError
from volseg.geometry import Grid
from volseg.io import read_volume


def test_cases_do_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    """The third case of three is, byte for byte, the third of four."""
    few, many = (write_cohort(tmp_path / str(n), "cells", n, 5, size=96) for n in (3, 4))
    for part in ("images", "instances"):
        assert (few / part / "cells_003.png").read_bytes() == (many / part / "cells_003.png").read_bytes()
    assert (few / "images/cells_002.png").read_bytes() != (few / "images/cells_003.png").read_bytes()


@pytest.mark.parametrize(("kind", "n", "size"), [("heart", 2, 88), ("cells", 3, 96), ("ct", 1, 48)])
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, kind: str, n: int, size: int) -> None:
    """Two cohorts of one seed are equal in every file; another seed differs."""
    first, second = (write_cohort(tmp_path / name, kind, n, 7, size=size) for name in "ab")
    other = write_cohort(tmp_path / "c", kind, n, 8, size=size)
    files = sorted(p.relative_to(first) for p in first.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(second) for p in second.rglob("*") if p.is_file())
    assert len(files) == {"heart": 11, "cells": 7, "ct": 3}[kind]
    assert all((first / f).read_bytes() == (second / f).read_bytes() for f in files)
    images = [f for f in files if f.suffix in {".gz", ".png"} and (other / f).exists()]
    assert images
    assert all((first / f).read_bytes() != (other / f).read_bytes() for f in images)


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("frame", ["ED", "ES"])
def test_heart_volumes_follow_the_formula(case: int, frame: str) -> None:
    """Counted voxels are within 2 % of the formula for every structure, group, and both moments."""
    phantom = heart(3, case, frame=frame)
    assert tuple(phantom.volumes) == HEART_LABELS.values
    for value, counted in phantom.voxel_volumes().items():
        assert counted == pytest.approx(phantom.volumes[value], rel=0.02)


@pytest.mark.parametrize("case", range(2))
def test_organ_volumes_follow_the_formula(case: int) -> None:
    """Counted voxels are within 2 % of the formula for the litre of liver and the spoonful of gallbladder."""
    phantom = ct(3, case)
    assert tuple(phantom.volumes) == CT_LABELS.values
    for value, counted in phantom.voxel_volumes().items():
        assert counted == pytest.approx(phantom.volumes[value], rel=0.02)
    assert phantom.volumes[1] > 40 * phantom.volumes[5]


@pytest.mark.parametrize("case", range(4))
def test_cell_areas_follow_the_formula(case: int) -> None:
    """All whole cells together are within 2 % of the formula, and each to the unevenness of its outline's pixels."""
    phantom = cells(3, case)
    counted = phantom.voxel_volumes()
    assert len(counted) > 20
    assert sum(counted.values()) == pytest.approx(sum(phantom.volumes.values()), rel=0.02)
    for number, area in phantom.volumes.items():
        assert abs(counted[number] - area) < 1.5 * np.sqrt(area)


@pytest.mark.parametrize("kind", [heart, cells, ct])
def test_a_threshold_does_not_do(kind: object) -> None:
    """Otsu's threshold with the largest component, either side of it, stays below 0.6 mean Dice, union and labels."""
    scores = []
    for case in range(4):
        phantom = kind(11, case)  # type: ignore[operator]
        bright = phantom.image > threshold_otsu(phantom.image)
        masks = [_largest(bright), _largest(~bright)]
        values = phantom.volumes if kind is not cells else []
        truths = [phantom.label > 0, *(phantom.label == value for value in values)]
        scores.append([max(_dice(mask, truth) for mask in masks) for truth in truths])
    assert (np.mean(scores, axis=0) < 0.6).all()


def test_the_heart_beats() -> None:
    """Between the moments the cavities shrink, the wall thickens and keeps its volume, and the base descends."""
    someone = patient(2, 0)
    relaxed, contracted = someone.frame(someone.diastole), someone.frame(someone.systole)
    assert contracted.volumes[3] < 0.55 * relaxed.volumes[3]
    assert contracted.volumes[1] < 0.65 * relaxed.volumes[1]
    assert contracted.volumes[2] == pytest.approx(relaxed.volumes[2], rel=1e-6)
    basal = [int(np.flatnonzero((p.label == 3).any(axis=(0, 1)))[0]) for p in (relaxed, contracted)]
    assert basal[1] > basal[0]
    # half-way down the ventricle, wall over cavity
    shares = [[np.count_nonzero(p.label[:, :, 6] == v) for v in (2, 3)] for p in (relaxed, contracted)]
    assert shares[1][0] / shares[1][1] > 1.5 * shares[0][0] / shares[0][1]


def test_the_right_ventricle_is_a_crescent() -> None:
    """The right cavity touches the myocardium only, never the left cavity, and its middle is the septum's side."""
    phantom = heart(2, 1)
    right, left = phantom.label == 1, phantom.label == 3
    around = ndimage.binary_dilation(right, np.ones((3, 3, 1)))
    assert not (around & left).any()
    assert (around & (phantom.label == 2)).any()


def test_slices_breathe() -> None:
    """Slices are shifted against each other as breath-holds do, image and truth together, the same in every frame."""
    someone = patient(4, 2)
    assert 0.3 < np.abs(someone.breathing).mean() < 6
    first, second = someone.frame(someone.diastole), someone.frame(someone.systole)
    wall = [np.argwhere(p.label[:, :, 7] >= 2).mean(axis=0) for p in (first, second)]
    assert np.abs(wall[0] - wall[1]).max() < 2


def test_papillary_muscles_count_as_cavity() -> None:
    """Some voxels of the left cavity, deep inside, are as dark as muscle."""
    phantom = heart(6, 0)
    core = ndimage.binary_erosion(phantom.label == 3, np.ones((5, 5, 1)))
    muscle = float(np.median(phantom.image[phantom.label == 2]))
    blood = float(np.median(phantom.image[core]))
    dark = np.count_nonzero(phantom.image[core] < (muscle + blood) / 2)
    assert 0.005 < dark / np.count_nonzero(core) < 0.3


def test_the_groups_differ_as_in_the_clinic() -> None:
    """Dilated hearts are large and weak, hypertrophic ones thick; the five groups take turns."""
    hearts = [patient(1, case).heart for case in range(10)]
    assert [h.group for h in hearts] == [*GROUPS, *GROUPS]
    by_group = {h.group: h for h in hearts[:5]}
    assert by_group["DCM"].ejection < 0.35 < 0.5 < by_group["NOR"].ejection
    assert by_group["DCM"].diastolic_volume > 1.3 * by_group["NOR"].diastolic_volume
    assert by_group["HCM"].wall > 1.3 * by_group["NOR"].wall
    assert by_group["RV"].right_volume > 1.2 * by_group["NOR"].right_volume


@pytest.mark.parametrize("thickness", [5.0, 7.5, 10.0, None])
def test_stacks_are_those_of_the_clinic(thickness: float | None) -> None:
    """6 to 18 slices, 5 to 10 mm apart, 0.7 to 1.9 mm in plane."""
    for case in range(5):
        for size in (88, 256):
            grid = patient(9, case, size=size, thickness=thickness).grid
            assert 6 <= grid.shape[2] <= 18
            assert 5 <= grid.spacing[2] <= 10
            assert 0.69 < grid.spacing[0] == pytest.approx(grid.spacing[1])
            assert grid.spacing[0] < 1.91
            assert thickness is None or grid.spacing[2] == thickness


def test_a_beat_begins_and_ends_relaxed() -> None:
    """Contraction is 0 at end-diastole, 1 at end-systole, in between nowhere outside, and nearly 0 again at the end."""
    beat = [contraction(frame, 2, 11, 28) for frame in range(1, 29)]
    assert beat[1] == 0
    assert beat[10] == 1
    assert 0 <= min(beat) <= max(beat) <= 1
    assert beat[0] < 0.05


def test_ct_is_in_hounsfield_units() -> None:
    """Air, fat, organs and bone are where they should be; outside the circle everything is padding."""
    phantom = ct(1, shape=(96, 96, 32))
    assert phantom.image.dtype == np.int16
    assert phantom.image[0, 0, 0] == PADDING
    assert (phantom.image[[0, 0, -1, -1], [0, -1, 0, -1]] == PADDING).all()
    inside = phantom.image[phantom.image != PADDING]
    assert inside.min() >= -1024
    assert 300 < inside.max() < 1500
    assert np.median(phantom.image[phantom.label == 1]) == pytest.approx(108, abs=20)
    assert np.median(phantom.image[phantom.label == 5]) == pytest.approx(12, abs=25)
    assert not (phantom.image[phantom.label > 0] == PADDING).any()


def test_ct_lies_obliquely() -> None:
    """The affine turns about all three axes, by a few degrees and without shear."""
    grid = ct(1, shape=(32, 32, 16)).grid
    assert 3 < grid.obliquity < 25
    assert grid.shear < 1e-9
    assert np.abs(grid.direction[np.triu_indices(3, 1)]).min() > 0.01
    assert grid.axcodes == "LPS"


def test_cells_touch_and_stay_apart() -> None:
    """Most cells share a border with another one, every instance is one piece, and numbers are gapless."""
    phantom = cells(0)
    label = phantom.label.astype(int)
    assert label.dtype == int
    assert np.array_equal(np.unique(label), np.arange(label.max() + 1))
    pairs = np.stack([np.concatenate([label[1:].ravel(), label[:, 1:].ravel()]), _neighbours(label)])
    differ = (pairs.min(axis=0) > 0) & (pairs[0] != pairs[1])
    assert len(np.unique(pairs[:, differ])) > 0.5 * label.max()
    for number in range(1, label.max() + 1):
        assert ndimage.label(label == number, np.ones((3, 3)))[1] == 1


def test_cut_cells_have_no_formula() -> None:
    """Cells at the border are in the truth, and their areas are not claimed."""
    phantom = cells(0)
    border = set(np.unique(np.concatenate([phantom.label[0], phantom.label[-1]])).tolist()) - {0}
    assert border
    assert not border & set(phantom.volumes)
    assert set(phantom.volumes) < set(np.unique(phantom.label).tolist())


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 3))
def test_swirls_keep_areas(seed: int, ndim: int) -> None:
    """The Jacobian of a swirl is one everywhere."""
    swirl = Swirl.drawn(stream(seed), ndim, count=5, amplitude=(1, 6), wavelength=(40, 90))
    spot, step = stream(seed, 1).uniform(-100, 100, ndim), 1e-4
    columns = []
    for axis in range(ndim):
        push = np.eye(ndim)[axis] * step
        ahead, behind = (np.array(swirl(*(np.asarray(v) for v in spot + s * push))) for s in (1, -1))
        columns.append((ahead - behind) / (2 * step))
    assert np.linalg.det(np.stack(columns, axis=1)) == pytest.approx(1, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.floats(0.5, 3), st.floats(0.5, 3), st.floats(0, 7))
def test_lenses_are_what_sampling_finds(r: float, s: float, distance: float) -> None:
    """The area that two discs share agrees with counting a fine grid's points."""
    x, y = np.meshgrid(*(np.arange(-3, 3, 0.02) + 0.01,) * 2)
    shared = (x**2 + y**2 < r**2) & ((x - distance) ** 2 + y**2 < s**2)
    assert float(lens_area(r, s, distance)) == pytest.approx(np.count_nonzero(shared) * 0.02**2, abs=0.02)


@pytest.mark.parametrize("flare", [0.0, 0.3, 0.8])
def test_bullets_hold_what_their_sections_do(flare: float) -> None:
    """The volume formula is the integral of the sections' areas."""
    bullet = Bullet(25.0, apex=-4.0, base=80.0, flare=flare)
    z = np.linspace(-4, 80, 20_001)[:-1] + 84 / 40_000
    assert bullet.volume == pytest.approx((np.pi * bullet.section(z) ** 2).sum() * 84 / 20_000, rel=1e-4)


def test_cut_ellipsoids_add_up() -> None:
    """What a plane leaves on both sides is the whole."""
    assert ellipsoid_volume((2, 3, 4), 0.3) + ellipsoid_volume((2, 3, 4), -0.3) == pytest.approx(
        ellipsoid_volume((2, 3, 4))
    )


def test_discs_share_out_their_overlap() -> None:
    """Two overlapping discs, each within its seam, together are their union."""
    discs = Discs(np.array([[0.0, 0.0], [9.0, 0.0]]), np.array([6.0, 5.0]))
    union = np.pi * (36 + 25) - float(lens_area(6.0, 5.0, 9.0))
    assert discs.area(0) + discs.area(1) == pytest.approx(union, rel=1e-5)


def test_heart_cohorts_are_laid_out_as_acdc(tmp_path: Path) -> None:
    """Patients' folders hold both frames, their truths and Info.cfg; the summary tells the volumes by formula."""
    folder = write_cohort(tmp_path / "cohort", "heart", 1, 3, size=88, cine=True)
    home = folder / "patient001"
    info = dict(line.split(": ") for line in (home / "Info.cfg").read_text().splitlines())
    assert list(info) == ["ED", "ES", "Group", "Height", "NbFrame", "Weight"]
    stems = [f"patient001_frame{int(info[moment]):02d}" for moment in ("ED", "ES")]
    names = {f"{stem}{end}.nii.gz" for stem in stems for end in ("", "_gt")} | {"Info.cfg", "patient001_4d.nii.gz"}
    assert {p.name for p in home.iterdir()} == names
    truth, image = (nib.load(home / f"{stems[0]}{end}.nii.gz") for end in ("_gt", ""))
    expected = heart(3, size=88)
    assert truth.get_data_dtype() == np.uint8
    assert image.get_data_dtype() == np.int16
    assert np.array_equal(np.asarray(truth.dataobj), expected.label)
    assert np.array_equal(np.asarray(image.dataobj), expected.image)
    assert np.allclose(image.affine, expected.grid.affine, atol=1e-4)
    beat = nib.load(home / "patient001_4d.nii.gz")
    assert beat.shape == (*expected.image.shape, int(info["NbFrame"]))
    assert np.array_equal(np.asarray(beat.dataobj)[..., int(info["ED"]) - 1], expected.image)
    told = json.loads((folder / "phantom.json").read_text())
    assert told["volumes"]["patient001"][stems[0]]["3"] == pytest.approx(expected.volumes[3], abs=1e-5)


def test_cell_cohorts_hold_instance_maps(tmp_path: Path) -> None:
    """Images are 8-bit, instances 16-bit PNG, rows first."""
    folder = write_cohort(tmp_path / "cohort", "cells", 1, 3, size=128)
    expected = cells(3, size=128)
    with Image.open(folder / "images/cells_001.png") as image, Image.open(folder / "instances/cells_001.png") as truth:
        assert np.array_equal(np.asarray(image), expected.image)
        assert np.array_equal(np.asarray(truth), expected.label)
        assert np.asarray(truth).dtype == np.uint16


def test_a_filled_folder_is_left_alone(tmp_path: Path) -> None:
    """An output folder with anything in it, or a file of that name, is refused with the mend."""
    (tmp_path / "mine.txt").write_text("precious")
    for out in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(UsageError, match="not empty; name a new one, or empty it"):
            write_cohort(out, "cells", 1)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_output_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    """A folder below a file, or of an impossible name, is an error of ours with the reason."""
    (tmp_path / "file").touch()
    for out in (tmp_path / "file" / "below", tmp_path / ("x" * 300)):
        with pytest.raises(WriteError, match="could not be written"):
            write_cohort(out, "cells", 1, size=96)


def test_strict_reading_finds_nothing_to_remark(tmp_path: Path) -> None:
    """What is written is read without a note, but for the padding outside the scanner's circle."""
    for kind in ("heart", "cells", "ct"):
        folder = write_cohort(tmp_path / kind, kind, 1, size=88)
        for path in (p for p in sorted(folder.rglob("*")) if p.suffix in {".gz", ".png"}):
            volume = read_volume(path)
            padded = kind == "ct" and path.parent.name == "images"
            assert (volume.padding == PADDING) == padded
            assert len(volume.notes) == padded


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda out: write_cohort(out, "lungs", 1), "kinds are heart, cells, ct"),
        (lambda out: write_cohort(out, "cells", 0), "at least one case"),
        (lambda out: write_cohort(out, "ct", 1, cine=True), "only a heart beats"),
        (lambda out: heart(0, size=40), "at least 88x88"),
        (lambda out: patient(0, thickness=2.0), "5 to 10 mm"),
        (lambda out: heart(0, frame="systole"), "neither ED, ES nor a number"),
        (lambda out: heart(0, frame=99), "frame 99 is not in"),
        (lambda out: ct(0, shape=(64, 64, 4)), "at least 16 voxels"),
        (lambda out: cells(0, size=30), "no room"),
        (lambda out: cells(-1), "zero or more"),
        (
            lambda out: Phantom(np.zeros((2, 2)), np.zeros((2, 3)), Grid.from_spacing((2, 2), (1, 1)), {}),
            "differ",
        ),
    ],
)
def test_impossible_phantoms_are_refused(tmp_path: Path, call: object, said: str) -> None:
    """What cannot be drawn is one clear line, and nothing is written."""
    with pytest.raises(UsageError, match=said):
        call(tmp_path / "out")  # type: ignore[operator]
    assert not (tmp_path / "out").exists()


def _largest(mask: np.ndarray) -> np.ndarray:
    pieces, _ = ndimage.label(mask)
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()


def _dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth)))


def _neighbours(label: np.ndarray) -> np.ndarray:
    return np.concatenate([label[:-1].ravel(), label[:, :-1].ravel()])
