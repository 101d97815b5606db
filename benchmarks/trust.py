"""How far the trust score tells the Dice of cases that no network saw, and that no line was drawn through.

``python -m benchmarks trust hippocampus|acdc --data FOLDER --work WORK`` cross-validates our recipe with the short
trainings of ``time_to_dice`` and records what the run tells of its trust score: the rank correlation with the true
Dice, the share of cases within the interval of 90 %, and the share of the worst tenth that is among the tenth that
looked worst. What is done stays in WORK: run it again to go on.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from benchmarks.frame import record, volseg
from benchmarks.time_to_dice import TASKS

FIGURES = ("n", "spearman", "coverage", "found")


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="trust", description=__doc__)
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    chosen = parser.parse_args(argv)
    task, folder = TASKS[chosen.task], chosen.work / "run"
    chosen.work.mkdir(parents=True, exist_ok=True)
    listed = chosen.work / "cases.csv"
    _list(chosen.data, listed)
    keys = [f"--set={key}" for key in task["changes"]]
    volseg("train", "-r", task["recipe"], "-d", listed, "-o", folder, "--fold", "all", "--resume", *keys)
    told = json.loads((folder / "cross_validation.json").read_text())["trust"]
    dice = json.loads((folder / "metrics.json").read_text())
    ours = {
        name: {figure: round(value, 4) for figure, value in figures.items() if figure in FIGURES}
        for name, figures in told.items()
    }
    for name, row in ours.items():
        print(name, json.dumps(row))
    record(
        f"trust_{chosen.task}",
        work=f"{told['cases']['n']} cases, each by a network that never saw it; mean Dice {dice['mean']['dice']:.4f}",
        ours=ours,
        peer=None,
        ratio=None,
    )
    return 0


def _list(data: Path, file: Path) -> None:
    """The cases as a CSV, patients who stand under two names under one: a copy of ACDC has such."""
    from volseg.data.aliases import find_aliases
    from volseg.data.cohort import find_cases

    cases = find_cases(data).labelled
    same = {alias.other.patient: alias.one.patient for alias in find_aliases(cases)}
    with file.open("w", newline="") as opened:
        table = csv.writer(opened)
        table.writerow(["name", "image", "label", "patient", "group"])
        for case in cases:
            patient = same.get(case.patient, case.patient)
            table.writerow([case.name, case.image.resolve(), case.label, patient, case.group or ""])
