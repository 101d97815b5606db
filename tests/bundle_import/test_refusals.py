from __future__ import annotations

import json
import os
import pickle
import re
import socket
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from volseg.bundle.importing.importing import import_bundle
from volseg.errors import BundleError

CANARY = "canary-of-an-import"
CODE = f"$__import__('pathlib').Path('{CANARY}').touch()"
CALLED = f"__import__('pathlib').Path('{CANARY}').touch, which is not interpreted here: {CODE}"
REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"extra": CODE},
        f"extra: needs a call of {CALLED}",
    ),
    (
        {"network_def___target_": "%extra", "extra": "UNet"},
        "network_def::_target_: is computed, and no class that is written out",
    ),
    ({"network_def___disabled_": CODE}, f"network_def::_disabled_: needs a call of {CALLED}"),
    ({"network_def___desc_": CODE}, f"network_def::_desc_: needs a call of {CALLED}"),
    ({"network_def___requires_": CODE}, f"network_def::_requires_: needs a call of {CALLED}"),
    ({"network_def___mode_": "debug"}, "network_def::_mode_: is not the ordinary way to make a component"),
    (
        {"network_def___target_": "os.system"},
        "network_def::_target_: os.system is no network of MONAI's, but code of another package",
    ),
    (
        {"network_def___target_": "scripts.networks.UNet"},
        "network_def::_target_: scripts.networks.UNet is no network of MONAI's, but code of another package",
    ),
    (
        {"network_def___target_": "SwinUNETR"},
        "network_def::_target_: SwinUNETR is not one of the networks that are known: UNet, "
        "BasicUNet, DynUNet, SegResNet",
    ),
    (
        {"network_def___target_": "$monai.networks.nets.UNet"},
        "network_def::_target_: needs monai.networks.nets.UNet, which is not interpreted here: "
        "$monai.networks.nets.UNet",
    ),
    (
        {"network_def": "$monai.networks.nets.UNet(spatial_dims=3)"},
        "network_def: needs a call of monai.networks.nets.UNet, which is not interpreted here: "
        "$monai.networks.nets.UNet(spatial_dims=3)",
    ),
    (
        {"network_def__channels": "$[2**i for i in range(5)]"},
        "network_def::channels: needs [2 ** i for i in range(5)], which is not interpreted here: "
        "$[2**i for i in range(5)]",
    ),
    (
        {"network_def__norm": "layer"},
        "network_def::norm: layer is not one of the normalisations that are known: batch, instance, group",
    ),
    ({"network_def__unheard": 1}, "network_def::unheard: is an argument of UNet that is not understood"),
    (
        {"inferer": {"_target_": "scripts.inferer.Inferer"}},
        "inferer::_target_: scripts.inferer.Inferer is no inferer of MONAI's, but code of another package",
    ),
    (
        {"inferer___target_": "SaliencyInferer"},
        "inferer::_target_: SaliencyInferer is not one of the inferers that are known: "
        "SlidingWindowInferer, SliceInferer, SimpleInferer",
    ),
    ({"inferer__roi_size": [16, 16]}, "inferer::roi_size: is not one positive whole number for each of 3 axes"),
    ({"inferer__roi_size": [16, 16, -1]}, "inferer::roi_size: is not one positive whole number for each of 3 axes"),
    (
        {"preprocessing__transforms__3": {"_target_": "CropForegroundd", "keys": "image"}},
        "preprocessing::transforms::3::_target_: CropForegroundd is not one of the transforms that "
        "are known before the network",
    ),
    (
        {"preprocessing__transforms__3": {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x"}},
        "preprocessing::transforms::3::func: needs lambda x: x, which is not interpreted here: $lambda x: x",
    ),
    (
        {"preprocessing__transforms__0__reader": "PydicomReader"},
        "preprocessing::transforms::0::reader: is not MONAI's reader of NIfTI by nibabel or ITK",
    ),
    ({"preprocessing__transforms__4__clip": "no"}, "preprocessing::transforms::4::clip: is neither true nor false"),
    (
        {"preprocessing__transforms__4__a_min": "$float(os.environ['LOW'])"},
        "preprocessing::transforms::4::a_min: needs a call of float, which is not interpreted "
        "here: $float(os.environ['LOW'])",
    ),
    (
        {"preprocessing__transforms": "$@somewhere + @else"},
        "preprocessing::transforms: refers to somewhere, which is not there",
    ),
    (
        {"postprocessing__transforms__2": {"_target_": "AsDiscreted", "keys": "pred", "argmax": True, "to_onehot": 3}},
        "postprocessing::transforms::2: gives another image than one of labels",
    ),
    (
        {"postprocessing__transforms__1": {"_target_": "EnsureTyped", "keys": "pred"}},
        "postprocessing: masks stay on the resampled grid: nothing inverts it (Invertd)",
    ),
    (
        {"postprocessing__transforms__1__transform": "$copy.deepcopy(@preprocessing)"},
        "postprocessing::transforms::1::transform: needs a call of copy.deepcopy, which is not "
        "interpreted here: $copy.deepcopy(@preprocessing)",
    ),
    (
        {"imports": ["$import glob", "$import scripts"]},
        "imports::1: needs an import of scripts, which is not interpreted here: $import scripts",
    ),
    (
        {"imports": ["$from os import system as glob"], "datalist": "$glob('touch x')"},
        "datalist: needs a call of glob, which is not interpreted here: $glob('touch x')",
    ),
    (
        {"run": [CODE]},
        f"run::0: needs a call of {CALLED}",
    ),
    ({"initialize": ["$monai.utils.set_determinism(seed=7)", 3]}, "initialize::1: is no step that is known"),
    (
        {"evaluator___target_": "scripts.evaluator.Evaluator"},
        "evaluator::_target_: scripts.evaluator.Evaluator is no evaluator of MONAI's, but code of another package",
    ),
    (
        {"evaluator__prepare_batch": "$lambda *a: a"},
        "evaluator::prepare_batch: needs lambda *a: a, which is not interpreted here: $lambda *a: a",
    ),
    (
        {"handlers": [{"_target_": "ClassificationSaver"}]},
        "handlers::0::_target_: ClassificationSaver is not one of the handlers that are known",
    ),
    (
        {"checkpointloader__load_path": "/etc/passwd"},
        "checkpointloader::load_path: is not a file of this bundle: /etc/passwd",
    ),
    (
        {"checkpointloader__load_path": "$@bundle_root + '/../model.pt'"},
        "checkpointloader::load_path: is not a file of this bundle: <bundle>/../model.pt",
    ),
    ({"checkpointloader__strict": False}, "checkpointloader::strict: leaves out weights that do not fit"),
    ({"checkpointloader": None, "initialize": []}, "evaluator: nothing loads its weights (CheckpointLoader)"),
    ({"datalist": "$list(sorted(glob.glob(@datalist)))"}, "datalist: leads in a circle of references, or too deep"),
    (
        {"a0": "x" * 100, **{f"a{i}": f"$@a{i - 1} + @a{i - 1}" for i in range(1, 20)}},
        "a6: needs a sum of more than 4096 letters or items, which is not interpreted here: $@a5 + @a5",
    ),
    ({"inferer": "%configs/other.json"}, "inferer: takes a part from another file: %configs/other.json"),
    (
        {"network_def::channels": [1]},
        "the key 'network_def::channels' reaches into other keys, which is not followed here",
    ),
    (
        {"device": "$torch.device('cuda:0' if open('x', 'w') else 'cpu')"},
        "device: needs 'cuda:0' if open('x', 'w') else 'cpu', which is not interpreted here: "
        "$torch.device('cuda:0' if open('x', 'w') else 'cpu')",
    ),
    (
        {"network": "$@network_def.to(@device).apply(print)"},
        "network: needs a call of reference_of_monai_0.to(reference_of_monai_1).apply, which is "
        "not interpreted here: $@network_def.to(@device).apply(print)",
    ),
]


@pytest.mark.parametrize(("changes", "told"), REFUSED, ids=[told.split(": ")[0] for _, told in REFUSED])
def test_what_is_not_understood_is_refused_with_its_place(
    changes: dict[str, Any], told: str, refused: Callable[[dict[str, Any]], str], tmp_path: Path
) -> None:
    """Whatever is not data in a known shape ends in one line with file and reason; nothing is run, nothing written."""
    said = refused(changes)
    assert re.fullmatch(r"configs/inference\.json: (line [1-9]\d*, )?(.*)", said)[2] == told  # type: ignore[index]
    assert not (tmp_path / CANARY).exists()


def test_a_refusal_names_the_line(make: Callable[..., Path], tmp_path: Path) -> None:
    """The line is the one that a person finds in the file."""
    source = make(weights={}, inferer__mode="$os.environ['MODE']")
    with pytest.raises(BundleError) as caught:
        import_bundle(source, tmp_path / "out")
    lines = (source / "configs/inference.json").read_text().splitlines()
    expected = next(number for number, line in enumerate(lines, 1) if "os.environ" in line)
    assert f"line {expected}, inferer::mode" in str(caught.value)


class _Runs:
    def __init__(self, then: tuple[Any, ...]) -> None:
        self.then = then

    def __reduce__(self) -> tuple[Any, ...]:
        return self.then


def _script(folder: Path) -> bytes:
    file = folder / "script.pt"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}))
        archive.writestr("model/constants.pkl", pickle.dumps(()))
        archive.writestr("model/code/__torch__.py", "def forward(x): return x")
    return file.read_bytes()


