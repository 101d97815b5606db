from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from volseg.bundle.rendering.card import model_card
from volseg.recipe import Recipe

KEYS: dict[str, Any] = {
    "labels.values": {"spleen": 1},
    "image": {"spatial_dims": 3, "modality": "CT"},
    "training.patch": [32, 32, 32],
    "bundle": {"name": "spleen_ct", "data_source": "Scans: 'ours', and \"theirs\""},
}
RESULTS = {
    "count": {"cases": 4, "patients": 3},
    "mean": {"dice": 0.91},
    "structures": {"spleen": {"dice": {"mean": 0.91, "low": 0.88, "high": 0.93, "n": 4}}},
}


def front_matter(card: str) -> dict[str, Any]:
    """What Hugging Face reads of a card."""
    found = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    assert found is not None
    told = yaml.safe_load(found[1])
    assert isinstance(told, dict)
    return told


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("CC-BY-NC-SA-4.0", {"license": "cc-by-nc-sa-4.0"}),
        ("LicenseRef-ours", {"license": "other", "license_name": "licenseref-ours"}),
        (None, {"license": "unknown"}),
    ],
)
def test_the_card_is_one_of_hugging_face(licence: str | None, expected: dict[str, str]) -> None:
    """Library, task, tags and the licence under the hub's own identifiers, whatever the words hold."""
    recipe = Recipe.from_dict({**KEYS, "bundle": {**KEYS["bundle"], "license": licence}})
    told = front_matter(model_card(recipe))
    assert told["library_name"] == "monai"
    assert told["pipeline_tag"] == "image-segmentation"
    assert {"monai", "medical", "ct"} <= set(told["tags"])
    assert {key: told[key] for key in expected} == expected
    assert told["license"] != "other" or told["license_link"].startswith("https://")
    assert "model-index" not in told


def test_the_card_of_an_exported_bundle_runs_without_volseg() -> None:
    """It says what has to be installed, and the one command."""
    card = model_card(Recipe.from_dict(KEYS), vendored=True)
    told = card[card.index("## How to run it") : card.index("## Licence")]
    assert "With MONAI, pytorch-ignite, nibabel and fire installed" in told
    assert "python -m monai.bundle run inference --config_file $B/configs/inference.json" in told
    assert "--dataset_dir /path/to/images --output_dir $PWD/out" in told
    assert "volseg predict" not in card
    assert "takes files that volseg refuses" in told


def test_results_are_a_model_index() -> None:
    """What was measured stands where the hub looks for it, with the data it was measured on."""
    told = front_matter(model_card(Recipe.from_dict(KEYS), RESULTS))
    assert told["metrics"] == ["dice"]
    [entry] = told["model-index"]
    [result] = entry["results"]
    assert entry["name"] == "spleen_ct"
    assert result["task"]["type"] == "image-segmentation"
    assert result["dataset"]["name"] == KEYS["bundle"]["data_source"]
    [metric] = result["metrics"]
    assert (metric["type"], metric["value"]) == ("dice", 0.91)


def test_the_card_of_an_imported_network_claims_no_training() -> None:
    """Who did not train a network says so."""
    network = {"kind": "monai_basic_unet"}
    card = model_card(Recipe.from_dict({**KEYS, "network": network}))
    assert "By its makers, not by volseg" in card
    assert "epochs of batches" not in card


def test_the_card_says_of_which_cases_its_figures_are() -> None:
    """Those of a fold are measured again by a command; those of a cross-validation not with the bundle itself."""
    recipe = Recipe.from_dict(KEYS)
    second = model_card(recipe, {**RESULTS, "fold": 2})
    assert "--fold 2\n" in second
    assert "never saw the cases that the results are told of" in second
    crossed = model_card(recipe, {**RESULTS, "out_of_fold": True})
    assert "monai.bundle run evaluating" not in crossed
    assert "volseg train -b spleen_ct -d /path/to/data -o run --fold all" in crossed
    assert "together they have seen them all" in crossed
    elsewhere = model_card(recipe, RESULTS)
    assert "--fold" not in elsewhere
    assert "never saw the cases that" not in elsewhere
