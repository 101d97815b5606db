"""Time to Dice: what a plain MONAI script reaches in its minutes, and how long our training takes to get there.

``python -m benchmarks time_to_dice hippocampus|acdc --data FOLDER --work WORK`` trains on the same cases with the same
two threads, one contender after the other: MONAI as installed and with the allocator kept from returning memory, then
ours in a third of the time. Every contender segments the cases of fold 0, which none has seen, and all are scored by
the same code. What is done stays in WORK: run it again to go on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.frame import KEEP_MEMORY, child, record, volseg

TASKS: dict[str, dict[str, Any]] = {
    # changes: of our recipe, so that a whole schedule fits into a third of the peer's time
    "hippocampus": {
        "recipe": "configs/hippocampus_unet3d.yaml",
        "peer": "hippocampus",
        "budget": 720,
        "changes": [
            "network.channels=[16,32,64,128]",
            "augmentation.spatial.prob=0.4",
            "optimiser.lr=0.003",
            "optimiser.warmup=1",
            "optimiser.ema=0.99",
            "training.patch=[32,48,32]",
            "training.epochs=34",
            "training.validate_every=34",
        ],
    },
    "acdc": {
        "recipe": "configs/acdc_unet2d.yaml",
        "peer": "cardiac",
        "budget": 900,
        "changes": [
            "image.spacing=[2,2,native]",  # most of a slice in a patch, and steps that cost half
            "augmentation.spatial.prob=0.3",
            "augmentation.spatial.elastic=null",
            "augmentation.intensity.bias_field=null",
            "optimiser.lr=0.003",
            "optimiser.ema=0.995",
            "training.patch=[112,112]",
            "training.epochs=20",
            "training.steps_per_epoch=100",
            "training.validate_every=20",
        ],
    },
}


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="time_to_dice", description=__doc__)
    parser.add_argument("task", choices=list(TASKS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--budget", type=float, help="seconds of the peer's training")
    parser.add_argument("--set", action="append", default=[], dest="changes", help="a key of our recipe")
    chosen = parser.parse_args(argv)
    task, work = TASKS[chosen.task], chosen.work
    work.mkdir(parents=True, exist_ok=True)
    budget = chosen.budget or task["budget"]
    split = _split(chosen.data, task["recipe"])
    peers: dict[str, Any] = {}
    for name, env in (("MONAI", {}), ("MONAI, allocator set", KEEP_MEMORY)):
        folder = work / name.replace(", ", "_").replace(" ", "_")
        peers[name] = _kept(folder, _peer, chosen.data, split, task["peer"], budget, env)
        print(name, peers[name], flush=True)
    changes = chosen.changes or task["changes"]
    ours = _kept(work / "volseg", _ours, chosen.data, split, task["recipe"], changes)
    print("volseg", ours, flush=True)
    record(
        f"time_to_dice_{chosen.task}",
        work=f"{len(split['learn'])} cases to learn from, {len(split['predict'])} never seen, mean Dice of structures",
        ours={**ours, "changes": changes},
        peer=peers,
        ratio={name: round(peer["seconds"] / ours["seconds"], 3) for name, peer in peers.items()},
        reached={name: ours["dice"] >= peer["dice"] for name, peer in peers.items()},
    )
    return 0


def _kept(folder: Path, work: Callable[..., dict[str, Any]], data: Path, *more: Any) -> dict[str, Any]:
    """What the work told, with the Dice of the masks it left; from the folder where that is known already."""
    done = folder / "done.json"
    if not done.exists():
        folder.mkdir(parents=True, exist_ok=True)
        told = work(folder, data, *more)
        done.write_text(json.dumps({**told, "dice": _dice(folder, data)}))
    found: dict[str, Any] = json.loads(done.read_text())
    return found


def _split(data: Path, recipe: str) -> dict[str, Any]:
    """The cases of our recipe's fold 0, as the peer's script takes them."""
    from volseg.data.cohort import find_cases
    from volseg.data.folds import make_folds
    from volseg.recipe import load_recipe

    folds = load_recipe(recipe).folds
    cases = {case.name: case for case in find_cases(data).labelled}
    split = make_folds(
        list(cases.values()), number=folds.number, seed=folds.seed, group_by=folds.group_by, stratify=folds.stratify
    )[0]
    return {
        "learn": [{"image": str(cases[n].images[0]), "label": str(cases[n].label)} for n in split.train],
        "predict": {n: str(cases[n].images[0]) for n in split.validation},
    }


def _peer(
    folder: Path, data: Path, split: dict[str, Any], task: str, budget: float, env: dict[str, str]
) -> dict[str, Any]:
    masks = str(folder / "masks")
    told: dict[str, Any] = child(
        "benchmarks.plain_monai", task, env=env, timeout=budget + 3600, masks=masks, budget=budget, **split
    )
    return told


def _ours(folder: Path, data: Path, split: dict[str, Any], recipe: str, changes: list[str]) -> dict[str, Any]:
    """Our command, timed from its start to its end, reading and validation included."""
    began = time.perf_counter()
    volseg("train", "-r", recipe, "-d", data, "-o", folder / "run", *(f"--set={key}" for key in changes))
    seconds = time.perf_counter() - began
    listed = folder / "images.csv"
    listed.write_text("name,image\n" + "".join(f"{n},{Path(p).resolve()}\n" for n, p in split["predict"].items()))
    volseg("predict", "-i", listed, "-o", folder / "masks", "-b", folder / "run" / "bundle")
    return {"seconds": round(seconds, 1)}


def _dice(folder: Path, data: Path) -> float:
    """The mean over cases, then over structures, of the masks in the folder."""
    metrics = folder / "metrics.json"
    volseg("evaluate", "-p", folder / "masks", "-g", data, "-o", metrics, "--partial")
    return round(float(json.loads(metrics.read_text())["mean"]["dice"]), 4)
