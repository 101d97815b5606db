from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from volseg.recipe import Recipe, json_schema, load_recipe, recipe_reference
from volseg.recipe.anatomy import annotation_of, keys_of, variants
from volseg.recipe.section import Section


def _fields(section: type[Section]) -> Iterator[tuple[str, Any]]:
    for name, field in keys_of(section).items():
        yield f"{section.__name__}.{name}", field
        for below in set(variants(annotation_of(field)).values()):
            yield from _fields(below)


def test_every_key_is_described() -> None:
    """No key of any section is without a sentence on what it means."""
    fields = dict(_fields(Recipe))
    assert len(fields) > 100
    assert not [name for name, field in fields.items() if not field.description]


def test_the_reference_has_every_key_with_its_default(short: dict[str, Any]) -> None:
    """Whatever a recipe can hold stands in the reference, in a table row of four cells."""
    reference = recipe_reference()
    rows = [line for line in reference.splitlines() if line.startswith("| `")]
    assert all(line.replace("\\|", "").count("|") == 5 for line in rows)
    documented = {line.split("`")[1]: line for line in reversed(rows)}  # of several kinds the first
    full = Recipe.from_dict(short).changed(
        {"weight_map": {}, "tracking": {}, "augmentation.spatial.elastic": {}, "augmentation.intensity.bias_field": {}}
    )
    for key in _leaves(full.to_dict()):
        if not key.startswith(("labels.values.", "postprocessing")):
            assert key in documented, key
    for section, name in [("optimiser", "momentum"), ("normalisation", "clip"), ("network", "variant")]:
        assert f"{section}.{name}" in documented
    assert documented["training.epochs"] == "| `training.epochs` | a whole number of at least 1 | 100 | epochs |"
    assert "postprocessing.NAME.largest_component" in documented
    assert "none or 'batch'" not in documented["network.norm"]
    assert "none, 'batch' or 'instance'" in documented["network.norm"]
    assert documented["image.axcodes"].split("|")[3].strip() == "RAS in 3-D, none in 2-D"


def test_the_documented_defaults_are_the_real_ones(short: dict[str, Any]) -> None:
    """The default in the table is what the key holds where nobody wrote it."""
    defaults = {
        line.split("`")[1]: line.split(" | ")[-2].strip()
        for line in reversed(recipe_reference().splitlines())  # of several kinds the first
        if line.startswith("| `") and "optimiser.lr" not in line
    }
    recipe = Recipe.from_dict(short).to_dict()
    for key, value in (("training.batch", 2), ("folds.number", 5), ("loss.kind", "dice_energy"), ("network.strides", 2),
                       ("augmentation.spatial.rotation", 15.0), ("inference.blend", None)):  # fmt: skip
        inner: Any = recipe
        for part in key.split("."):
            inner = inner[part]
        assert inner == value
        assert defaults[key] == {None: "none", "dice_energy": "'dice_energy'"}.get(value, str(value))


def test_the_json_schema_is_one(short: dict[str, Any]) -> None:
    """The schema is plain JSON, closed to unknown keys, and knows the keys as they are written."""
    schema = json.loads(json.dumps(json_schema()))
    assert schema["$schema"].startswith("https://json-schema.org/")
    assert schema["additionalProperties"] is False
    assert set(schema["properties"]) == set(Recipe.from_dict(short).to_dict())
    assert all("description" in prop or "$ref" in prop for prop in schema["properties"].values())
    assert schema["$defs"]["Inference"]["properties"]["max_memory"]["anyOf"][0]["type"] == "string"


def test_a_recipe_needs_no_torch(configs: Any) -> None:
    """Loading and checking a recipe imports neither torch nor monai."""
    code = (
        "import sys; from volseg.recipe import load_recipe, recipe_reference; "
        f"load_recipe({str(configs / 'heart_unet3d.yaml')!r}); recipe_reference(); "
        "assert not {'torch', 'monai', 'ignite'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert load_recipe(configs / "heart_unet3d.yaml").bundle.name == "heart_unet3d"


def _leaves(data: dict[str, Any], at: str = "") -> Iterator[str]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{at}{key}.")
        else:
            yield f"{at}{key}"
