"""``volseg cardiac``: what a person sees of a cohort of hearts, of a bad one, and of mistakes."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from volseg.data.phantom import write_cohort

Verb = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def verb(volseg: Verb) -> Verb:
    return partial(volseg, "cardiac")


@pytest.fixture
def hearts(tmp_path: Path) -> Path:
    return write_cohort(tmp_path / "hearts", "heart", 2, seed=5, size=88)


def test_a_cohort_is_a_table_a_csv_and_a_plot(hearts: Path, tmp_path: Path, verb: Verb) -> None:
    """Patients first, then the agreement; the plot is an SVG; exit 0."""
    run = verb("-p", hearts, "-g", hearts, "-o", tmp_path / "out.csv", "--plot", tmp_path / "plot.svg")
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0].startswith("patient     group  LV EDV ml  LV ESV ml")
    assert [line.split()[:2] for line in lines[1:3]] == [["patient001", "NOR"], ["patient002", "DCM"]]
    assert lines[4].startswith("predicted less true")
    assert run.stderr.splitlines()[-1] == "2 of 2 hearts measured"
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == ["patient001", "patient002"]
    assert all(row["lv_edv_ml"] == row["true_lv_edv_ml"] != "" for row in rows)
    assert (tmp_path / "plot.svg").read_bytes().startswith(b"<?xml")


def test_json_is_pure_and_failures_are_exit_3(hearts: Path, tmp_path: Path, verb: Verb) -> None:
    """A damaged mask is that patient's line and exit 3; the other heart is measured."""
    next((hearts / "patient001").glob("*_gt.nii.gz")).write_bytes(b"not a mask")
    run = verb("-p", hearts, "-o", tmp_path / "out.csv", "--json")
    assert run.returncode == 3
    told = json.loads(run.stdout, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert told["failed"] == 1
    first, second = told["hearts"]
    assert first["error"].startswith("patient001: prediction patient001/patient001_frame")
    assert second["predicted"]["lv_edv_ml"] > second["predicted"]["lv_esv_ml"] > 0
    assert str(hearts) not in run.stdout + (tmp_path / "out.csv").read_text()
    assert "Traceback" not in run.stderr


def test_mistakes_are_one_line(hearts: Path, tmp_path: Path, verb: Verb) -> None:
    """A plot without truths, a name without a recipe, a folder without Info.cfg."""
    plot = verb("-p", hearts, "-o", tmp_path / "out.csv", "--plot", tmp_path / "plot.svg")
    assert (plot.returncode, plot.stderr) == (2, "error: --plot compares with the truth; give --truths\n")
    name = verb("-p", hearts, "-o", tmp_path / "out.csv", "--lv", "left")
    assert (name.returncode, name.stderr) == (1, "error: 'left' is no label value; give a recipe to name its labels\n")
    (tmp_path / "empty").mkdir()
    info = verb("-p", hearts, "-o", tmp_path / "out.csv", "--info", tmp_path / "empty")
    assert info.returncode == 1
    assert info.stderr == f"error: {tmp_path / 'empty'}: holds no patient's folder with an Info.cfg\n"
    assert not (tmp_path / "out.csv").exists()
