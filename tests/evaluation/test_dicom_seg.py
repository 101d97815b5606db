"""DICOM-SEG as a prediction and as a truth: the same scores as the same masks in NIfTI."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volseg.evaluation import Evaluation, evaluate
from volseg.geometry import Grid
from volseg.io import Volume, read_volume, write_labels
from volseg.io.dicom_seg import write_dicom_seg
from volseg.labels import Labels

LABELS = Labels.of({"ball": 2, "rod": 5})


@pytest.fixture
def masks(dicom_series: Callable[..., list[Path]], tmp_path: Path) -> tuple[Path, Volume]:
    """``made`` and ``true``, each in ``nifti`` and in ``dicom``; the outer slices of the made mask are empty."""
    image = read_volume(dicom_series(slices=6)[0].parent)
    for name, low in (("true", 1), ("made", 2)):
        array = np.zeros(image.array.shape, np.uint8)
        array[2:6, 3:8, low:5] = 2
        array[7:9, 2:10, 2:4] = 5
        for form in ("nifti", "dicom"):
            (tmp_path / form / name).mkdir(parents=True)
        write_labels(tmp_path / "nifti" / name / "case.nii.gz", array, image.grid, LABELS)
        write_dicom_seg(tmp_path / "dicom" / name / "case.dcm", array, image, LABELS)
    return tmp_path, image


def scores(found: Evaluation) -> dict[str, tuple[float, ...]]:
    (case,) = found.cases
    assert case.error is None
    return {score.structure: (score.dice, score.hd95, score.surface_dice, score.truth_ml) for score in case.scores}


@pytest.mark.parametrize(("made", "true"), [("dicom", "nifti"), ("nifti", "dicom"), ("dicom", "dicom")])
def test_formats_do_not_matter(masks: tuple[Path, Volume], made: str, true: str) -> None:
    """Whichever of the two is a DICOM-SEG, slices that it leaves out are background and the scores are the same."""
    root, _ = masks
    expected = scores(evaluate(root / "nifti" / "made", root / "nifti" / "true", labels=LABELS))
    assert 0 < expected["ball"][0] < 1 == expected["rod"][0]
    found = scores(evaluate(root / made / "made", root / true / "true", labels=LABELS))
    for structure, values in expected.items():
        assert found[structure] == pytest.approx(values, rel=1e-6)


@pytest.mark.parametrize("at", ["{}/dicom", "dicom", "."])
def test_errors_name_no_folder_above(masks: tuple[Path, Volume], monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """However the folders were given, a damaged DICOM-SEG is told by its place below them."""
    root, _ = masks
    file = root / "dicom" / "made" / "case.dcm"
    file.write_bytes(file.read_bytes()[:-100])
    monkeypatch.chdir(root / "dicom" if at == "." else root)
    given = Path(at.format(root))
    (case,) = evaluate(given / "made", given / "true", labels=LABELS).failed
    assert str(case.error).startswith("prediction case.dcm: ")


def test_a_segmentation_beside_its_series_has_the_name_of_the_folder(
    masks: tuple[Path, Volume], tmp_path: Path
) -> None:
    """``truth/case/`` with a series and one DICOM-SEG is held against ``case.nii.gz``."""
    root, image = masks
    shutil.copytree(image.source, tmp_path / "truth" / "case")
    shutil.copy(root / "dicom" / "true" / "case.dcm", tmp_path / "truth" / "case" / "segmentation.dcm")
    found = evaluate(root / "nifti" / "made", tmp_path / "truth", labels=LABELS)
    assert [case.case for case in found.cases] == ["case"]
    assert scores(found)["rod"][0] == 1


def test_an_unknown_segment_is_an_error(masks: tuple[Path, Volume]) -> None:
    """A segment whose name is no label is named; it is not taken by its number."""
    root, _ = masks
    found = evaluate(root / "dicom" / "made", root / "nifti" / "true", labels=Labels.of({"ball": 2, "disc": 5}))
    assert found.cases[0].error is not None
    assert "holds the segment 'rod', which is no label" in found.cases[0].error


@pytest.mark.parametrize(("made", "true"), [("dicom", "nifti"), ("nifti", "dicom"), ("dicom", "dicom")])
def test_without_names_segments_have_their_numbers(tmp_path: Path, dicom_series: Any, made: str, true: str) -> None:
    """Nobody named the labels: the first segment is label 1."""
    image = read_volume(dicom_series()[0].parent)
    array = np.zeros(image.array.shape, np.uint8)
    array[2:6, 3:8, 1:4] = 1
    (tmp_path / "nifti").mkdir()
    (tmp_path / "dicom").mkdir()
    write_labels(tmp_path / "nifti" / "case.nii.gz", array, image.grid)
    write_dicom_seg(tmp_path / "dicom" / "case.dcm", array, image, Labels.of({"ball": 1}))
    assert scores(evaluate(tmp_path / made, tmp_path / true))["label 1"][0] == 1


def test_another_grid_is_refused(masks: tuple[Path, Volume], dicom_series: Any) -> None:
    """A segmentation of another place is not moved; ``resample`` brings it there, and says so."""
    root, image = masks
    affine = image.grid.affine.copy()
    affine[0, 3] += 0.4
    elsewhere = Grid(image.grid.shape, affine)
    write_labels(root / "nifti" / "true" / "case.nii.gz", np.ones(image.grid.shape, np.uint8) * 2, elsewhere, LABELS)
    found = evaluate(root / "dicom" / "made", root / "nifti" / "true", labels=LABELS)
    assert "--resample" in str(found.cases[0].error)
    found = evaluate(root / "dicom" / "made", root / "nifti" / "true", labels=LABELS, resample=True)
    assert "resampled" in found.cases[0].notes[0]
