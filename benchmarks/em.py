"""The challenge's errors on sections of electron microscopy that training never saw.

``python -m benchmarks em --data FOLDER --work WORK`` trains ``configs/em_unet2d.yaml`` on all but the last five
consecutive sections, and measures those: pixel, Rand and warping error at their best thresholds, of one prediction, of
the mean over seven turned copies of the input as in the paper, and, to know what learning is worth, of smoothed
brightness alone. What is done stays in WORK: run it again to go on.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frame import record, volseg

LEFT_OUT = 5
VERSIONS = 7


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="em", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the folder with images and labels")
    parser.add_argument("--work", type=Path, required=True, help="where the run is kept")
    parser.add_argument("--recipe", default="configs/em_unet2d.yaml")
    parser.add_argument("--set", action="append", default=[], dest="changes", help="a recipe key")
    chosen = parser.parse_args(argv)
    chosen.work.mkdir(parents=True, exist_ok=True)
    sections, table = _sections(chosen.data), chosen.work / "sections.csv"
    _write_split(table, chosen.data, sections)
    run_folder = chosen.work / "run"
    changes = (f"--set={key}" for key in chosen.changes)
    volseg("train", "-r", chosen.recipe, "-d", table, "-o", run_folder, "--resume", *changes)
    found = measure(run_folder / "bundle", chosen.data, sections[-LEFT_OUT:])
    for name, errors in found.items():
        print(f"{name:28}" + "  ".join(f"{kind} {error:.4f}" for kind, error in errors.items()))
    record(
        "em",
        work=f"{len(sections) - LEFT_OUT} sections to learn from, {LEFT_OUT} consecutive ones left out; "
        f"{Path(chosen.recipe).stem} with {' '.join(chosen.changes) or 'nothing changed'}",
        ours={name: errors for name, errors in found.items() if name != "smoothed brightness"},
        peer={"smoothed brightness": found["smoothed brightness"]},
        ratio=None,
        packages=("scipy",),
    )
    return 0


def measure(bundle: Path, data: Path, sections: list[str]) -> dict[str, dict[str, float]]:
    """Each error of each way to predict."""
    from scipy import ndimage

    from volseg import load_bundle
    from volseg.inference.tta import Turn
    from volseg.io import read_labels, read_volume
    from volseg.metrics.em import em_errors

    loaded = load_bundle(bundle)
    one = loaded.predictor(turns=[Turn.none(2)])
    # the bundle's own turns are all eight of the square
    several = loaded.predictor(turns=loaded.turns[:VERSIONS])
    images = [data / "images" / name for name in sections]
    truths = [read_labels(data / "labels" / name).array > 0 for name in sections]

    def learnt(predictor: Any) -> list[Any]:
        made = (loaded.predict(image, predictor=predictor, keep_probabilities=True) for image in images)
        return [np.asarray(of.probabilities)[-1] / 255.0 for of in made]

    def brightness(image: Path) -> Any:
        smooth = ndimage.gaussian_filter(read_volume(image).array.astype(np.float64), 2)
        return (smooth - smooth.min()) / np.ptp(smooth)

    maps = {
        "one prediction": learnt(one),
        f"mean of {VERSIONS} turned": learnt(several),
        "smoothed brightness": [brightness(image) for image in images],
    }
    return {
        name: {kind: round(best["error"], 5) for kind, best in asdict(em_errors(given, truths)).items()}
        for name, given in maps.items()
    }


def _sections(data: Path) -> list[str]:
    """The names of the sections in the order in which they were cut."""
    return sorted((file.name for file in (data / "images").iterdir()), key=lambda name: int(Path(name).stem))


def _write_split(table: Path, data: Path, sections: list[str]) -> None:
    rows = ["name,image,label,split"]
    for number, name in enumerate(sections):
        part = "train" if number < len(sections) - LEFT_OUT else "validation"
        image, label = ((data / kind / name).resolve() for kind in ("images", "labels"))
        rows.append(f"{Path(name).stem},{image},{label},{part}")
    table.write_text("\n".join(rows) + "\n")
