"""The settings of ``configs/train.json``: which recipe key each of them is, there and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from volseg.recipe import Recipe

#: settings at the top level of a configuration of training, and the recipe keys they are
SETTINGS: Mapping[str, str] = {
    "epochs": "training.epochs",
    "batch_size": "training.batch",
    "steps_per_epoch": "training.steps_per_epoch",
    "patch_size": "training.patch",
    "foreground": "training.foreground",
    "seed": "training.seed",
    "precision": "training.precision",
    "channels_last": "training.channels_last",
    "sync_batch_norm": "training.sync_batch_norm",
    "cache": "training.cache",
    "workers": "training.workers",
    "val_interval": "training.validate_every",
    "early_stop": "training.early_stop",
    "keep_checkpoints": "training.keep_checkpoints",
    "time_limit": "training.time_limit",
    "schedule": "optimiser.schedule",
    "schedule_power": "optimiser.power",
    "warmup": "optimiser.warmup",
    "gradient_clip": "optimiser.gradient_clip",
    "accumulate": "optimiser.accumulate",
    "ema": "optimiser.ema",
    "val_precision": "inference.precision",
    "max_memory": "inference.max_memory",
    "folds": "folds",
    "tracking": "tracking",
}
# components whose arguments are recipe keys of the same name
_SECTIONS = {"network_def": "network", "optimizer": "optimiser"}
# what such a component has beside
_DERIVED = {"_target_", "_mode_", "network", "in_channels", "out_channels"}


def said(value: Any) -> Any:
    """What a person means who types JSON's words on MONAI's command line, which takes them for text.

    >>> said("false"), said("null"), said("bf16"), said(3)
    (False, None, 'bf16', 3)
    """
    words = {"true": True, "false": False, "null": None, "none": None}
    return words.get(value.lower(), value) if isinstance(value, str) else value


def settings_of(recipe: Recipe) -> dict[str, Any]:
    """The settings of a recipe."""
    data = recipe.to_dict()
    found: dict[str, Any] = {}
    for name, key in SETTINGS.items():
        value: Any = data
        for part in key.split("."):
            value = None if value is None else value.get(part)
        found[name] = value
    return found


def changes_of(config: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """The recipe keys that a configuration of training has changed from what the recipe says, dotted.

    >>> from volseg.recipe import Recipe
    >>> keys = {"labels.values": {"cell": 1}, "image.spatial_dims": 2, "training.patch": [64, 64]}
    >>> changes_of({"epochs": 3, "batch_size": 2}, Recipe.from_dict(keys))
    {'training.epochs': 3}
    """
    before, data = settings_of(recipe), recipe.to_dict()
    given = {name: said(config[name]) for name in SETTINGS if name in config}
    changes = {SETTINGS[name]: value for name, value in given.items() if value != before[name]}
    for name, section in _SECTIONS.items():
        component = config.get(name)
        if not isinstance(component, Mapping):
            continue
        given = {key: said(value) for key, value in component.items() if key not in _DERIVED}
        if name == "network_def":
            given.setdefault("kind", str(component.get("_target_", "")).rsplit(".", 1)[-1].lower())
        known = data[section]
        # another kind has defaults of its own: everything counts then
        other = given.get("kind") != known.get("kind")
        changed = {key: value for key, value in given.items() if other or key not in known or known[key] != value}
        changes |= {f"{section}.{key}": value for key, value in changed.items()}
    trainer = config.get("train", {}).get("trainer", {}) if isinstance(config.get("train"), Mapping) else {}
    epochs = trainer.get("max_epochs") if isinstance(trainer, Mapping) else None
    if epochs is not None and epochs != "@epochs":
        changes["training.epochs"] = said(epochs)
    return changes
