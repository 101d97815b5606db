"""``configs/train.json`` and ``configs/multi_gpu_train.json``."""

from __future__ import annotations

from typing import Any

from volseg.bundle.rendering.parts import beginning, first_steps
from volseg.bundle.rendering.settings import settings_of
from volseg.engine.compose import (
    batch_part,
    cases_part,
    decision_part,
    loss_part,
    optimiser_part,
    patches_part,
)
from volseg.recipe import Recipe

#: what a training is told at run time, and no recipe knows
RUN_TIME = (
    "bundle_root",
    "data_dir",
    "dataset_dir",
    "output_dir",
    "device",
    "fold",
    "resume",
    "start_from",
    "deterministic",
)


def train_config(recipe: Recipe, *, name: str = "train") -> dict[str, Any]:
    """Training, validated on the fold that is held out; it leaves a bundle of its own."""
    patches = patches_part(recipe)
    # a patch's size and seed are settings as well: they stand once
    patches |= {"patch": "@patch_size", "foreground": "@foreground", "seed": "@seed"}
    batch = batch_part(recipe) | {"seed": "@seed"}
    return {
        **beginning(recipe),
        "fold": 0,
        "resume": False,
        "start_from": None,
        "deterministic": False,
        **settings_of(recipe),
        "network": "$@network_def.to(@device)",
        "loss": loss_part(recipe),
        "optimizer": {**optimiser_part(recipe), "network": "@network"},
        "train": {
            "cases": {
                "_target_": "volseg.bundle.training.Cases",
                "data_dir": "@dataset_dir",
                "part": "train",
                "fold": "@fold",
                "folds": "@folds",
                "reader": cases_part(recipe),
            },
            "patches": {**patches, "_mode_": "callable"},
            "dataset": {
                "_target_": "volseg.bundle.training.Patches",
                "cases": "@train::cases",
                "patches": "@train::patches",
            },
            "prepare_batch": batch,
            "inferer": {"_target_": "SimpleInferer"},
            "handlers": [],
            "trainer": {
                "_target_": "volseg.bundle.training.Training",
                "max_epochs": "@epochs",
                "recipe": "@checked",
                "data_dir": "@dataset_dir",
                "output_dir": "@output_dir",
                "fold": "@fold",
                "resume": "@resume",
                "start_from": "@start_from",
                "device": "@device",
                "deterministic": "@deterministic",
            },
        },
        "validate": {
            "dataset": {
                "_target_": "volseg.bundle.training.Cases",
                "data_dir": "@dataset_dir",
                "part": "validation",
                "fold": "@fold",
                "folds": "@folds",
                "reader": cases_part(recipe),
            },
            "decision": decision_part(recipe),
            "order": recipe.inference.order,
        },
        **first_steps(name),
        "run": ["$@train::trainer.judge()", "$@train::trainer.run()", "$@train::trainer.leave_bundle()"],
        "training": "%run",
    }
