"""Rehearsals: the training's own steps, in a process that costs only itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from volseg.data.cohort import find_cases
from volseg.data.phantom import write_cohort
from volseg.engine import rehearsal
from volseg.errors import MemoryLimitError, VolumeError
from volseg.recipe import Recipe


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = write_cohort(tmp_path_factory.mktemp("data") / "cells", "cells", 2, size=64)
    return find_cases(folder).labelled


RECIPE = Recipe.from_dict(
    {
        "labels": {"values": {"cell": 1}, "instances": True},
        "image": {"spatial_dims": 2, "allowed_spacing": [1e-6, 1000]},
        "network": {"channels": [4, 8]},
        "weight_map": {"separate_instances": True},
        "training": {"patch": [32, 32], "batch": 2, "precision": "float32", "channels_last": False},
        "optimiser": {"ema": 0.9},
    }
)


def test_a_rehearsal_costs_what_it_costs(cells: Any) -> None:
    """Seconds, bytes and the arithmetic are those of real steps on real cases."""
    found = rehearsal.rehearse(RECIPE, cells, "cpu")
    assert found.step > 0
    assert found.validation > 0
    assert found.preparation > 0
    # one channel in float32, class numbers in a byte, weights in float32, and the places of voxels
    assert found.kept >= 64 * 64 * 9
    assert found.arithmetic == "float32, channels first"


def test_a_rehearsal_reads_as_the_plan_did(tmp_path: Path) -> None:
    """Cases whose headers are taken for something are rehearsed so too; a training takes none of that."""
    grid = np.diag([1.0, 1.0, 2.0, 1.0])
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        image = rng.normal(size=(20, 20, 6)).astype(np.float32)
        image[3, 3, 3] = np.nan
        for ending, voxels in (("", image), ("_seg", (image > 0).astype(np.uint8))):
            bare = nib.Nifti1Image(voxels, None)
            bare.header.set_zooms(np.diag(grid)[:3])
            nib.save(bare, tmp_path / f"{name}{ending}.nii.gz")
    recipe = Recipe.from_dict(
        {
            "labels": {"values": {"bright": 1}},
            "image": {"spatial_dims": 3},
            "network": {"channels": [2, 4], "strides": [2]},
            "training": {"patch": [8, 8, 4], "batch": 1, "precision": "float32", "channels_last": False},
        }
    )
    cases = find_cases(tmp_path).labelled
    with pytest.raises(VolumeError, match="does not say where left and right are"):
        rehearsal.rehearse(recipe, cases, "cpu")
    with pytest.raises(VolumeError, match="NaN"):
        rehearsal.rehearse(recipe, cases, "cpu", {"assume_ras": True})
    assert rehearsal.rehearse(recipe, cases, "cpu", {"assume_ras": True, "fill_nan": 0.0, "series": None}).step > 0


def test_too_little_memory_is_no_error(cells: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that does not fit is an answer, none, for whoever looks for one that does."""

    def full(*_: Any) -> None:
        raise MemoryLimitError("the batch does not fit the memory of cpu")

    monkeypatch.setattr(rehearsal, "rehearse", full)
    assert rehearsal._attempt(RECIPE, cells, "cpu") is None
    assert rehearsal._lost(RECIPE) is None


@pytest.mark.slow
def test_a_rehearsal_apart(cells: Any, tmp_path: Path) -> None:
    """In a process of its own, with the same kind of answer."""
    found = rehearsal.measure_apart(cells, "cpu")(RECIPE)
    assert found is not None
    assert 1 << 20 < found.peak < 1 << 30
