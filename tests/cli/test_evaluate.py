"""``volseg evaluate``: what a person sees of a scored cohort, of a failed case, and of mistakes."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from volseg.geometry import Grid
from volseg.io import write_labels
from volseg.labels import Labels

GRID = Grid.from_spacing((8, 8, 6), (1.0, 1.0, 2.0))
Verb = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def verb(volseg: Verb) -> Verb:
    return partial(volseg, "evaluate")


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Truths of three patients, each structure a block, and predictions that are right but for one row."""
    for folder in ("g", "p", "worse"):
        (tmp_path / folder).mkdir()
    for number in range(1, 4):
        truth = np.zeros(GRID.shape, np.uint8)
        truth[1:6, 1:5, 1:3], truth[1:6, 1:5, 3:5] = 1, 2
        write_labels(tmp_path / f"g/p{number}.nii.gz", truth, GRID)
        for folder, step in (("p", 1), ("worse", 2)):
            write_labels(tmp_path / folder / f"p{number}.nii.gz", np.roll(truth, step, axis=0), GRID)
    return tmp_path


def test_a_cohort_is_a_table_a_json_and_a_csv(cohort: Path, verb: Verb) -> None:
    """Structures with their intervals, then the worst cases; chatter on stderr; exit 0."""
    run = verb("-p", cohort / "p", "-g", cohort / "g", "-o", cohort / "m.json", "--csv", cohort / "m.csv")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].split()[:2] == ["structure", "Dice"]
    assert lines[1].startswith("label 1             0.800 [0.800, 0.800]")
    assert lines[3].startswith("mean of structures  0.800")
    assert lines[5].startswith("worst cases")
    assert run.stderr.splitlines()[-1] == "3 of 3 cases scored"
    told = json.loads((cohort / "m.json").read_text())
    assert told["mean"]["dice"] == pytest.approx(0.8)
    assert told["count"] == {"cases": 3, "scored": 3, "failed": 0, "patients": 3}
    with (cohort / "m.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["structure"]) for row in rows][:3] == [
        ("p1", "label 1"),
        ("p1", "label 2"),
        ("p2", "label 1"),
    ]
    assert {float(row["dice"]) for row in rows} == {0.8}


@pytest.mark.parametrize(
    ("summary", "names"),
    [
        ({"labels": Labels.of({"liver": 1, "spleen": 2}).to_dict(), "cases": []}, ("liver", "spleen")),
        ({"labels": Labels.of({"spleen": 2, "aorta": 3}).to_dict(), "cases": []}, ("label 1", "spleen")),
        ({"foreground_mean": {"Dice": 0.8}}, ("label 1", "label 2")),
    ],
    ids=["ours", "of other structures", "another program's"],
)
def test_what_predicted_the_masks_told_the_names(
    cohort: Path, verb: Verb, summary: dict[str, object], names: tuple[str, str]
) -> None:
    """Of the values that the truths hold, without a recipe; what else a summary tells changes nothing."""
    (cohort / "p" / "summary.json").write_text(json.dumps(summary))
    run = verb("-p", cohort / "p", "-g", cohort / "g", "-o", cohort / "m.json")
    assert run.returncode == 0, run.stderr
    assert [line.split("  ")[0] for line in run.stdout.splitlines()[1:3]] == list(names)


