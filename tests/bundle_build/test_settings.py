"""The settings of ``train.json`` are keys of the recipe, there and back, and what a run of MONAI's tells of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from volseg.bundle.predicting import mask_name
from volseg.bundle.rendering.configs import config_named
from volseg.bundle.rendering.settings import SETTINGS, changes_of, settings_of
from volseg.bundle.training import tell
from volseg.data.cohort import Case
from volseg.recipe import Recipe

CHANGED: dict[str, Any] = {
    "epochs": 7,
    "batch_size": 5,
    "steps_per_epoch": 9,
    "patch_size": [32, 32, 8],
    "foreground": 0.5,
    "seed": 11,
    "precision": "bf16",
    "channels_last": True,
    "sync_batch_norm": True,
    "cache": "disk",
    "workers": 3,
    "val_interval": 4,
    "early_stop": 6,
    "keep_checkpoints": 8,
    "time_limit": "30min",
    "schedule": "cosine",
    "schedule_power": 0.8,
    "warmup": 2,
    "gradient_clip": 3.5,
    "accumulate": 2,
    "ema": 0.99,
    "val_precision": "bf16",
    "max_memory": "3GiB",
    "folds": {"number": 3, "seed": 1},
    "tracking": {"kind": "mlflow"},
}


def test_what_was_rendered_changes_nothing(tiny: Recipe) -> None:
    """The configuration of a recipe says what the recipe says."""
    config = config_named(tiny, "train")
    assert {name: config[name] for name in SETTINGS} == settings_of(tiny)
    assert changes_of(config, tiny) == {}


@pytest.mark.parametrize("name", SETTINGS)
def test_each_setting_is_one_key(name: str, tiny: Recipe) -> None:
    """Changed in the configuration, or typed as a word of JSON, it is that key and no other; the recipe takes it."""
    config = config_named(tiny, "train")
    changes = changes_of({**config, name: CHANGED[name]}, tiny)
    assert changes == {SETTINGS[name]: CHANGED[name]}
    assert settings_of(tiny.changed({"training.epochs": 7, **changes}))[name] is not None
    if CHANGED[name] is True:
        assert changes_of({**config, name: "true"}, tiny) == changes


def test_arguments_of_parts_are_keys(tiny: Recipe) -> None:
    """Of the network and of the optimiser; those of another kind count all, for its defaults are others."""
    config = config_named(tiny, "train")
    network = {**config["network_def"], "channels": [8, 16]}
    assert changes_of({**config, "network_def": network}, tiny) == {"network.channels": [8, 16]}
    optimiser = {**config["optimizer"], "lr": 0.5}
    assert changes_of({**config, "optimizer": optimiser}, tiny) == {"optimiser.lr": 0.5}
    assert changes_of({**config, "optimizer": {"kind": "sgd", "momentum": 0.5}}, tiny) == {
        "optimiser.kind": "sgd",
        "optimiser.momentum": 0.5,
    }
    for epochs, found in (("@epochs", {}), (3, {"training.epochs": 3}), ("null", {"training.epochs": None})):
        assert changes_of({**config, "train": {"trainer": {"max_epochs": epochs}}}, tiny) == found
    assert changes_of({**config, "train": None, "optimizer": "@other"}, tiny) == {}


def test_a_training_tells_its_epochs(caplog: pytest.LogCaptureFixture) -> None:
    """In the log of MONAI's door: Dice where whole volumes were predicted, and the time that is left."""
    caplog.set_level(logging.INFO, logger="volseg.bundle.training")
    start = {"event": "start", "device": "cpu", "arithmetic": "bf16, channels last"}
    tell(start)
    tell({"event": "epoch", "epoch": 3, "epochs": 9, "loss": 0.25, "dice": 0.875, "left": 125.0})
    tell({"event": "epoch", "epoch": 4, "epochs": 9, "loss": 0.2, "dice": None, "left": None})
    tell({"event": "note", "text": "look at 100 % of it"})
    tell({"event": "saved"})
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "cpu, bf16, channels last"),
        ("INFO", "epoch 3 of 9: loss 0.2500, Dice 0.8750, 2 min left"),
        ("INFO", "epoch 4 of 9: loss 0.2000"),
        ("WARNING", "look at 100 % of it"),
    ]


@pytest.mark.parametrize(
    ("image", "mask"),
    [("a.png", "p/a.png"), ("a.TIF", "p/a.tif"), ("a.nii", "p/a.nii.gz"), ("a.mha", "p/a.nii.gz"), ("a", "p/a.nii.gz")],
)
def test_a_picture_has_a_picture_for_its_mask(image: str, mask: str) -> None:
    """And everything else a NIfTI."""
    assert mask_name(Case("p/a", (Path("in/p", image),))).as_posix() == mask
