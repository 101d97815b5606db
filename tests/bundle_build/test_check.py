"""Checking bundles: good ones pass, and whatever is damaged, stale or missing is named in a line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from volseg.bundle.check import check_bundle, monai_findings
from volseg.bundle.packing import pack_bundle
from volseg.bundle.rendering.build import RESULTS, build_bundle
from volseg.bundle.storage.manifest import SAFETENSORS, STATE
from volseg.recipe import Recipe, load_recipe

_COMMITTED = sorted(folder for folder in (Path(__file__).parents[2] / "bundles").iterdir() if folder.is_dir())
_STALE = "not what the recipe renders; build the bundle anew"


def _remove(name: str) -> Callable[[Path], None]:
    return lambda bundle: (bundle / name).unlink()


def _write(name: str, content: bytes) -> Callable[[Path], None]:
    def spoil(bundle: Path) -> None:
        (bundle / name).write_bytes(content)

    return spoil


def _add_key(name: str, key: str, value: Any) -> Callable[[Path], None]:
    def spoil(bundle: Path) -> None:
        config = json.loads((bundle / name).read_text())
        config[key] = value
        (bundle / name).write_text(json.dumps(config))

    return spoil


def _other_weights(bundle: Path) -> None:
    weights = load_file(bundle / SAFETENSORS)
    save_file({name: value + 1 for name, value in weights.items()}, bundle / SAFETENSORS)


def _full_precision(bundle: Path) -> None:
    weights = load_file(bundle / SAFETENSORS)
    save_file(
        {name: value.float() if value.is_floating_point() else value for name, value in weights.items()},
        bundle / SAFETENSORS,
    )


def _missing_tensor(bundle: Path) -> None:
    weights = load_file(bundle / SAFETENSORS)
    del weights["head.weight"]
    save_file(weights, bundle / SAFETENSORS)


def _other_recipe(bundle: Path) -> None:
    file = bundle / "configs" / "recipe.yaml"
    file.write_text(file.read_text().replace("epochs: 1", "epochs: 2"))


def test_good(trained: Path, tmp_path: Path) -> None:
    """A bundle as it was built has nothing wrong, in its folder and packed."""
    assert check_bundle(trained) == []
    pack_bundle(trained, tmp_path / "tiny.zip")
    assert check_bundle(tmp_path / "tiny.zip") == []


def test_untrained(untrained: Path) -> None:
    """A bundle without weights is only good where it was said that it has none."""
    assert check_bundle(untrained, trained=False) == []
    said = check_bundle(untrained)
    assert said == [f"{name}: missing; build the bundle with --weights" for name in (SAFETENSORS, STATE)]


@pytest.mark.slow
@pytest.mark.parametrize("folder", _COMMITTED, ids=lambda folder: folder.name)
def test_committed(folder: Path) -> None:
    """Every committed bundle passes, MONAI's own checks among them."""
    assert check_bundle(folder, trained=(folder / SAFETENSORS).exists()) == []


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (_remove("LICENSE"), "LICENSE: missing"),
        (_remove("docs/README.md"), "docs/README.md: missing"),
        (_remove("configs/metadata.json"), "configs/metadata.json: missing"),
        (_remove("configs/recipe.yaml"), "configs/recipe.yaml: missing; volseg bundle build writes it"),
        (_remove("configs/overlays/smoke.json"), "configs/overlays/smoke.json: missing"),
        (_remove(STATE), f"{STATE}: missing; build the bundle with --weights"),
        (_remove("golden/image.nii"), "golden: there is no acceptance case; build the bundle anew"),
        (_write("configs/overlays/more.json", b"{}"), "configs/overlays/more.json: no recipe renders it"),
        (_write("configs/train.json", b"[1"), "configs/train.json: line 1: not valid JSON: Expecting ',' delimiter"),
        (_write(RESULTS, b"[]"), "cannot be rendered: list indices must be integers or slices, not str"),
        (_write("models/member_1.safetensors", b"x"), "models/member_1.safetensors: is no safetensors file (Error while"
         " deserializing: header too small)"),
        (_add_key("configs/train.json", "epochs", 3), f"configs/train.json: {_STALE}"),
        (_add_key("configs/metadata.json", "version", 1), "configs/metadata.json: version is no text"),
        (_add_key("configs/metadata.json", "task", "x"), f"configs/metadata.json: {_STALE}"),
        (_other_weights, f"{STATE}: not the weights in {SAFETENSORS}; build the bundle anew"),
        (_full_precision, f"{SAFETENSORS}: bottom.units.0.conv.bias is not in half precision; build the bundle anew"),
        (_missing_tensor, f"{SAFETENSORS}: these weights are not of this network: 1 missing (head.weight)"),
        (_other_recipe, f"configs/train.json: {_STALE}"),
    ],
)  # fmt: skip
def test_bad(spoil: Callable[[Path], None], line: str, trained: Path, tmp_path: Path) -> None:
    """What is wrong with a bundle is a line of its own."""
    bundle = tmp_path / "tiny"
    shutil.copytree(trained, bundle)
    spoil(bundle)
    assert line in check_bundle(bundle)


