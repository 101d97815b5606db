"""What the configurations of training and of inference have in common: parts, as MONAI's configurations write them."""

from __future__ import annotations

from typing import Any

from volseg.engine.compose import Part, decision_part, network_part, preparation_part
from volseg.recipe import Recipe

# not installed is the one mistake that volseg itself cannot tell
_INSTALLED = (
    "$__import__('sys').exit('error: this bundle needs volseg; pip install volseg') "
    "if __import__('importlib.util').util.find_spec('volseg') is None else None"
)
_DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"


def beginning(recipe: Recipe) -> dict[str, Any]:
    """The ids every configuration begins with: where things are, and the network."""
    return {
        "bundle_root": ".",
        "data_dir": None,
        "dataset_dir": "@data_dir",
        "output_dir": None,
        "device": _DEVICE,
        "network_def": network_part(recipe),
    }


def first_steps(config: str) -> dict[str, Any]:
    """Packages, paths and settings are judged before anything is built; data are not looked at."""
    return {
        "checked": {
            "_target_": "volseg.bundle.workflow.begin",
            "config": config,
            "bundle_root": "@bundle_root",
            "metadata": "@_meta_",
        },
        "initialize": [_INSTALLED, "$@checked"],
    }


def predicting_parts(recipe: Recipe) -> dict[str, Any]:
    """From a stored image to a mask on its own grid."""
    inference = recipe.inference
    return {
        "preparation": preparation_part(recipe),
        "decision": decision_part(recipe),
        "labels": {"_target_": "volseg.labels.Labels.from_dict", "stored": _labels(recipe)},
        "turns": turns_part(recipe),
        "order": recipe.inference.order,
        "clean_up": clean_up_parts(recipe),
        "inferer": {
            "_target_": "volseg.inference.overlap_tile.OverlapTileInferer",
            "max_memory": inference.max_memory,
            "tile": None if inference.tile is None else list(inference.tile),
            "blend": windows_part(recipe),
            "precision": recipe.inference.precision,
        },
    }


def _labels(recipe: Recipe) -> dict[str, object]:
    """Names and values; colours are left out, since MONAI takes ``#`` in any text for a border between ids."""
    return {key: value for key, value in recipe.labels.to_dict().items() if key != "colours"}


def windows_part(recipe: Recipe) -> Part | bool:
    """Overlapping windows instead of exact pieces."""
    inference = recipe.inference
    if inference.blend is None:
        return False
    return {
        "_target_": "volseg.inference.windows.Windows",
        "mode": inference.blend,
        "overlap": inference.overlap,
        "outside": inference.outside,
    }


def turns_part(recipe: Recipe) -> Part | list[Any]:
    """The symmetries that a prediction is averaged over."""
    tta, augmentation = recipe.inference.tta, recipe.augmentation
    if tta is None:
        return []
    # a network of slices is turned within them
    return {
        "_target_": "volseg.inference.tta.turns",
        "ndim": recipe.spatial_dims,
        "flips": [axis for axis in augmentation.flips if axis < recipe.spatial_dims],
        "planes": [list(plane) for plane in augmentation.right_angles] if tta == "flips+rotations" else [],
    }


def clean_up_parts(recipe: Recipe) -> dict[str, Part]:
    """What is done to each structure of a mask after it was decided."""
    return {
        name: {"_target_": "volseg.recipe.postprocessing.Postprocessing", **steps.model_dump(mode="json")}
        for name, steps in recipe.postprocessing.items()
    }
