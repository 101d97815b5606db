"""Small label maps on disk, and a cohort of phantom hearts with predictions that are off by a known step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volseg.data.phantom import write_cohort
from volseg.geometry import Grid
from volseg.io import read_labels, write_labels

GRID = Grid.from_spacing((4, 4, 4), (1.0, 1.0, 2.0))
WHOLE = slice(1, 3)


@pytest.fixture
def lay(tmp_path: Path) -> Callable[..., Path]:
    """Write label maps, by their path below a folder; each is made of boxes by value."""

    def write(folder: str, masks: Mapping[str, Mapping[int, tuple[slice, ...]]], grid: Grid = GRID) -> Path:
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        for name, boxes in masks.items():
            array = np.zeros(grid.shape, np.uint8)
            for value, box in boxes.items():
                array[box] = value
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            write_labels(root / name, array, grid)
        return root

    return write


@pytest.fixture(scope="session")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients in ACDC's layout; shared, so nobody writes into it."""
    return write_cohort(tmp_path_factory.mktemp("phantoms") / "hearts", "heart", 3, seed=3, size=88)


@pytest.fixture
def predicted(hearts: Path, tmp_path: Path) -> Callable[..., Path]:
    """A prediction of every heart: the truth after ``change``, in ``patientNNN/patientNNN_frameMM.nii.gz``."""

    def write(name: str, change: Callable[[Any], Any] = lambda array: np.roll(array, 1, axis=0)) -> Path:
        for truth in sorted(hearts.rglob("*_gt.nii.gz")):
            volume = read_labels(truth)
            made = tmp_path / name / truth.parent.name / truth.name.replace("_gt", "")
            made.parent.mkdir(parents=True, exist_ok=True)
            write_labels(made, change(volume.array), volume.grid)
        return tmp_path / name

    return write
