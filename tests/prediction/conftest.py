"""A predictor whose masks are known: what lies above the image's mean is the structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from volseg.geometry import Grid
from volseg.inference.predictor import Predictor
from volseg.inference.stream import Decision
from volseg.io import write_volume
from volseg.recipe import Recipe
from volseg.transforms.preparation import Preparation


class AboveMean(torch.nn.Module):
    """Logits 0 and the normalised intensity: the structure where that is positive."""

    spatial_dims = 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(x), x], dim=1)


@pytest.fixture
def recipe() -> Recipe:
    return Recipe.from_dict(
        {
            "labels": {"values": {"bright": 1}, "colours": {"bright": "#E69F00"}},
            "image.spatial_dims": 3,
            "image.seen": {"spacing": [[0.9, 1.1], [0.9, 1.1], [1.8, 2.2]], "volumes": {"bright": [0.0, 1.0]}},
            "training.patch": [16, 16, 16],
        }
    )


@pytest.fixture
def predictor(recipe: Recipe) -> Predictor:
    return Predictor([AboveMean().eval()], Preparation(axcodes="RAS"), Decision((0, 1)), recipe.labels)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Five scans in a tree, in different orientations, one of them damaged."""
    folder = tmp_path / "scans"
    rng = np.random.default_rng(0)
    for index, codes in enumerate(["RAS", "LPS", "PSR", "RAS", "RAS"]):
        grid = Grid.from_spacing((9, 10, 6), (1.0, 1.0, 2.0)).reoriented(codes).target
        path = folder / f"p{index % 2}" / f"scan {index}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_volume(path, rng.normal(size=grid.shape).astype(np.float32), grid)
    damaged = folder / "p1" / "scan 3.nii.gz"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    return folder
