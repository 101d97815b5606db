"""Rendering: the same recipe and weights give the same bytes, and nothing is written over that is not a bundle's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from volseg.bundle.rendering.build import RESULTS, build_bundle, render, short_results
from volseg.bundle.rendering.configs import CONFIGS, OVERLAYS, config_named, overlay_config
from volseg.bundle.state_dict import read_weights
from volseg.bundle.storage.manifest import SAFETENSORS, STATE, check_manifest
from volseg.bundle.weights import halved
from volseg.errors import BundleError
from volseg.recipe import Recipe, load_recipe
from volseg.recipe.yaml_text import read_yaml

_ROOT = Path(__file__).parents[2]
_COMMITTED = sorted(folder for folder in (_ROOT / "bundles").iterdir() if folder.is_dir())
GOLDEN = {"golden/image.nii", "golden/mask.nii"}
_RESULTS = {
    "count": {"scored": 4, "patients": 2},
    "mean": {"dice": 0.9123},
    "structures": {
        "myocardium": {
            "dice": {"mean": 0.91, "low": 0.9, "high": 0.92, "n": 4, "omitted": 0},
            "hd95": {"mean": 3.5, "low": None, "high": None, "n": 4, "omitted": 0},
        }
    },
    "training": "12 minutes on two cores.",
}


def _bytes(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_layout(trained: Path) -> None:
    """A bundle has the files that MONAI's model zoo and volseg look for."""
    configs = {f"configs/{name}.json" for name in (*CONFIGS, "metadata")}
    overlays = {f"configs/overlays/{name}.json" for name in ("gpu_amp", "mlflow", "multi_gpu", "paper_sgd", "smoke")}
    rest = {"configs/recipe.yaml", "configs/logging.conf", "docs/README.md", "docs/data_license.txt", "LICENSE"}
    assert set(_bytes(trained)) == configs | overlays | rest | {"manifest.json", STATE, SAFETENSORS, *GOLDEN}


def test_same_bytes(tiny: Recipe, trained: Path, weights_file: Path, tmp_path: Path) -> None:
    """Rendering again, elsewhere and over what is there, changes no byte, and the manifest holds."""
    before = _bytes(trained)
    again = build_bundle(tiny, tmp_path / "again", weights=weights_file)
    assert _bytes(again) == before
    build_bundle(tiny, again)
    assert _bytes(again) == before
    check_manifest(again)


@pytest.mark.parametrize("folder", _COMMITTED, ids=lambda folder: folder.name)
def test_committed_is_rendered(folder: Path) -> None:
    """What is committed is what the recipe in configs/ renders, to the byte."""
    weights = read_weights(folder / SAFETENSORS) if (folder / SAFETENSORS).exists() else None
    results = json.loads((folder / RESULTS).read_text()) if (folder / RESULTS).exists() else None
    recipe = load_recipe(_ROOT / "configs" / f"{folder.name}.yaml")
    golden = {name: data for name, data in _bytes(folder).items() if name.startswith("golden/")}
    assert bool(golden) == (weights is not None)
    rendered = render(recipe, weights=weights, results=results, golden=golden)
    assert _bytes(folder) == dict(sorted(rendered.items()))


def test_bundles_are_committed() -> None:
    """The bundles for real data are all there."""
    wanted = {"hippocampus_unet3d", "acdc_unet2d", "acdc_unet3d", "nuclei_unet2d", "em_unet2d"}
    assert wanted <= {folder.name for folder in _COMMITTED}


def test_recipe_survives(tiny: Recipe, trained: Path) -> None:
    """The recipe in a bundle is the recipe that it was made from."""
    assert load_recipe(trained / "configs" / "recipe.yaml") == tiny


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlays_say_the_same(name: str, tiny: Recipe) -> None:
    """An overlay in a bundle changes what the overlay of that name in configs/ changes."""
    file = _ROOT / "configs" / "overlays" / f"{name}.yaml"
    by_file = tiny.changed(read_yaml(file.read_bytes(), name))
    config = config_named(tiny, "train")
    for key, value in overlay_config(tiny, name).items():
        place, *inner = key.split("#")
        if inner:
            config[place][inner[0]] = value
        else:
            config[place] = value
    assert config == config_named(by_file, "train")


def test_every_overlay_is_rendered() -> None:
    """No overlay in configs/ is left out."""
    assert {path.stem for path in (_ROOT / "configs" / "overlays").glob("*.yaml")} == set(OVERLAYS)


