"""Metadata: what MONAI's schema and its own programs ask of them."""

from __future__ import annotations

import json
from pathlib import Path

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


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("version", 1, "version is no text"),
        ("task", None, "task is missing"),
        ("changelog", {}, "changelog says nothing of this version"),
        ("required_packages_version", {}, "required_packages_version does not name volseg"),
        ("network_data_format", {"inputs": {}}, "network_data_format.inputs.image is missing"),
    ],
)
def test_problems(key: str, value: object, problem: str, tiny: Recipe) -> None:
    """What is wrong is named."""
    found = metadata(tiny)
    if value is None:
        del found[key]
    else:
        found[key] = value
    assert problem in metadata_problems(found)


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
