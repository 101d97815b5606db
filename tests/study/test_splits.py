"""Nobody is on two sides: in every layout a patient's cases stay together, and a split that tears them is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volseg.data.aliases import refuse_aliases
from volseg.data.cohort import find_cases
from volseg.data.content import contents_of
from volseg.data.folds import Split, make_folds, read_folds
from volseg.engine.stopping import Stop
from volseg.engine.train import train
from volseg.errors import CohortError
from volseg.geometry import Grid
from volseg.io import write_volume
from volseg.recipe import Recipe
from volseg.study.cross_validation import cross_validate

_PATIENTS = ("anna", "ben", "cleo", "dora")


def put(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    grid = Grid.from_spacing((6, 6, 4), (1.0, 1.0, 1.0))
    values = np.random.default_rng(seed).integers(0, 2, grid.shape).astype(np.uint8)
    write_volume(path, values, grid)


def acdc(root: Path) -> Path:
    for number, _ in enumerate(_PATIENTS, start=1):
        folder = root / f"patient{number:03d}"
        for frame in (1, 2):
            put(folder / f"patient{number:03d}_frame{frame:02d}.nii.gz", 10 * number + frame)
            put(folder / f"patient{number:03d}_frame{frame:02d}_gt.nii.gz", frame)
        (folder / "Info.cfg").write_text("ED: 1\nES: 2\nGroup: NOR\n")
    return root


def decathlon(root: Path) -> Path:
    entries = []
    for seed, name in enumerate(f"{who}_{scan}" for who in _PATIENTS for scan in ("frame1", "frame2")):
        put(root / "imagesTr" / f"{name}.nii.gz", seed)
        put(root / "labelsTr" / f"{name}.nii.gz", 100)
        entries.append({"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"})
    told = {"modality": {"0": "MR"}, "labels": {"0": "background", "1": "heart"}, "training": entries, "test": []}
    (root / "dataset.json").write_text(json.dumps(told))
    return root


def nnunet(root: Path) -> Path:
    for seed, name in enumerate(f"{who}_{scan}" for who in _PATIENTS for scan in ("frame1", "frame2")):
        put(root / "imagesTr" / f"{name}_0000.nii.gz", seed)
        put(root / "labelsTr" / f"{name}.nii.gz", 100)
    told = {
        "channel_names": {"0": "MR"},
        "labels": {"background": 0, "heart": 1},
        "numTraining": 8,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(told))
    return root


def folders_beside_each_other(root: Path) -> Path:
    for seed, name in enumerate(f"{who}_{scan}" for who in _PATIENTS for scan in ("frame1", "frame2")):
        put(root / "images" / f"{name}.nii.gz", seed)
        put(root / "labels" / f"{name}.nii.gz", 100)
    return root


def label_maps_beside_images(root: Path) -> Path:
    for seed, (who, scan) in enumerate((who, scan) for who in _PATIENTS for scan in ("ct", "mr")):
        put(root / who / f"{scan}.nii.gz", seed)
        put(root / who / f"{scan}_gt.nii.gz", 100)
    return root


def csv(root: Path) -> Path:
    rows = ["image,label,patient"]
    for seed, (who, scan) in enumerate((who, scan) for who in _PATIENTS for scan in ("x", "y")):
        put(root / f"{seed}{scan}.nii.gz", seed)
        put(root / f"{seed}{scan}_gt.nii.gz", 100)
        rows.append(f"{seed}{scan}.nii.gz,{seed}{scan}_gt.nii.gz,{who}")
    (root / "cases.csv").write_text("\n".join(rows) + "\n")
    return root / "cases.csv"


LAYOUTS = [acdc, decathlon, nnunet, folders_beside_each_other, label_maps_beside_images, csv]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_split_that_tears_a_patient_is_refused(layout: Callable[[Path], Path], tiny: Recipe, tmp_path: Path) -> None:
    """Whoever wrote it: ours keeps patients together, and a file with one on both sides ends everything."""
    data = layout(tmp_path / "data")
    cases = find_cases(data).labelled
    assert len(cases) == 8
    assert len({case.patient for case in cases}) == 4
    for split in make_folds(cases, number=2):
        sides = [{case.patient for case in cases if case.name in names} for names in (split.train, split.validation)]
        assert not sides[0] & sides[1]

    first, *rest = sorted(cases, key=lambda case: case.patient)
    torn = {"train": [case.name for case in rest], "validation": [first.name]}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "folds.json").write_text(json.dumps({"folds": [torn, torn]}))
    with pytest.raises(CohortError, match=f"1 patient is on both sides of the split, '{first.patient}'"):
        read_folds(tmp_path / "run" / "folds.json", cases)
    from volseg.recipe import dump_recipe

    (tmp_path / "run" / "recipe.yaml").write_text(dump_recipe(tiny))
    with pytest.raises(CohortError, match="is on both sides of the split"):
        cross_validate(tiny, data, tmp_path / "run", resume=True, stop=Stop())
    assert not (tmp_path / "run" / "fold0").exists()


def test_a_csv_that_tears_a_patient_is_refused(tiny: Recipe, tmp_path: Path) -> None:
    """Where the cases name their own split, it is judged like any other."""
    table = csv(tmp_path / "data")
    head, *rows = table.read_text().splitlines()
    sides = ["train", "validation", *(["train"] * 6)]
    table.write_text("\n".join([f"{head},split", *(f"{row},{side}" for row, side in zip(rows, sides, strict=True))]))
    with pytest.raises(CohortError, match="'anna' in train and validation"):
        cross_validate(tiny, table, tmp_path / "run", stop=Stop())


def test_the_same_image_under_two_names_is_refused(tiny: Recipe, tmp_path: Path) -> None:
    """A copy is its original's patient, whatever it is called."""
    data = folders_beside_each_other(tmp_path / "data")
    copy = (data / "images" / "anna_frame1.nii.gz").read_bytes()
    (data / "images" / "dora_frame2.nii.gz").write_bytes(copy)
    with pytest.raises(CohortError, match="'anna_frame1' and 'dora_frame2' hold the same image"):
        cross_validate(tiny, data, tmp_path / "run", stop=Stop())
    assert not (tmp_path / "run").exists()


