"""Recipes as parts: every shipped recipe builds, and MONAI's parser builds the same from the same lines."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from volseg.engine import compose
from volseg.engine.compose import build
from volseg.errors import UsageError
from volseg.recipe import Recipe, load_recipe

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
PARTS: dict[str, Callable[[Recipe], Any]] = {
    "preparation": compose.preparation_part,
    "classes": compose.classes_part,
    "cases": compose.cases_part,
    "motions": compose.motions_part,
    "batch": compose.batch_part,
    "loss": compose.loss_part,
    "decision": compose.decision_part,
}


def told(value: Any) -> Any:
    """An object as plain data, to compare two of them."""
    if hasattr(value, "__dict__"):
        hidden = {"_modules", "_buffers", "training"}
        found = {k: told(v) for k, v in vars(value).items() if k not in hidden and not k.startswith("_backward")}
        return {
            "class": type(value).__name__,
            **found,
            "modules": [told(m) for m in getattr(value, "_modules", {}).values()],
        }
    if isinstance(value, dict):
        return {str(key): told(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [told(item) for item in value]
    return str(value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_both_doors_build_the_same(path: Path) -> None:
    """Through JSON and MONAI's parser, or here: the same objects with the same values."""
    recipe = load_recipe(path)
    for make in PARTS.values():
        part = make(recipe)
        parser = ConfigParser(json.loads(json.dumps({"part": part})))
        assert told(parser.get_parsed_content("part")) == told(build(part))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_a_training(path: Path) -> None:
    """Its loss takes what its network gives for its patch, on the meta device, where nothing is computed."""
    recipe = load_recipe(path)
    with torch.device("meta"):
        network = build(compose.network_part(recipe))
        size = recipe.shape.output_size(recipe.training.patch)
        logits = network(torch.empty(1, recipe.in_channels, *recipe.training.patch))
    assert tuple((logits[0] if isinstance(logits, list) else logits).shape) == (1, recipe.out_channels, *size)
    optimizer = build(compose.optimiser_part(recipe), network=torch.nn.Conv2d(1, 1, 3))
    schedule = build(compose.schedule_part(recipe, 10), optimizer=optimizer)
    assert schedule.get_last_lr()[0] <= recipe.optimiser.lr


def test_regions_are_class_numbers() -> None:
    """What the loss reads are numbers, what decides are values."""
    recipe = Recipe.from_dict(
        {
            "labels": {
                "values": {"tumour": 40, "oedema": 20},
                "ignore": 3,
                "regions": {"whole": ["oedema", "tumour"], "core": ["tumour"]},
                "output": "regions",
            },
            "image.spatial_dims": 3,
            "training.patch": [32, 32, 32],
        }
    )
    part = compose.loss_part(recipe)
    assert (part["regions"], part["ignore"]) == ([[1, 2], [2]], 3)
    assert compose.decision_part(recipe)["values"] == [20, 40]
    build(part)


def test_only_this_package_is_imported() -> None:
    """A part that names anything else is refused."""
    with pytest.raises(UsageError, match=r"os\.system is no part of volseg"):
        build({"_target_": "os.system", "command": "true"})


def test_steps_of_an_epoch() -> None:
    """One patch of every case, unless the recipe says how many."""
    recipe = Recipe.from_dict(
        {"labels.values": {"x": 1}, "image.spatial_dims": 2, "training": {"patch": [32, 32], "batch": 4}}
    )
    assert [compose.steps_per_epoch(recipe, cases) for cases in (1, 4, 9)] == [1, 1, 3]
    assert compose.steps_per_epoch(recipe, 9, world=2) == 2
    assert compose.steps_per_epoch(recipe.changed({"training.steps_per_epoch": 7}), 9) == 7
