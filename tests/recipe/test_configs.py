from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from volseg.data.phantom import CELL_LABELS, CT_LABELS, HEART_LABELS
from volseg.recipe import Recipe, dump_recipe, json_schema, load_recipe

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
OVERLAYS = sorted(path.stem for path in (CONFIGS / "overlays").glob("*.yaml"))


def test_the_promised_recipes_are_there() -> None:
    """Every task that the project speaks of has its recipe, and so has every overlay."""
    assert set(RECIPES) >= {
        "acdc_unet2d", "acdc_unet3d", "cells_unet2d", "ct_unet3d", "em_unet2d", "heart_unet2d", "heart_unet3d",
        "hippocampus_unet3d", "nuclei_unet2d",
    }  # fmt: skip
    assert set(OVERLAYS) >= {"smoke", "gpu_amp", "multi_gpu", "mlflow", "paper_sgd"}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_loads_with_every_overlay(name: str) -> None:
    """Each overlay changes each recipe into another valid one, alone and all together."""
    path = CONFIGS / f"{name}.yaml"
    recipe = load_recipe(path)
    assert recipe.bundle.name == name
    assert recipe.bundle.data_license
    overlays = [CONFIGS / "overlays" / f"{overlay}.yaml" for overlay in OVERLAYS]
    for overlay in overlays:
        changed = load_recipe(path, [overlay])
        if overlay.stem != "paper_sgd" or not _is_paper_sgd(recipe):
            assert changed != recipe, overlay
    together = load_recipe(path, overlays)
    assert Recipe.from_dict(together.to_dict()) == together


@pytest.mark.parametrize("name", RECIPES)
def test_a_dumped_recipe_is_yaml_to_others_too(name: str) -> None:
    """A reader of YAML 1.1 finds the same data in what is written."""
    recipe = load_recipe(CONFIGS / f"{name}.yaml")
    assert yaml.safe_load(dump_recipe(recipe)) == recipe.to_dict()


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_hold_to_the_json_schema(name: str) -> None:
    """An editor that knows the schema accepts what we accept, and marks an unknown key."""
    jsonschema = pytest.importorskip("jsonschema", reason="validates the schema; not needed otherwise")
    path = CONFIGS / f"{name}.yaml"
    validator = jsonschema.Draft202012Validator(json_schema())
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    for data in (written, load_recipe(path).to_dict()):
        assert not [error.message for error in validator.iter_errors(data)]
    assert list(validator.iter_errors({**written, "epochz": 1}))


def test_overlays_do_what_they_are_called_for() -> None:
    """A smoke run is one epoch; AMP is half precision; the paper's SGD has its momentum; MLflow tracks."""
    heart = CONFIGS / "heart_unet3d.yaml"
    smoke, amp, sgd, mlflow, several = (
        load_recipe(heart, [CONFIGS / "overlays" / f"{name}.yaml"])
        for name in ("smoke", "gpu_amp", "paper_sgd", "mlflow", "multi_gpu")
    )
    assert (smoke.training.epochs, smoke.training.steps_per_epoch) == (1, 2)
    assert amp.training.precision == "fp16"
    assert _is_paper_sgd(sgd)
    assert mlflow.tracking is not None
    assert several.training.sync_batch_norm


@pytest.mark.parametrize(
    ("name", "labels"), [("heart_unet3d", HEART_LABELS), ("cells_unet2d", CELL_LABELS), ("ct_unet3d", CT_LABELS)]
)
def test_phantom_recipes_know_the_phantoms_labels(name: str, labels: object) -> None:
    """Recipe and phantom name the same structures with the same values and codes."""
    recipe = load_recipe(CONFIGS / f"{name}.yaml").labels
    assert dataclasses.is_dataclass(labels)
    assert [(s.name, s.value) for s in recipe.structures] == [(s.name, s.value) for s in labels.structures]  # type: ignore[attr-defined]


def test_the_papers_recipe_is_the_papers() -> None:
    """Unpadded, without normalisation, momentum 0.99, one tile, w0 10 and sigma 5, vectors of 10 pixels on 3x3."""
    recipe = load_recipe(CONFIGS / "nuclei_unet2d.yaml")
    arguments = recipe.network_arguments()
    assert (arguments["padding"], arguments["norm"], recipe.training.batch) == ("valid", None, 1)
    assert recipe.weight_map is not None
    assert (recipe.weight_map.w0, recipe.weight_map.sigma) == (10, 5)
    assert recipe.augmentation.spatial is not None
    assert recipe.augmentation.spatial.elastic is not None
    assert (recipe.augmentation.spatial.elastic.grid, recipe.augmentation.spatial.elastic.std) == (3, 10)
    assert _is_paper_sgd(recipe)
    assert recipe.shape.output_size(recipe.training.patch) == (260, 260)


def _is_paper_sgd(recipe: Recipe) -> bool:
    optimiser = recipe.to_dict()["optimiser"]
    return (optimiser["kind"], optimiser.get("momentum"), recipe.training.batch) == ("sgd", 0.99, 1)
