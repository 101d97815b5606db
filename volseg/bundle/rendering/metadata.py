"""``configs/metadata.json``: what a bundle says of itself, as MONAI's schema wants it."""

from __future__ import annotations

from typing import Any

from volseg.bundle.rendering.licences import UNSTATED
from volseg.bundle.rendering.packages import MONAI, NUMPY, REQUIRED, TORCH
from volseg.recipe import Recipe

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_STRINGS = (
    "schema",
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "task",
    "description",
    "authors",
    "copyright",
)


def metadata(recipe: Recipe, results: dict[str, Any] | None = None) -> dict[str, Any]:
    """The metadata of a recipe's bundle.

    Args:
        recipe: the recipe.
        results: an evaluation, as ``volseg evaluate`` writes it.
    """
    card = recipe.bundle
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "version": card.version,
        "changelog": dict(card.changelog) or {card.version: "first version"},
        "monai_version": MONAI,
        "pytorch_version": TORCH,
        "numpy_version": NUMPY,
        "required_packages_version": dict(REQUIRED),
        "supported_apps": {},
        "name": bundle_name(recipe),
        "task": card.task,
        "description": card.description,
        "authors": card.authors,
        "copyright": card.copyright,
        "license": card.license or UNSTATED,
        "data_source": card.data_source or "not stated",
        "data_type": recipe.image.modality,
        "image_classes": f"{', '.join(recipe.image.channels)} ({recipe.image.modality})",
        "label_classes": "; ".join(f"{value}: {name}" for name, value in _values(recipe).items()),
        "pred_classes": "; ".join(f"{i}: {name}" for i, name in enumerate(recipe.class_names)),
        "intended_use": card.intended_use,
        "references": list(card.citations),
        "network_data_format": _network_data(recipe),
    }
    if results is not None:
        found["eval_metrics"] = {
            "mean_dice": results["mean"]["dice"],
            **{f"dice {name}": told["dice"]["mean"] for name, told in results["structures"].items()},
        }
    return found


def bundle_name(recipe: Recipe) -> str:
    """What the bundle is called."""
    return recipe.bundle.name or "segmentation"


def sizes_in_words(recipe: Recipe) -> list[str | int]:
    """The sizes that the network takes, as MONAI writes them: ``"*"``, ``"16*n"``, or one number.

    MONAI tries them out with one ``n`` for all axes; a network whose sizes are not multiples names its patch.
    """
    words: list[str | int] = []
    for axis, size in zip(recipe.shape.axes, recipe.training.patch, strict=True):
        if axis.lost or axis.remainder or axis.smallest > axis.stride:
            words.append(int(axis.next_valid(size)))
        else:
            words.append("*" if axis.stride == 1 else f"{axis.stride}*n")
    return words


def metadata_problems(found: Any) -> list[str]:
    """What MONAI's schema, and the model zoo's checks beyond it, would object to.

    >>> metadata_problems({"schema": 1})[0]
    'schema is no text'
    """
    if not isinstance(found, dict):
        return ["it is no mapping"]
    problems = [f"{key} is {'no text' if key in found else 'missing'}" for key in _STRINGS if not _text(found, key)]
    problems += [
        f"{key} is {'no mapping' if key in found else 'missing'}"
        for key in ("required_packages_version", "changelog")
        if not isinstance(found.get(key), dict)
    ]
    if isinstance(found.get("changelog"), dict) and found.get("version") not in found["changelog"]:
        problems.append("changelog says nothing of this version")
    if isinstance(found.get("required_packages_version"), dict) and "volseg" not in found["required_packages_version"]:
        problems.append("required_packages_version does not name volseg")
    wrong = [
        key for key in ("data_source", "data_type", "image_classes", "label_classes", "pred_classes") if key in found
    ]
    problems += [f"{key} is no text" for key in wrong if not _text(found, key)]
    if "references" in found and not _list_of(found["references"], str):
        problems.append("references is no list of texts")
    return problems + _format_problems(found.get("network_data_format"))


def _network_data(recipe: Recipe) -> dict[str, Any]:
    size = sizes_in_words(recipe)
    # a network that loses its margin gives less than it takes
    given = [
        int(word) - 2 * axis.lost if isinstance(word, int) else word
        for word, axis in zip(size, recipe.shape.axes, strict=True)
    ]
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": recipe.image.modality,
        "num_channels": recipe.in_channels,
        "spatial_shape": size,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": bool(any(recipe.shape.lost)),
        "channel_def": {str(i): name for i, name in enumerate(recipe.image.channels)},
    }
    prediction = {
        "type": "image",
        "format": "segmentation",
        "num_channels": recipe.out_channels,
        "spatial_shape": given,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": bool(any(recipe.shape.lost)),
        "channel_def": {str(i): name for i, name in enumerate(recipe.class_names)},
    }
    return {"inputs": {"image": image}, "outputs": {"pred": prediction}}


def _values(recipe: Recipe) -> dict[str, int]:
    return {"background": 0, **{label.name: label.value for label in recipe.labels.structures}}


def _format_problems(found: Any) -> list[str]:
    if not isinstance(found, dict):
        return ["network_data_format is missing"]
    problems = []
    for side, name in (("inputs", "image"), ("outputs", "pred")):
        told = found.get(side)
        where = f"network_data_format.{side}.{name}"
        tensor = told.get(name) if isinstance(told, dict) else None
        if not isinstance(tensor, dict):
            problems.append(f"{where} is missing")
            continue
        kinds: dict[str, Any] = {"type": str, "format": str, "num_channels": int, "dtype": str}
        problems += [
            f"{where}.{key} is wrong or missing"
            for key, kind in kinds.items()
            if not isinstance(tensor.get(key), kind) or isinstance(tensor.get(key), bool)
        ]
        if not _list_of(tensor.get("spatial_shape"), (str, int)):
            problems.append(f"{where}.spatial_shape is no list of sizes")
        if not _list_of(tensor.get("value_range"), (int, float)):
            problems.append(f"{where}.value_range is no list of numbers")
    return problems


def _text(found: dict[str, Any], key: str) -> bool:
    return isinstance(found.get(key), str) and bool(found[key])


def _list_of(value: Any, kind: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) and not isinstance(item, bool) for item in value)
