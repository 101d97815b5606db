"""Judging cases: in processes of their own, in order, none lost when one dies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from volseg.data import apart, judgement
from volseg.data.cohort import Case, find_cases
from volseg.data.fingerprint import fingerprint
from volseg.data.judgement import judge, judge_all
from volseg.geometry import Grid
from volseg.io import write_labels, write_volume
from volseg.labels import Labels

GRID = Grid.from_spacing((6, 7, 8), (1.0, 1.0, 3.0))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for index in range(4):
        write_volume(tmp_path / f"c{index}.nii.gz", rng.normal(size=GRID.shape).astype(np.float32), GRID)
        write_labels(tmp_path / f"c{index}_gt.nii.gz", rng.integers(0, 3, GRID.shape), GRID)
    return tmp_path


def test_a_judgement_tells_what_was_read(folder: Path) -> None:
    """Shape, spacing, orientation and the label values that are there."""
    found = judge(find_cases(folder).cases[0])
    assert (found.shape, found.spacing, found.axcodes, found.labels) == ((6, 7, 8), (1.0, 1.0, 3.0), "RAS", (0, 1, 2))
    assert found.good


def test_objects_told_apart_have_any_values(folder: Path) -> None:
    """Where the recipe or the case says so; else a value that was not declared is an error."""
    (case, *_), declared = find_cases(folder).cases, Labels.of({"cell": 1})
    assert "holds the label value 2" in str(judge(case, declared).error)
    assert judge(case, declared, instances=True).labels == (0, 1, 2)
    assert judge(replace(case, instances=True), declared).labels == (0, 1, 2)


def test_what_is_decided_about_place_holds_for_the_label_map_too(tmp_path: Path) -> None:
    """It has the header of its image, with the same gap in it; what is put in place of NaN is the image's alone."""
    header = {"pixdim": [1, 2, 2, 5, 0, 0, 0, 0]}
    for name, array in (("a", np.arange(24)), ("a_gt", np.arange(24) % 3)):
        image = nib.Nifti1Image(array.reshape(4, 3, 2).astype(np.int16), None)
        image.header["pixdim"] = header["pixdim"]
        nib.save(image, tmp_path / f"{name}.nii.gz")
    (case,) = find_cases(tmp_path).cases
    assert "where left and right are" in str(judge(case).error)
    found = judge(case, reading={"assume_ras": True, "fill_nan": 0.0, "series": None})
    assert (found.good, found.spacing, found.labels) == (True, (2, 2, 5), (0, 1, 2))
    (measured,) = fingerprint(find_cases(tmp_path), reading={"assume_ras": True}, processes=0).good
    assert [structure.value for structure in measured.structures] == [1, 2]


def test_order_is_kept_and_a_bad_case_is_one_among_many(folder: Path) -> None:
    """Judgements come in the order of the cases, whichever process was quicker."""
    (folder / "c1.nii.gz").write_bytes(b"not a volume")
    found = list(judge_all(find_cases(folder).cases))
    assert [j.case for j in found] == ["c0", "c1", "c2", "c3"]
    assert [j.good for j in found] == [True, False, True, True]


def dying(case: Case, **asked: object) -> judgement.Judgement:
    import os

    if case.name == "c1":
        os._exit(9)
    return judgement.Judgement(case.name)


def test_a_case_that_kills_its_process_costs_only_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash in a decoder is that case's verdict; all others are judged."""
    monkeypatch.setattr(judgement, "judge", dying)
    monkeypatch.setattr(apart, "get_context", lambda _: __import__("multiprocessing").get_context("fork"))
    found = {j.case: j for j in judge_all(find_cases(folder).cases)}
    assert {name for name, j in found.items() if not j.good} == {"c1"}
    assert "ended the process" in found["c1"].error
    assert len(found) == 4


def test_spacings_are_judged_by_what_is_allowed(tmp_path: Path) -> None:
    """Voxels of a micrometre are refused as a wrong unit, and good where they are meant, in image and label map."""
    grid = Grid.from_spacing(GRID.shape, (0.001,) * 3)
    write_volume(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=grid.shape).astype(np.float32), grid)
    write_labels(tmp_path / "a_gt.nii.gz", np.tri(7, 8).astype(np.uint8)[None].repeat(6, 0), grid)
    (case,) = find_cases(tmp_path).cases
    assert "allow such spacings" in str(judge(case).error)
    assert judge(case, spacing_range=(1e-6, 1000)).good
    assert next(iter(judge_all([case], spacing_range=(1e-6, 1000)))).good


def test_an_empty_label_map_is_noted(tmp_path: Path) -> None:
    """All background is no error, but worth a word."""
    write_volume(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32), GRID)
    write_labels(tmp_path / "a_gt.nii.gz", np.zeros(GRID.shape, np.uint8), GRID)
    assert "the label map is all background" in judge(find_cases(tmp_path).cases[0]).notes