def _pickled(value: Any, folder: Path) -> bytes:
    file = folder / "pickled.pt"
    torch.save(value, file)
    return file.read_bytes()


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (lambda folder: _pickled({"a": _Runs((os.system, (f"touch {CANARY}",)))}, folder), "is not plain tensors"),
        (lambda folder: _pickled({"a": _Runs((socket.socket, ()))}, folder), "is not plain tensors"),
        (lambda folder: _pickled(torch.nn.Conv3d(1, 1, 1), folder), "is not plain tensors: pickle, torch.nn"),
        (_script, "is not plain tensors: torchscript"),
        (lambda folder: _pickled({"a": torch.zeros(1).expand(100_000, 1_000_000)}, folder), "far larger than the file"),
        (lambda folder: _pickled([torch.zeros(3)], folder), "is no state dict"),
        (lambda folder: _pickled({"a": 3}, folder), "is no plain tensor"),
        (lambda folder: b"PK\x03\x04 not torch's", ""),
        (lambda folder: _pickled({"a": torch.zeros(3)}, folder), "these weights are not of this network"),
    ],
)  # fmt: skip
def test_weights_that_are_not_plain_tensors_are_refused(
    weights: Callable[[Path], bytes],
    told: str,
    make: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pickles that call, TorchScript, bombs and what is of another network end in a line, and run nothing."""
    monkeypatch.chdir(tmp_path)
    source = make(weights=None)
    (source / "models/model.pt").write_bytes(weights(tmp_path))
    with pytest.raises(BundleError) as caught:
        import_bundle(source, tmp_path / "out")
    assert told in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / CANARY).exists()


def test_a_checkpoint_and_yaml_and_a_zip_are_taken(make: Callable[..., Path], tmp_path: Path) -> None:
    """Weights under the name that the configuration loads, in a zipped bundle whose configuration is YAML."""
    import yaml

    source = make()
    state = torch.load(source / "models/model.pt", weights_only=True)
    torch.save({"model": state, "epoch": 3}, source / "models/model.pt")
    config = json.loads((source / "configs/inference.json").read_text())
    (source / "configs/inference.json").unlink()
    (source / "configs/inference.yaml").write_text(yaml.safe_dump(config))
    packed = tmp_path / "spleen_ct.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in sorted(source.rglob("*")):
            if file.is_file():
                archive.write(file, f"spleen_ct/{file.relative_to(source).as_posix()}")
    done = import_bundle(packed, tmp_path / "out")
    assert done.recipe.labels.names == ("spleen", "liver")
    assert (done.recipe.image.modality, done.recipe.bundle.license) == ("CT", "Apache-2.0")
    assert (done.recipe.bundle.authors, done.recipe.bundle.version) == ("another laboratory", "0.3.1")
    assert done.recipe.image.spacing == (1.5, 1.5, 2.1)
    from safetensors.torch import load_file

    made = load_file(done.folder / "models/model.safetensors")
    assert all(torch.equal(made[name], value) for name, value in state.items())


def test_weights_are_read_within_bounds(make: Callable[..., Path], tmp_path: Path, monkeypatch: Any) -> None:
    """Missing, too large, or a reader that takes too long or dies: told by the file's name."""
    from volseg.bundle.importing import conversion

    source = make(weights={})

    def told() -> str:
        with pytest.raises(BundleError) as caught:
            import_bundle(source, tmp_path / "out")
        assert not (tmp_path / "out").exists()
        return str(caught.value)

    def late(*_: Any, **__: Any) -> Any:
        raise subprocess.TimeoutExpired("x", 1)

    monkeypatch.setattr(conversion.subprocess, "run", late)
    assert told() == "models/model.pt: took more than 600 s to read"
    for said, why in (
        (b"", "the process that read it ended with 3"),
        (b"first\nlast " + b"x" * 300, "last " + "x" * 195),
    ):
        done = subprocess.CompletedProcess([], 3, b"", said)
        monkeypatch.setattr(conversion.subprocess, "run", lambda *_, done=done, **__: done)
        assert told() == f"models/model.pt: cannot be read as plain tensors: {why}"
    monkeypatch.setattr(conversion, "LARGEST", 10)
    assert told() == "models/model.pt: more than 0 GiB of weights"
    (source / "models/model.pt").unlink()
    assert told() == f"{source}: has no models/model.pt, which its configuration loads"


@pytest.mark.parametrize(
    ("text", "named", "found"),
    [
        ("Apache License\n   Version 2.0, January 2004", "", "Apache-2.0"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0", "", "CC-BY-NC-SA-4.0"),
        ("Creative Commons Attribution-NonCommercial 4.0", "", "CC-BY-NC-4.0"),
        ("Creative Commons Attribution-ShareAlike 4.0", "", "CC-BY-SA-4.0"),
        ("Attribution 4.0 International", "", "CC-BY-4.0"),
        ("MIT License", "", "MIT"),
        ("Permission is hereby granted, free of charge, to any person", "", "MIT"),
        ("MIT License", "cc-by-4.0", "CC-BY-4.0"),
        ("MIT License", "my own", "MIT"),
    ],
)
def test_a_licence_is_known_by_its_name_or_its_text(
    text: str, named: str, found: str, make: Callable[..., Path], tmp_path: Path
) -> None:
    """The model card's word counts before the file."""
    source = make()
    (source / "LICENSE").write_text(text)
    if named:
        (source / "docs").mkdir()
        (source / "docs/README.md").write_text(f"---\nlicense: {named}\n---\n")
    assert import_bundle(source, tmp_path / "out").recipe.bundle.license == found


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({}, None),
        (
            {"evaluator__amp": True},
            "the source computes in half precision where it can; volseg in float32, unless told otherwise",
        ),
        (
            {"inferer": {"_target_": "SimpleInferer"}},
            "the source sees each image at once; volseg sees it in exact pieces",
        ),
        (
            {"preprocessing__transforms__0__reader": "ITKReader"},
            "the source reads by ITK; volseg reads NIfTI by its own header, which differs where that is odd",
        ),
    ],
)
def test_what_is_done_otherwise_is_noted(
    changes: dict[str, Any], note: str | None, make: Callable[..., Path], tmp_path: Path
) -> None:
    """Where the same mask can come by another way."""
    notes = import_bundle(make(network_def__norm="batch", **changes), tmp_path / "out").notes
    assert list(notes) == ([] if note is None else [note])


def test_a_licence_that_nothing_tells_must_be_told(make: Callable[..., Path], tmp_path: Path) -> None:
    """Nobody shares weights without knowing their terms."""
    source = make()
    (source / "LICENSE").write_text("ask me")
    with pytest.raises(BundleError) as caught:
        import_bundle(source, tmp_path / "out")
    assert str(caught.value) == (
        f"{source}: nothing tells the licence of the weights; add --license with its SPDX identifier"
    )
    assert import_bundle(source, tmp_path / "out", licence="CC-BY-4.0").recipe.bundle.license == "CC-BY-4.0"