def test_nothing_is_executed(trained: Path, tmp_path: Path) -> None:
    """A configuration that would execute something is a finding, and does not execute."""
    bundle, mark = tmp_path / "tiny", tmp_path / "executed"
    shutil.copytree(trained, bundle)
    _add_key("configs/inference.json", "initialize", [f"$open({str(mark)!r}, 'w').close()"])(bundle)
    found = check_bundle(bundle)
    assert f"configs/inference.json: {_STALE}" in found
    assert not mark.exists()


def test_unpickles_nothing(trained: Path, tmp_path: Path) -> None:
    """A file of weights that would execute something when it is unpickled is a finding."""
    bundle = tmp_path / "tiny"
    shutil.copytree(trained, bundle)
    torch.save({"head.weight": shutil.rmtree}, bundle / STATE)
    assert any(line.startswith(f"{STATE}: is no file of weights") for line in check_bundle(bundle))


def test_a_strangers_bundle_is_bounded(trained: Path, tmp_path: Path) -> None:
    """What asks for all memory, or is nested without end, is a finding and no end of the program."""
    bundle = tmp_path / "tiny"
    shutil.copytree(trained, bundle)
    recipe = bundle / "configs" / "recipe.yaml"
    channels = load_recipe(recipe).to_dict()["network"]["channels"]
    text = recipe.read_text()
    asked = text.replace(
        f"[{', '.join(map(str, channels))}]", f"[{channels[0]}, {', '.join(['65536'] * (len(channels) - 1))}]"
    )
    assert asked != text
    recipe.write_text(asked)
    assert any("not of this network" in line for line in check_bundle(bundle))
    recipe.write_text(text)
    (bundle / RESULTS).write_bytes(b"[" * 100_000)
    assert any(line.startswith(f"{RESULTS}: nested more than") for line in check_bundle(bundle))


def test_no_bundle(tmp_path: Path) -> None:
    """A folder that is none, and one that is empty, are told."""
    assert check_bundle(tmp_path / "nowhere") == [f"{tmp_path / 'nowhere'}: no such file or folder"]
    assert check_bundle(tmp_path) == ["configs/recipe.yaml: missing; volseg bundle build writes it"]


def test_monai_and_the_metadata(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """A property that a configuration lost, and channels that the network does not give, are told by MONAI's checks."""
    from volseg.bundle import check

    assert monai_findings(tiny) == []

    class Incomplete(check.ConfigWorkflow):
        def check_properties(self) -> list[str]:
            return ["device"]

    monkeypatch.setattr(check, "ConfigWorkflow", Incomplete)
    monkeypatch.setattr(check, "verify_net_in_out", _fails)
    assert monai_findings(tiny) == [
        *(
            f"configs/{name}.json: MONAI's property device is missing or has another id"
            for name in ("train", "multi_gpu_train", "inference", "evaluate", "multi_gpu_evaluate")
        ),
        "configs/metadata.json: network_data_format is not the network's: four channels",
    ]


def _fails(**_: Any) -> None:
    try:
        raise ValueError("four channels\nwere given")
    except ValueError as error:
        raise RuntimeError("no") from error


def test_monai_objects(tiny: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """What MONAI's own checks object to is a finding."""
    import volseg.bundle.rendering.configs as configs

    made = configs.inference_config

    def without_inferer(recipe: Recipe, members: int = 0) -> dict[str, Any]:
        return {key: value for key, value in made(recipe).items() if key not in ("inferer", "evaluator")}

    monkeypatch.setattr(configs, "inference_config", without_inferer)
    found = monai_findings(tiny)
    assert [line for line in found if line.startswith("configs/inference.json: ") and "evaluator" in line]


@pytest.mark.slow
def test_verb(trained: Path, untrained: Path, tmp_path: Path, volseg: Callable[..., Any]) -> None:
    """The verb prints a line for each finding and exits with 1; good bundles are counted."""
    done = volseg("bundle", "check", trained, untrained)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{untrained}: {name}: missing; build the bundle with --weights" for name in (SAFETENSORS, STATE)
    ]
    assert done.stderr.splitlines()[-1] == "1 of 2 bundles are good"
    recipe = trained / "configs" / "recipe.yaml"
    done = volseg("bundle", "build", recipe, "-o", tmp_path / "b", "-w", trained / SAFETENSORS)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'b'}\n")
    assert (tmp_path / "b" / "manifest.json").read_bytes() == (trained / "manifest.json").read_bytes()


def test_build_from_bundle(trained: Path, tmp_path: Path) -> None:
    """A bundle's recipe and weights are enough to build it again."""
    again = build_bundle(load_recipe(trained / "configs/recipe.yaml"), tmp_path / "b", weights=trained / STATE)
    assert (again / "manifest.json").read_bytes() == (trained / "manifest.json").read_bytes()
