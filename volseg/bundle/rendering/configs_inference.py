"""``configs/inference.json`` and ``configs/evaluate.json``."""

from __future__ import annotations

from typing import Any

from volseg.bundle.ensemble import member_name
from volseg.bundle.rendering.parts import beginning, first_steps, predicting_parts
from volseg.recipe import Recipe


def inference_config(recipe: Recipe, members: int = 0) -> dict[str, Any]:
    """Masks for a folder of images, one for each, on its own grid.

    Args:
        recipe: the recipe.
        members: of an ensemble, beside the first.
    """
    return {
        **_predicting(recipe),
        "dataset": {
            "_target_": "volseg.bundle.predicting.Images",
            "data_dir": "@dataset_dir",
            "channels": recipe.in_channels,
            "spacing_range": list(recipe.image.allowed_spacing),
        },
        **_evaluator(members),
        **first_steps("inference"),
        "run": ["$@masks.judge(@dataset, @weights)", "$@evaluator.run()", "$@masks.finish()"],
        "inference": "%run",
    }


def evaluate_config(recipe: Recipe, members: int = 0, *, multi_gpu: bool = False) -> dict[str, Any]:
    """Masks for cases with a truth, and the measures of all of them.

    Args:
        recipe: the recipe.
        members: of an ensemble, beside the first.
        multi_gpu: each process that torchrun starts predicts its share of the cases.
    """
    folds = recipe.folds
    dataset: dict[str, Any] = {
        "_target_": "volseg.bundle.predicting.Images",
        "data_dir": "@dataset_dir",
        "channels": recipe.in_channels,
        "spacing_range": list(recipe.image.allowed_spacing),
        "truths": True,
        "fold": "@fold",
        "folds": "@folds",
    }
    if multi_gpu:
        dataset |= {"rank": "@rank", "world": "@world"}
    config = {
        **_predicting(recipe),
        # the whole folder, or the cases that were held out in this fold
        "fold": None,
        "folds": {
            "number": folds.number,
            "seed": folds.seed,
            "group_by": folds.group_by,
            "stratify": folds.stratify,
        },
        "dataset": dataset,
        **_evaluator(members),
        "measure": {
            "_target_": "volseg.bundle.evaluating.Measure",
            "masks": "@masks",
            "dataset": "@dataset",
            "labels": "@labels",
            "instances": recipe.labelling.instances,
            "tolerance": 2.0,
        },
        **first_steps("multi_gpu_evaluate" if multi_gpu else "evaluate"),
        "run": [
            "$@masks.judge(@dataset, @weights)",
            "$@evaluator.run()",
            "$@measure.write()",
            "$@masks.finish()",
        ],
        "evaluating": "%run",
    }
    if multi_gpu:
        config |= {
            "rank": "$int(__import__('os').environ.get('RANK', '0'))",
            "world": "$int(__import__('os').environ.get('WORLD_SIZE', '1'))",
            "device": "$torch.device('cuda', int(__import__('os').environ.get('LOCAL_RANK', '0'))) "
            "if torch.cuda.is_available() else torch.device('cpu')",
        }
    return config


def _predicting(recipe: Recipe) -> dict[str, Any]:
    return {
        **beginning(recipe),
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "network": "$@network_def.to(@device)",
        **predicting_parts(recipe),
    }


def _evaluator(members: int) -> dict[str, Any]:
    config = _single_evaluator()
    if members:
        paths = [f"$@bundle_root + '/{member_name(number)}'" for number in range(1, members + 1)]
        config["weights"]["members"] = paths
        config["predict"]["members"] = "$@weights.members"
    return config


def _single_evaluator() -> dict[str, Any]:
    return {
        "dataloader": {"_target_": "volseg.bundle.predicting.OneByOne", "dataset": "@dataset"},
        "weights": {"_target_": "volseg.bundle.predicting.WeightsLoader", "path": "@ckpt_path", "network": "@network"},
        "masks": {
            "_target_": "volseg.bundle.predicting.Masks",
            "output_dir": "@output_dir",
            "labels": "@labels",
        },
        "handlers": ["@weights", "@masks"],
        "predict": {
            "_target_": "volseg.bundle.predicting.PredictCase",
            "preparation": "@preparation",
            "decision": "@decision",
            "labels": "@labels",
            "turns": "@turns",
            "order": "@order",
            "steps": "@clean_up",
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            # pieces go from the network to the decision as they come: MONAI's own step holds all logits at once
            "iteration_update": "@predict",
            "val_handlers": "@handlers",
            "decollate": False,
        },
    }