def test_a_single_training_refuses_a_copy_on_the_other_side(tiny: Recipe, tmp_path: Path) -> None:
    """It is told apart by its bytes; copies on one side of a split harm nobody's figures."""
    table = csv(tmp_path / "data")
    (tmp_path / "data" / "6x.nii.gz").write_bytes((tmp_path / "data" / "0x.nii.gz").read_bytes())
    cases = find_cases(table).labelled
    contents = {case.name: contents_of(case) for case in cases}
    names = [case.name for case in cases]
    refuse_aliases(cases, contents, Split(tuple(names[:2] + names[6:]), tuple(names[2:6])))
    head, *rows = table.read_text().splitlines()
    sides = ["train"] * 6 + ["validation"] * 2
    table.write_text("\n".join([f"{head},split", *(f"{row},{side}" for row, side in zip(rows, sides, strict=True))]))
    with pytest.raises(CohortError, match=r"'0x' and '6x' hold the same image .* on two sides of the split"):
        train(tiny, table, tmp_path / "run", device="cpu", stop=Stop())


def test_check_and_plan_tell_of_copies(tmp_path: Path, volseg: Callable[..., Any]) -> None:
    """Before anybody waits for a training that refuses them."""
    data = folders_beside_each_other(tmp_path / "data")
    copy = (data / "images" / "anna_frame1.nii.gz").read_bytes()
    (data / "images" / "dora_frame2.nii.gz").write_bytes(copy)
    checked = volseg("check", data, "--json")
    assert checked.returncode == 0
    assert "'anna_frame1' and 'dora_frame2' hold the same image" in checked.stderr
    assert len(json.loads(checked.stdout)["aliases"]) == 1
    planned = volseg("plan", data, "-o", tmp_path / "planned.yaml", "--budget", "10s", "--processes", 1)
    assert "'anna_frame1' and 'dora_frame2' hold the same image" in planned.stderr


def test_one_dicom_patient_under_two_names_is_refused(
    tiny: Recipe, tmp_path: Path, dicom_series: Callable[..., list[Path]]
) -> None:
    """DICOM tells who somebody is; the error does not repeat it."""

    def named(number: int) -> Callable[[object, int], None]:
        def edit(dataset: object, _index: int) -> None:
            dataset.PatientID = "SECRET-4711" if number in (0, 3) else f"other {number}"  # type: ignore[attr-defined]
            dataset.SliceThickness = 2.5 + number / 100  # type: ignore[attr-defined]

        return edit

    for number, who in enumerate(_PATIENTS):
        dicom_series(tmp_path / "data" / "images" / who, edit=named(number))
        put(tmp_path / "data" / "labels" / f"{who}.nii.gz", 100)
    cases = find_cases(tmp_path / "data").labelled
    assert len(cases) == 4
    with pytest.raises(CohortError, match=r"'anna' and 'dora' are of one patient, says DICOM's PatientID") as caught:
        cross_validate(tiny, tmp_path / "data", tmp_path / "run", stop=Stop())
    assert "SECRET" not in str(caught.value)
