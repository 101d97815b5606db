"""A bundle whose weights are of its recipe's network, small enough to be checked hundreds of times."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

with warnings.catch_warnings():
    # ignite reaches torch.distributed.optim, which decorates functions with what torch itself deprecates
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
    import ignite.engine  # noqa: F401

from volseg.bundle.packing import pack_bundle
from volseg.bundle.rendering.build import build_bundle
from volseg.engine import compose
from volseg.recipe import Recipe

CELLS: dict[str, Any] = {
    "labels.values": {"cell": 1, "nucleus": 2},
    "image": {"spatial_dims": 2, "modality": "microscopy", "spacing": "native"},
    "network": {"channels": [2, 4]},
    "training.patch": [32, 32],
    "bundle": {"name": "cells", "authors": "A. Nother"},
}

Build = Callable[..., Path]


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe.from_dict(CELLS)


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """Build a recipe's bundle with random weights; ``change`` may spoil them first."""

    def make(recipe: Recipe, *, change: Callable[[dict[str, torch.Tensor]], None] | None = None) -> Path:
        folder = tmp_path_factory.mktemp("built")
        torch.manual_seed(5)
        weights = compose.build(compose.network_part(recipe)).state_dict()
        if change is not None:
            change(weights)
        torch.save(weights, folder / "weights.pt")
        return build_bundle(recipe, folder / (recipe.bundle.name or "bundle"), weights=folder / "weights.pt")

    return make


@pytest.fixture(scope="session")
def built(recipe: Recipe, build: Build) -> Path:
    return build(recipe)


@pytest.fixture(scope="session")
def packed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pack_bundle(built, tmp_path_factory.mktemp("packed") / "cells.zip").path
