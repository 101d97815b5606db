from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from volseg.recipe import Recipe, load_recipe

SHORT = """\
labels:
  values: {rv: 1, myo: 2, lv: 3}
image: {spatial_dims: 3}
training: {patch: [64, 64, 32], epochs: 20}
"""


@pytest.fixture
def short() -> dict[str, Any]:
    """The keys of a recipe as short as it can be."""
    return {
        "labels": {"values": {"rv": 1, "myo": 2, "lv": 3}},
        "image": {"spatial_dims": 3},
        "training": {"patch": [64, 64, 32], "epochs": 20},
    }


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that holds the short recipe as ``recipe.yaml``."""
    monkeypatch.chdir(tmp_path)
    Path("recipe.yaml").write_text(SHORT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def load(written: Path) -> Callable[..., Recipe]:
    """Loads ``recipe.yaml``; texts given as overlays are written to ``one.yaml``, ``two.yaml``."""

    def load(*overlays: str, sets: tuple[str, ...] = ()) -> Recipe:
        names = ["one.yaml", "two.yaml"][: len(overlays)]
        for name, text in zip(names, overlays, strict=True):
            Path(name).write_text(text, encoding="utf-8")
        return load_recipe("recipe.yaml", names, sets)

    return load


@pytest.fixture
def configs() -> Path:
    """The folder of the recipes that come with the project."""
    return Path(__file__).parents[2] / "configs"
