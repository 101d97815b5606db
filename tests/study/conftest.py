"""Small cohorts and small recipes: a training of a second."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from volseg.data.phantom import write_cohort
from volseg.recipe import Recipe

TINY: dict[str, Any] = {
    "labels": {"values": {"cell": 1}, "instances": True},
    "image": {"spatial_dims": 2, "modality": "microscopy", "allowed_spacing": [1e-6, 1000]},
    "network.channels": [4, 8],
    "augmentation.flips": [0, 1],
    "loss.kind": "dice",
    "optimiser.lr": 0.01,
    "inference.tta": "flips",
    "training": {
        "patch": [32, 32],
        "batch": 2,
        "epochs": 1,
        "steps_per_epoch": 2,
        "validate_every": 1,
        "precision": "float32",
        "channels_last": False,
    },
    "folds.number": 2,
    "bundle.name": "tiny_cells",
}


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """Two steps of a small U-Net on pictures of cells."""
    return Recipe.from_dict(TINY)


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight pictures of touching cells, a patient each."""
    return write_cohort(tmp_path_factory.mktemp("data") / "cells", "cells", 8, seed=1, size=64)


@pytest.fixture
def write_log() -> Callable[..., Path]:
    """Write the log of a training that never was: Dice by epoch of two cases, the second a tenth below the first."""

    def write(run: Path, dice: Mapping[int, float], *, finished: bool = False, seconds: float = 2.0) -> Path:
        run.mkdir(parents=True)
        events: list[dict[str, Any]] = []
        for epoch, value in dice.items():
            at = {"epoch": epoch, "iteration": epoch * 2}
            events.append(
                {"event": "epoch", **at, "loss": 1 - value, "lr": 0.1, "seconds": epoch * seconds, "dice": value}
            )
            cases = {"a": {"cell": value + 0.05}, "b": {"cell": value - 0.05}}
            events.append({"event": "validation", **at, "dice": value, "cases": cases})
        if finished:
            events.append({"event": "end", "best": max(dice.values()), "best_epoch": 1})
        (run / "log.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
        return run

    return write