def test_json_is_pure_and_failures_are_exit_3(cohort: Path, verb: Verb) -> None:
    """A damaged prediction, one on another grid and one that is not there: three reasons, exit 3, the rest measured."""
    (cohort / "p/p1.nii.gz").write_bytes(b"not a volume")
    write_labels(cohort / "p/p2.nii.gz", np.ones((8, 8, 5), np.uint8), Grid.from_spacing((8, 8, 5), (1, 1, 2)))
    (cohort / "p/p3.nii.gz").rename(cohort / "p/p9.nii.gz")
    write_labels(cohort / "p/p4.nii.gz", np.ones(GRID.shape, np.uint8), GRID)
    write_labels(cohort / "g/p4.nii.gz", np.ones(GRID.shape, np.uint8), GRID)
    run = verb("-p", cohort / "p", "-g", cohort / "g", "-o", cohort / "m.json", "--json")
    assert run.returncode == 3
    told = json.loads(run.stdout, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert told == json.loads((cohort / "m.json").read_text())
    assert told["count"]["failed"] == 3
    assert told["predictions_without_truth"] == ["p9"]
    errors = [case["error"] for case in told["cases"] if case["error"]]
    assert errors[0].startswith("prediction p1.nii.gz: ")
    assert "--resample" in errors[1]
    assert errors[2] == "p3: has no prediction"
    assert [f"warning: {error}" for error in errors] == [x for x in run.stderr.splitlines() if x.startswith("warning")]
    assert str(cohort) not in run.stdout
    assert "Traceback" not in run.stderr


def test_comparison_and_resampling_are_said(cohort: Path, verb: Verb) -> None:
    """``--compare`` shows the difference with its interval and p; ``--resample`` says which case it touched."""
    wide = GRID.reshaped((16, 16, 12))
    write_labels(cohort / "p/p2.nii.gz", np.ones(wide.shape, np.uint8), wide)
    run = verb(
        "-p", cohort / "p", "-g", cohort / "g", "-o", cohort / "m.json", "--compare", cohort / "worse", "--resample"
    )
    assert run.returncode == 0, run.stderr
    assert "first less second" in run.stdout
    assert "prediction resampled onto the truth's grid from 16x16x12 voxels of 0.5x0.5x1 mm" in run.stdout
    told = json.loads((cohort / "m.json").read_text())["comparison"]
    assert told["cases"] == ["p1", "p2", "p3"]
    assert set(told["first_less_second"]["label 1"]["dice"]) >= {"mean", "low", "high", "p_value"}


def test_labels_come_from_a_recipe(cohort: Path, verb: Verb) -> None:
    """Structures have the recipe's names, and a value that it does not know is the case's failure."""
    recipe = cohort / "recipe.yaml"
    recipe.write_text(
        "labels: {values: {liver: 1, spleen: 2}}\nimage: {spatial_dims: 3}\ntraining: {patch: [96, 96, 96]}\n"
    )
    write_labels(cohort / "p/p3.nii.gz", np.full(GRID.shape, 5, np.uint8), GRID)
    run = verb("-p", cohort / "p", "-g", cohort / "g", "-o", cohort / "m.json", "-r", recipe)
    assert run.returncode == 3
    assert run.stdout.splitlines()[1].startswith("liver")
    assert "prediction p3.nii.gz: holds the label value 5, declared are 0, 1, 2" in run.stderr


def test_mistakes_are_one_line_before_the_work(cohort: Path, verb: Verb) -> None:
    """A place that cannot be written, a folder that is not there, nothing in common: one line, nothing written."""
    wrong = verb("-p", cohort / "p", "-g", cohort / "g", "-o", cohort / "none" / "m.json")
    assert wrong.returncode == 2
    assert (
        wrong.stderr
        == f"error: {cohort / 'none' / 'm.json'}: the folder of this file does not exist; create it first\n"
    )
    same = verb("-p", cohort / "p", "-g", cohort / "g", "-o", cohort / "m", "--csv", cohort / "m")
    assert (same.returncode, len(same.stderr.splitlines())) == (2, 1)
    absent = verb("-p", cohort / "nothing", "-g", cohort / "g", "-o", cohort / "m.json")
    assert (absent.returncode, absent.stderr) == (1, f"error: {cohort / 'nothing'}: does not exist\n")
    assert not (cohort / "m.json").exists()


def test_a_recipe_tells_what_the_truths_are(micrographs: Path, verb: Verb) -> None:
    """Its labels, that objects are told apart, and spacings that nobody would believe without it."""
    words = ["-p", micrographs / "masks", "-g", micrographs / "data", "-o", micrographs / "m.json"]
    run = verb(*words, "-r", micrographs / "recipe.yaml")
    assert run.returncode == 0, run.stderr
    told = json.loads((micrographs / "m.json").read_text())
    assert told["count"]["scored"] == 4
    assert told["structures"]["cell"]["dice"]["mean"] == 1