def test_weights_are_half(trained: Path, weights_file: Path) -> None:
    """Both files hold the given weights in half precision; MONAI's is a plain state dict."""
    given = torch.load(weights_file, weights_only=True)
    state = torch.load(trained / STATE, weights_only=True)
    assert type(state) is dict
    for name, value in read_weights(trained / SAFETENSORS).items():
        assert torch.equal(value, state[name])
        assert torch.equal(value, given[name].half() if given[name].dtype.is_floating_point else given[name])


def test_foreign_weights(tiny: Recipe, weights_file: Path, tmp_path: Path) -> None:
    """Weights of another network are refused, and nothing is written."""
    wider = tiny.changed({"network.channels": [6, 8]})
    with pytest.raises(BundleError, match=r"not of this network: .* is \(4, 1, 3, 3, 1\), not \(6, 1, 3, 3, 1\)"):
        build_bundle(wider, tmp_path / "b", weights=weights_file)
    assert not (tmp_path / "b").exists()


def test_too_large_for_half(tiny: Recipe, weights_file: Path) -> None:
    """A weight beyond the range of half precision is an error, not an infinity."""
    weights = torch.load(weights_file, weights_only=True)
    name = next(iter(weights))
    weights[name] = weights[name] * 1e9
    with pytest.raises(BundleError, match=f"{name} does not fit half precision"):
        halved(weights)


def test_somebody_elses_folder(tiny: Recipe, tmp_path: Path) -> None:
    """A folder that holds something else is left alone."""
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(BundleError, match="holds something else; name a new folder"):
        build_bundle(tiny, tmp_path)
    assert _bytes(tmp_path) == {"thesis.txt": b"mine"}


def test_results(tiny: Recipe, weights_file: Path, tmp_path: Path) -> None:
    """An evaluation fills the model card and the metadata, and stays when the bundle is built again."""
    (tmp_path / "metrics.json").write_text(json.dumps(_RESULTS))
    folder = build_bundle(tiny, tmp_path / "b", weights=weights_file, results=tmp_path / "metrics.json")
    card = (folder / "docs" / "README.md").read_text()
    assert "| myocardium | 0.9100 (0.9000 to 0.9200) | 3.50 | 4 |" in card
    assert "Dice 0.9123" in card
    assert "12 minutes on two cores." in card
    assert json.loads((folder / "configs/metadata.json").read_text())["eval_metrics"]["mean_dice"] == 0.9123
    before = _bytes(folder)
    build_bundle(tiny, folder)
    assert _bytes(folder) == before
    build_bundle(tiny, folder, weights=weights_file)  # other weights: the numbers are not theirs
    assert "Not measured yet." in (folder / "docs" / "README.md").read_text()
    assert not (folder / RESULTS).exists()
    check_manifest(folder)


def test_no_results() -> None:
    """What is no evaluation is refused."""
    with pytest.raises(BundleError) as caught:
        short_results({"mean": {}}, "x.json")
    assert str(caught.value) == "x.json: is no evaluation; give the JSON that volseg evaluate, or evaluating, writes"


def test_front_matter(tiny: Recipe, trained: Path) -> None:
    """The card begins with the front matter that Hugging Face reads; a licence that nobody has said is unknown."""
    _, front, rest = (trained / "docs" / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["license"] == "unknown"
    assert told["pipeline_tag"] == "image-segmentation"
    assert {"volseg", "mr"} <= set(told["tags"])
    for title in ("What it is for", "Where it fails", "Results", "Training", "Data", "How to run it", "Licence"):
        assert f"\n## {title}\n" in rest


@pytest.mark.parametrize(
    ("name", "licence", "url"),
    [
        ("acdc_unet2d", "CC-BY-NC-SA-4.0", "https://creativecommons.org/licenses/by-nc-sa/4.0/"),
        ("acdc_unet3d", "CC-BY-NC-SA-4.0", "https://creativecommons.org/licenses/by-nc-sa/4.0/"),
        ("hippocampus_unet3d", "CC-BY-SA-4.0", "https://creativecommons.org/licenses/by-sa/4.0/"),
    ],
)
def test_licence_binds(name: str, licence: str, url: str) -> None:
    """Weights learnt from data whose licence binds them carry it."""
    files = render(load_recipe(_ROOT / "configs" / f"{name}.yaml"))
    text = files["LICENSE"].decode()
    assert text.startswith(f"SPDX-License-Identifier: {licence}\n")
    assert url in text
    assert url in files["docs/data_license.txt"].decode()
    assert f"license: {licence.lower()}\n" in files["docs/README.md"].decode()
