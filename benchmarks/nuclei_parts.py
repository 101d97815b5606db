"""What the paper's parts are worth on nuclei: training with all, without the weight map, without elastic deformation.

``python -m benchmarks nuclei_parts --data FOLDER --work WORK`` trains each setting with three seeds on the same
images, segments the images that were left out, and prints SEG and average precision at IoU 0.5-0.9 with the paired
difference to the paper's training. What is done stays in WORK: run it again to go on.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frame import record, volseg

SETTINGS: dict[str, list[str]] = {
    "all parts": [],
    "without weight map": ["weight_map.w0=0"],  # classes stay balanced, and touching objects keep their seam
    "without elastic deformation": ["augmentation.spatial.elastic=null"],
}
SCORES = ("SEG", "AP")


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="nuclei_parts", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with images and instances")
    parser.add_argument("--work", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--recipe", type=Path, default=Path("configs/nuclei_unet2d.yaml"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[], dest="changes", help="a recipe key, for all settings")
    chosen = parser.parse_args(argv)
    scores: dict[str, list[dict[str, dict[str, float]]]] = {name: [] for name in SETTINGS}
    for seed in range(chosen.seeds):
        for name, changes in SETTINGS.items():
            folder = chosen.work / f"{name.replace(' ', '_')}_{seed}"
            keys = [*chosen.changes, f"training.seed={seed}", *changes]
            scores[name].append(scored(folder, chosen.recipe, chosen.data, keys))
            means = {score: np.mean([of[score] for of in scores[name][-1].values()]) for score in SCORES}
            print(
                f"{name}, seed {seed}: " + ", ".join(f"{score} {mean:.4f}" for score, mean in means.items()), flush=True
            )
    table = {name: summary(of, scores["all parts"]) for name, of in scores.items()}
    for name, row in table.items():
        print(name, json.dumps(row))
    record(
        "nuclei_parts",
        work=f"{chosen.recipe.stem} with {' '.join(chosen.changes) or 'nothing changed'}, {chosen.seeds} seeds, "
        f"{len(scores['all parts'][0])} images left out",
        ours={"all parts": table["all parts"]},
        peer={name: row for name, row in table.items() if name != "all parts"},
        ratio=None,
        packages=("scipy",),
    )
    return 0


def scored(folder: Path, recipe: Path, data: Path, changes: list[str]) -> dict[str, dict[str, float]]:
    """SEG and AP of every image that a training left out; from the folder where they are known already."""
    kept = folder / "instances.json"
    if not kept.exists():
        run_folder, left_out, masks = folder / "run", folder / "left_out.csv", folder / "masks"
        volseg("train", "-r", recipe, "-d", data, "-o", run_folder, "--resume", *(f"--set={key}" for key in changes))
        cases = _left_out(data, run_folder, left_out)
        volseg("predict", "-i", left_out, "-o", masks, "-b", run_folder / "bundle", "--format", "png")
        kept.write_text(json.dumps({case: _scores(truth, masks / f"{case}.png") for case, truth in cases.items()}))
    found: dict[str, dict[str, float]] = json.loads(kept.read_text())
    return found


def summary(scores: list[dict[str, dict[str, float]]], reference: list[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """The mean and each seed's, and the mean difference to the reference with its interval over images."""
    from volseg.metrics.statistics import compare

    row: dict[str, Any] = {}
    for score in SCORES:
        seeds = [float(np.mean([image[score] for image in of.values()])) for of in scores]
        row[score] = round(float(np.mean(seeds)), 4)
        row[f"{score}, each seed"] = {str(seed): round(mean, 4) for seed, mean in enumerate(seeds)}
        if scores is not reference:
            ours, theirs = (
                [float(np.mean([of[case][score] for of in both])) for case in reference[0]]
                for both in (scores, reference)
            )
            compared = compare(ours, theirs)
            difference = compared.difference
            told = {"mean": difference.mean, "low": difference.low, "high": difference.high, "p": compared.p_value}
            row[f"{score}, difference"] = {name: round(value, 5) for name, value in told.items()}
    return row


def _left_out(data: Path, run_folder: Path, table: Path) -> dict[str, Path]:
    """The images of the fold that was not learnt from, listed in a CSV; gives each one's instances."""
    from volseg.data.cohort import find_cases

    names = set(json.loads((run_folder / "folds.json").read_text())["folds"][0]["validation"])
    cases = [case for case in find_cases(data).cases if case.name in names]
    with table.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["name", "image"])
        rows.writerows([case.name, case.images[0].resolve()] for case in cases)
    return {case.name: case.label for case in cases if case.label is not None}


def _scores(truth: Path, mask: Path) -> dict[str, float]:
    from scipy import ndimage

    from volseg.io import read_labels
    from volseg.metrics.instances import average_precision, seg_score

    objects = read_labels(truth).array
    parts, _ = ndimage.label(read_labels(mask).array > 0)
    return {"SEG": seg_score(objects, parts), "AP": average_precision(objects, parts)}
