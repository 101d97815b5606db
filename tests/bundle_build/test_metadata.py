"""Metadata: what MONAI's schema and its own programs ask of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from volseg.bundle.rendering.configs import written
from volseg.bundle.rendering.metadata import metadata, metadata_problems, sizes_in_words
from volseg.recipe import Recipe, load_recipe

_RECIPES = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", _RECIPES, ids=lambda path: path.stem)
def test_no_problems(path: Path) -> None:
    """The metadata of every recipe are as MONAI wants them."""
    assert metadata_problems(metadata(load_recipe(path))) == []


@pytest.mark.parametrize("path", _RECIPES, ids=lambda path: path.stem)
def test_schema(path: Path, real_data: Path) -> None:
    """MONAI's own schema holds for the metadata of every recipe."""
    schema = json.loads((real_data / "monai" / "meta_schema_20240725.json").read_text())
    jsonschema.validate(metadata(load_recipe(path)), schema)


def _changed(found: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """The metadata with the value at a dotted path, or without it where the value is ``...``."""
    *above, last = path.split(".")
    here = found
    for step in above:
        here = here[step]
    if value is ...:
        del here[last]
    else:
        here[last] = value
    return found


IMAGE, PRED = "network_data_format.inputs.image", "network_data_format.outputs.pred"


@pytest.mark.parametrize(
    ("path", "value", "problems"),
    [
        ("version", 1, ["version is no text", "changelog says nothing of this version"]),
        ("task", ..., ["task is missing"]),
        ("task", "", ["task is no text"]),
        ("changelog", {}, ["changelog says nothing of this version"]),
        ("changelog", "first", ["changelog is no mapping"]),
        ("changelog", ..., ["changelog is missing"]),
        ("required_packages_version", {}, ["required_packages_version does not name volseg"]),
        ("required_packages_version", [], ["required_packages_version is no mapping"]),
        ("required_packages_version", ..., ["required_packages_version is missing"]),
        ("data_source", 3, ["data_source is no text"]),
        ("data_type", "", ["data_type is no text"]),
        ("image_classes", None, ["image_classes is no text"]),
        ("label_classes", [], ["label_classes is no text"]),
        ("pred_classes", {}, ["pred_classes is no text"]),
        ("pred_classes", "1 is a heart", []),
        ("references", ["a paper", 3], ["references is no list of texts"]),
        ("references", "a paper", ["references is no list of texts"]),
        ("references", ["a paper"], []),
        ("network_data_format", ..., ["network_data_format is missing"]),
        ("network_data_format", {"inputs": {}, "outputs": 1}, [f"{IMAGE} is missing", f"{PRED} is missing"]),
        (f"{IMAGE}.type", ..., [f"{IMAGE}.type is wrong or missing"]),
        (f"{IMAGE}.format", 3, [f"{IMAGE}.format is wrong or missing"]),
        (f"{PRED}.dtype", None, [f"{PRED}.dtype is wrong or missing"]),
        (f"{PRED}.num_channels", True, [f"{PRED}.num_channels is wrong or missing"]),
        (f"{PRED}.num_channels", "two", [f"{PRED}.num_channels is wrong or missing"]),
        (f"{IMAGE}.spatial_shape", [8, True], [f"{IMAGE}.spatial_shape is no list of sizes"]),
        (f"{IMAGE}.spatial_shape", "8", [f"{IMAGE}.spatial_shape is no list of sizes"]),
        (f"{IMAGE}.spatial_shape", ["*", 8], []),
        (f"{PRED}.value_range", ["0"], [f"{PRED}.value_range is no list of numbers"]),
        (f"{PRED}.value_range", [0, 1.5], []),
    ],
)
def test_problems(path: str, value: object, problems: list[str], tiny: Recipe) -> None:
    """What is wrong is named, once, and nothing else is."""
    assert metadata_problems(_changed(metadata(tiny), path, value)) == problems


def test_no_metadata_at_all() -> None:
    """A list is none."""
    assert metadata_problems([]) == ["it is no mapping"]


def test_schema_agrees_on_what_is_required(tiny: Recipe, real_data: Path) -> None:
    """Whatever key MONAI's schema requires, its absence is a problem here as well."""
    schema = json.loads((real_data / "monai" / "meta_schema_20240725.json").read_text())
    for key in schema["required"]:
        found = metadata(tiny)
        del found[key]
        assert metadata_problems(found), key


def test_sizes() -> None:
    """Sizes are as MONAI writes them: multiples, anything, or the one size of a network that loses its margin."""
    configs = _RECIPES[0].parent
    assert sizes_in_words(load_recipe(configs / "hippocampus_unet3d.yaml")) == ["8*n", "8*n", "8*n"]
    assert sizes_in_words(load_recipe(configs / "em_unet2d.yaml")) == [348, 348]


def test_json_is_compact(tiny: Recipe) -> None:
    """A list of numbers stands on a line, and the text is still the same data."""
    config = {"a": [1, 2.5, None, "x, y"], "b": [{"c": []}, [1]], "d": ["$f([1])"], "e": ["$g(1)", {"_target_": "x"}]}
    text = written(config).decode()
    assert json.loads(text) == config
    assert '"a": [1, 2.5, null, "x, y"]' in text
