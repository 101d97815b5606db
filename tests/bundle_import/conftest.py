"""Bundles as other laboratories write them, made here: a configuration in MONAI's own words, weights, and images."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

with warnings.catch_warnings():
    # ignite reaches torch.distributed.optim, which decorates functions with what torch itself deprecates
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
    import ignite.engine  # noqa: F401
    import monai.bundle

from volseg.bundle.importing.importing import import_bundle
from volseg.errors import BundleError

DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8, 8],
    "strides": [2, 2],
    "num_res_units": 1,
    "norm": "batch",
}
SPACING = {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.1], "mode": "bilinear"}
RANGE = {
    "_target_": "ScaleIntensityRanged",
    "keys": "image",
    "a_min": -60,
    "a_max": 160,
    "b_min": 0,
    "b_max": 1,
    "clip": True,
}
WINDOWS = {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 2, "overlap": 0.5}
ACTIVATION = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
INVERSE = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "nearest_interp": False,
    "to_tensor": True,
}
DISCRETE = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
CONFIG: dict[str, Any] = {
    "imports": ["$import glob", "$import os"],
    "bundle_root": ".",
    "output_dir": "$@bundle_root + '/eval'",
    "dataset_dir": "/data/spleens",
    "datalist": "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))",
    "device": DEVICE,
    "network_def": UNET,
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
            SPACING,
            RANGE,
            {"_target_": "EnsureTyped", "keys": "image"},
        ],
    },
    "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
    "dataloader": {
        "_target_": "DataLoader",
        "dataset": "@dataset",
        "batch_size": 1,
        "shuffle": False,
        "num_workers": 0,
    },
    "inferer": WINDOWS,
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            ACTIVATION,
            INVERSE,
            DISCRETE,
            {
                "_target_": "SaveImaged",
                "keys": "pred",
                "output_dir": "@output_dir",
                "output_postfix": "seg",
                "separate_folder": False,
                "output_dtype": "$numpy.uint8",
            },
        ],
    },
    "handlers": [{"_target_": "StatsHandler", "iteration_log": False}],
    "evaluator": {
        "_target_": "SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
        "val_handlers": "@handlers",
        "amp": False,
    },
    "checkpointloader": {
        "_target_": "CheckpointLoader",
        "load_path": "$@bundle_root + '/models/model.pt'",
        "load_dict": {"model": "@network"},
    },
    "initialize": ["$monai.utils.set_determinism(seed=7)", "$@checkpointloader(@evaluator)"],
    "run": ["$@evaluator.run()"],
}
METADATA = {
    "version": "0.3.1",
    "monai_version": "1.4.0",
    "task": "a spleen and what is beside it",
    "description": "A network with random weights, for tests.",
    "authors": "another laboratory",
    "copyright": "Copyright (c) another laboratory",
    "references": ["Somebody: a paper. 2020."],
    "network_data_format": {
        "inputs": {"image": {"modality": "CT", "num_channels": 1, "channel_def": {"0": "image"}}},
        "outputs": {"pred": {"num_channels": 3, "channel_def": {"0": "background", "1": "spleen", "2": "liver"}}},
    },
}


def image(path: Path, seed: int = 0, shape: tuple[int, ...] = (37, 31, 23)) -> Path:
    """A volume of blobs in Hounsfield units, on a grid whose axes point left, front and up."""
    rng = np.random.default_rng(seed)
    blobs = ndimage.gaussian_filter(rng.normal(size=shape), 2)
    voxels = (blobs / blobs.std() * 120 + 40).astype(np.float32)
    affine = np.diag([-0.9, 1.1, 2.5, 1.0])
    affine[:3, 3] = (30, -20, 5)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def undecided(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights under which no class wins everywhere: each leads on its share of a noisy volume."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    dims = 2 if any(isinstance(module, nn.Conv2d) for module in network.modules()) else 3
    noise = torch.rand(1, _channels(network), *(32,) * dims)
    with torch.no_grad():
        logits = network.eval()(noise)
        last = [module for module in network.modules() if getattr(module, "bias", None) is not None][-1]
        for name, value in network.named_parameters():
            if value.shape == (logits.shape[1],) and name.endswith("bias"):
                last = network.get_parameter(name)
        if isinstance(last, nn.Parameter):
            last -= logits.flatten(2).median(dim=2).values[0]
    return network


def _channels(network: nn.Module) -> int:
    first = next(m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
    return first.in_channels


Make = Callable[..., Path]


@pytest.fixture(scope="session")
def write_image() -> Callable[..., Path]:
    """Write a volume of blobs: ``write_image(path, seed=0)``."""
    return image


@pytest.fixture(scope="session")
def write_bundle() -> Callable[..., Path]:
    """Write a bundle into a new folder: ``write_bundle(root, **changes)``; see ``make``."""
    return _written


@pytest.fixture
def volume(tmp_path: Path) -> Callable[..., Path]:
    """Write a volume of blobs."""
    return lambda name, **changes: image(tmp_path / name, **changes)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write a bundle: the usual configuration with changes, dotted, each a value or what ``None`` removes."""
    return lambda **changes: _written(tmp_path / "spleen_ct", **changes)


def _written(root: Path, weights: Any = ..., **changes: Any) -> Path:
    config = copy.deepcopy(CONFIG)
    for dotted, value in changes.items():
        *above, last = dotted.split("__")
        here: Any = config
        for step in above:
            here = here[int(step)] if isinstance(here, list) else here[step]
        if value is None:
            del here[last]
        elif isinstance(here, list):
            here[int(last)] = value
        else:
            here[last] = value
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    (root / "configs" / "inference.json").write_text(json.dumps(config, indent=4))
    (root / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    (root / "LICENSE").write_text("Apache License\nVersion 2.0, January 2004\n")
    if weights is ...:
        parser = monai.bundle.ConfigParser(config)
        weights = undecided(parser.get_parsed_content("network_def")).state_dict()
    if weights is not None:
        torch.save(weights, root / "models" / "model.pt")
    return root


Refused = Callable[[dict[str, Any]], str]


@pytest.fixture
def refused(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Import the usual bundle with changes that must be refused; what is said: one line, and nothing is written."""

    def told(changes: dict[str, Any]) -> str:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(BundleError) as caught:
            import_bundle(make(weights={}, **changes), tmp_path / "out")
        said = str(caught.value)
        assert len(said.splitlines()) == 1
        assert not (tmp_path / "out").exists()
        return said

    return told
