"""Small cohorts and small recipes: a training of seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from volseg.data.phantom import write_cohort
from volseg.recipe import Recipe

TINY: dict[str, Any] = {
    "labels": {"values": {"right ventricle": 1, "myocardium": 2, "left ventricle": 3}},
    "image": {"spatial_dims": 3, "modality": "MR", "spacing": [4.0, 4.0, "native"]},
    "network": {"channels": [4, 8], "strides": [[2, 2, 1]], "kernel_sizes": [[3, 3, 1], 3]},
    "augmentation": {
        "flips": [0],
        "spatial": {"rotation": [0, 0, 20], "translation": [2, 2, 0], "elastic": {"grid": [3, 3, 2], "std": [1, 1, 0]}},
    },
    "optimiser": {"kind": "adamw", "lr": 0.01, "ema": 0.9},
    "training": {
        "patch": [24, 24, 4],
        "batch": 2,
        "epochs": 3,
        "steps_per_epoch": 3,
        "validate_every": 2,
        "precision": "float32",
        "channels_last": False,
    },
    "folds": {"number": 2},
}


@pytest.fixture(scope="session")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients, six stacks, in the layout of ACDC."""
    return write_cohort(tmp_path_factory.mktemp("data") / "hearts", "heart", 3, seed=1, size=88)


@pytest.fixture(scope="session")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images of touching cells, with maps of instances."""
    return write_cohort(tmp_path_factory.mktemp("data") / "cells", "cells", 4, seed=1, size=96)


@pytest.fixture(scope="session")
def tiny_recipe() -> Callable[[dict[str, Any]], Recipe]:
    """A recipe for ``hearts`` that trains in seconds, with some keys changed."""
    return lambda changes: Recipe.from_dict(TINY).changed(changes)


@pytest.fixture
def tiny(tiny_recipe: Callable[[dict[str, Any]], Recipe]) -> Callable[..., Recipe]:
    """The same, with keys as arguments: ``tiny(training__epochs=1)``."""
    return lambda **changes: tiny_recipe({key.replace("__", "."): value for key, value in changes.items()})


@pytest.fixture(autouse=True)
def _own_random_numbers() -> None:
    """No test depends on the random numbers another one left."""
    torch.manual_seed(12345)
