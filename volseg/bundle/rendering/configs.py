"""The configurations of a bundle, by name, and the overlays over that of training."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from volseg.bundle.rendering.configs_inference import evaluate_config, inference_config
from volseg.bundle.rendering.configs_train import RUN_TIME, train_config
from volseg.errors import UsageError
from volseg.recipe import Recipe

__all__ = ["CONFIGS", "OVERLAYS", "RUN_TIME", "config_named", "overlay_config", "rendered_configs", "written"]

_LIST = re.compile(r"\[\n((?:\s+[^\s\[\]{}][^\[\]{}\n]*\n)+)\s*\]")
_SHORT = 100

CONFIGS = ("train", "evaluate", "inference", "multi_gpu_train", "multi_gpu_evaluate")

#: the overlays that every bundle brings, as changes of recipe keys; ``configs/overlays/NAME.yaml`` say the same
OVERLAYS: Mapping[str, Mapping[str, Any]] = {
    "gpu_amp": {
        "training.precision": "fp16",
        "training.channels_last": True,
        "training.cache": "device",
        "inference.precision": "fp16",
    },
    "mlflow": {"tracking.kind": "mlflow"},
    "multi_gpu": {"training.sync_batch_norm": True, "training.workers": 4},
    "paper_sgd": {
        "optimiser.kind": "sgd",
        "optimiser.lr": 0.01,
        "optimiser.momentum": 0.99,
        "optimiser.nesterov": False,
        "optimiser.weight_decay": 0,
        "training.batch": 1,
    },
    "smoke": {
        "training.epochs": 1,
        "training.steps_per_epoch": 2,
        "training.validate_every": 1,
        "training.early_stop": None,
        "training.workers": 0,
        "optimiser.warmup": 0,
        "folds.number": 2,
    },
}


def config_named(recipe: Recipe, name: str, members: int = 0) -> dict[str, Any]:
    """One of the configurations.

    Args:
        recipe: the recipe.
        name: one of :data:`CONFIGS`.
        members: of an ensemble, beside the first.
    """
    if name == "train":
        return train_config(recipe)
    if name == "multi_gpu_train":
        # gradients are averaged over all processes, and so should be the statistics of norms
        return train_config(recipe, name=name) | {"sync_batch_norm": True}
    if name == "inference":
        return inference_config(recipe, members)
    if name in ("evaluate", "multi_gpu_evaluate"):
        return evaluate_config(recipe, members, multi_gpu=name.startswith("multi"))
    raise UsageError(f"no configuration is called {name!r}", mend=", ".join(CONFIGS))


def overlay_config(recipe: Recipe, name: str) -> dict[str, Any]:
    """What an overlay changes in the configuration of training, for MONAI's list of configuration files."""
    before, after = train_config(recipe), train_config(recipe.changed(OVERLAYS[name], where=f"overlay {name}"))
    return dict(_changed(before, after, ""))


def rendered_configs(recipe: Recipe, members: int = 0) -> dict[str, bytes]:
    """Every configuration and overlay of a recipe's bundle, by its path; of an ensemble with further members."""
    files = {f"configs/{name}.json": written(config_named(recipe, name, members)) for name in CONFIGS}
    return files | {f"configs/overlays/{name}.json": written(overlay_config(recipe, name)) for name in OVERLAYS}


def written(config: Mapping[str, Any]) -> bytes:
    """A configuration as a file: the same content gives the same bytes."""
    text = json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False)
    # short lists of plain values on a line each
    return (_LIST.sub(_on_a_line, text) + "\n").encode()


def _on_a_line(found: re.Match[str]) -> str:
    line = "[" + ", ".join(part.strip().rstrip(",") for part in found[1].strip().splitlines()) + "]"
    return line if len(line) <= _SHORT else found[0]


def _changed(before: Mapping[str, Any], after: Mapping[str, Any], at: str) -> list[tuple[str, Any]]:
    """Ids and values, a part as a whole where its arguments are others."""
    found: list[tuple[str, Any]] = []
    for name, value in after.items():
        key = f"{at}#{name}" if at else name
        old = before.get(name)
        if old == value and type(old) is type(value):
            continue
        if isinstance(old, Mapping) and isinstance(value, Mapping) and set(old) == set(value):
            found += _changed(old, value, key)
        else:
            found.append((key, value))
    return found
