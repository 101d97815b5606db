"""Rehearsals: the training's own steps, in a process that costs only itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from volseg.data.cohort import find_cases
from volseg.data.phantom import write_cohort
from volseg.engine import rehearsal
from volseg.errors import MemoryLimitError
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
