"""``volseg check``: what a person sees of a good cohort, of a damaged one, and of none."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from volseg.geometry import Grid
from volseg.io import read_volume, write_labels, write_volume


@pytest.fixture
def cohort(tmp_path: Path, volseg) -> Path:
    folder = tmp_path / "hearts"
    assert volseg("phantom", "-o", folder, "--kind", "heart", "-n", 2, "--seed", 3, "--size", 96).returncode == 0
    return folder


def test_a_good_cohort_is_a_table_and_exit_0(cohort: Path, volseg) -> None:
    """Every case with its shape, spacing, orientation, labels and verdict; the count on stderr."""
    run = volseg("check", cohort)
    assert run.returncode == 0
    header, *rows = run.stdout.splitlines()
    assert header.split() == ["case", "shape", "spacing", "mm", "axes", "labels", "verdict"]
    assert len(rows) == 4
    assert all(row.endswith("good") and "0 1 2 3" in row for row in rows)
    assert run.stderr.splitlines()[-1] == "4 of 4 cases are good"


def test_json_is_pure_and_failures_are_exit_3(cohort: Path, volseg) -> None:
    """A flipped bit, a label map elsewhere and a foreign label: three bad cases, each with its reason; one is good."""
    images = sorted(p for p in cohort.rglob("*.nii.gz") if "_gt" not in p.name)
    truths = sorted(cohort.rglob("*_gt.nii.gz"))
    data = bytearray(images[0].read_bytes())
    data[len(data) // 2] ^= 4
    images[0].write_bytes(data)
    label = read_volume(truths[1])
    affine = label.grid.affine.copy()
    affine[0, 3] += 9
    write_labels(truths[1], label.array, Grid(label.grid.shape, affine))
    label = read_volume(truths[2])
    write_labels(truths[2], np.where(label.array == 3, 9, label.array), label.grid)
    recipe = Path(__file__).parents[2] / "configs" / "heart_unet3d.yaml"
    run = volseg("check", cohort, "--json", "--recipe", recipe)
    assert run.returncode == 3
    found = json.loads(run.stdout)
    assert found["failed"] == 3
    errors = {case["case"]: case["error"] for case in found["cases"]}
    assert list(errors.values())[3] is None
    damaged, elsewhere, foreign = list(errors.values())[:3]
    assert str(images[0]) in damaged
    assert "lie 9 mm apart" in elsewhere
    assert foreign == f"{truths[2]}: holds the label value 9, declared are 0, 1, 2, 3"
    assert "Traceback" not in run.stderr


def test_a_recipe_tells_what_the_truths_are(micrographs: Path, volseg) -> None:
    """That objects are told apart, so that no value is foreign, and spacings that nobody would believe without it."""
    run = volseg("check", micrographs / "data", "--recipe", micrographs / "recipe.yaml")
    assert run.returncode == 0, run.stdout
    assert run.stderr.splitlines()[-1] == "4 of 4 cases are good"
    assert all("0 1 2 3" in row for row in run.stdout.splitlines()[1:])


def test_a_folder_without_images_is_one_line(tmp_path: Path, volseg) -> None:
    """Nothing to check is an error with the mend, exit 1."""
    run = volseg("check", tmp_path)
    assert run.returncode == 1
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1
    assert "holds no image" in run.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_name_breaks_neither_the_table_nor_the_json(tmp_path: Path, volseg, encoding: str) -> None:
    """A line break, bytes that are no text and letters unknown to the terminal: one row each, and JSON that parses."""
    grid = Grid.from_spacing((8, 9, 10), (1.0, 1.0, 2.0))
    for name in ("a\nb", "\udcff", "größe"):
        write_volume(tmp_path / f"{name}.nii.gz", np.random.default_rng(0).normal(size=grid.shape), grid)
    strict = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict"}
    table = volseg("check", tmp_path, env=strict)
    assert table.returncode == 0
    assert "Traceback" not in table.stderr
    assert len(table.stdout.splitlines()) == 4
    assert len(table.stderr.splitlines()) == 4
    found = json.loads(volseg("check", tmp_path, "--json", env=strict).stdout)
    assert {case["case"] for case in found["cases"]} == {"a\nb", "\udcff", "größe"}


def test_notes_stand_beside_the_verdict(tmp_path: Path, volseg) -> None:
    """What a careful reader would tell is told, and the case is still good."""
    grid = Grid.from_spacing((8, 9, 10), (1.0, 1.0, 2.0))
    write_volume(tmp_path / "flat.nii.gz", np.full(grid.shape, 7, np.int16), grid)
    run = volseg("check", tmp_path)
    assert run.returncode == 0
    assert "good (" in run.stdout


def test_masks_of_two_programs_are_told_apart(tmp_path: Path, volseg) -> None:
    """Each mask is good by itself; 0/1 in one and 0/255 in another are one structure, and a warning says so."""
    grid = Grid.from_spacing((8, 9, 10), (1.0, 1.0, 2.0))
    rng = np.random.default_rng(0)
    shape = np.tri(8, 9, 0)[..., None].repeat(10, 2)
    for name, value in (("p1", 1), ("p2", 1), ("p3", 255)):
        (tmp_path / name).mkdir()
        write_volume(tmp_path / name / f"{name}.nii.gz", rng.normal(size=grid.shape).astype(np.float32), grid)
        write_labels(tmp_path / name / f"{name}_gt.nii.gz", (value * shape).astype(np.uint8), grid)
    run = volseg("check", tmp_path)
    assert run.returncode == 0
    assert "the one value they hold is 1 in 2 (p1/p1, …), 255 in 1 (p3/p3); write the same" in run.stderr
    assert len(json.loads(volseg("check", tmp_path, "--json").stdout)["contradictions"]) == 1


def test_the_mend_that_a_message_names_works(tmp_path: Path, volseg) -> None:
    """A time series, and an image with a NaN: refused with the option that mends it, and good with that option."""
    rng = np.random.default_rng(0)
    grid = Grid.from_spacing((8, 9, 10), (1.0, 1.0, 2.0))
    write_volume(tmp_path / "cine.nii.gz", rng.normal(size=(*grid.shape, 3)).astype(np.float32), grid)
    holed = rng.normal(size=grid.shape).astype(np.float32)
    holed[3, 3, 3] = np.nan
    nib.save(nib.Nifti1Image(holed, grid.affine), tmp_path / "holed.nii.gz")
    refused = volseg("check", tmp_path)
    assert refused.returncode == 3
    assert "--each-frame" in refused.stdout
    assert "--fill-nan" in refused.stdout
    mended = volseg("check", tmp_path / "cine.nii.gz", "--each-frame")
    assert mended.returncode == 0
    assert len(mended.stdout.splitlines()) == 4
    assert volseg("check", tmp_path / "holed.nii.gz", "--fill-nan", 0).returncode == 0
    assert volseg("check", tmp_path / "cine.nii.gz", "--frame", 1).returncode == 0
    assert volseg("check", tmp_path, "--frame", 1, "--each-frame").returncode == 2
