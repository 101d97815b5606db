from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from volseg.bundle.check import check_bundle
from volseg.bundle.importing.importing import import_bundle
from volseg.bundle.load import load_bundle

LOAD = [{"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}]
SPACING = {"_target_": "Spacingd", "keys": ["image"], "pixdim": [2.0, 1.0, -1], "mode": ["bilinear"]}
SAVED = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "output_postfix": "seg",
         "separate_folder": False}  # fmt: skip
NEAREST = {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image"}
DISCRETE = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
BUNDLES: dict[str, dict[str, Any]] = {
    "as the fixture": {},
    "stored orientation, own spacing, two changes of intensity": {
        "preprocessing__transforms": [
            *LOAD,
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True},
            {"_target_": "ScaleIntensityd", "keys": "image", "minv": -1.0, "maxv": 1.0},
        ],
        "inferer__mode": "gaussian",
        "inferer__overlap": 0.25,
        "inferer__roi_size": [32, 32, 48],
        "inferer__padding_mode": "replicate",
    },
    "labels back by nearest": {
        "preprocessing__transforms": [
            *LOAD,
            {"_target_": "ScaleIntensityd", "keys": "image"},
            {"_target_": "monai.transforms.Orientationd", "keys": "image", "axcodes": "LPS"},
            SPACING,
        ],
        "postprocessing__transforms": [DISCRETE, NEAREST, SAVED],
    },
    "logits back": {
        "preprocessing__transforms": [*LOAD, SPACING, {"_target_": "NormalizeIntensityd", "keys": "image"}],
        "postprocessing__transforms": [{**NEAREST, "nearest_interp": False}, DISCRETE, SAVED],
    },
    "one channel and a threshold": {
        "network_def__out_channels": 1,
        "postprocessing__transforms": [
            {"_target_": "Activationsd", "keys": "pred", "sigmoid": True},
            {**NEAREST, "nearest_interp": False},
            {"_target_": "AsDiscreted", "keys": "pred", "threshold": 0.5},
            SAVED,
        ],
    },
    "BasicUNet": {
        "network_def": {"_target_": "BasicUNet", "out_channels": 3, "features": [4, 4, 8, 8, 8, 4], "norm": "batch"},
        "inferer__roi_size": [32, 32, 32],
    },
    "DynUNet": {
        "network_def": {
            "_target_": "monai.networks.nets.DynUNet",
            "spatial_dims": 3,
            "in_channels": 1,
            "out_channels": "$len(@names)",
            "kernel_size": [3, [3, 3, 1], 3],
            "strides": [1, 2, [2, 2, 1]],
            "upsample_kernel_size": [2, [2, 2, 1]],
            "filters": [4, 8, 8],
            "norm_name": "instance",
            "deep_supervision": True,
            "res_block": True,
        },
        "names": {"background": 0, "spleen": 1, "liver": 2},
    },
    "SegResNet": {
        "network_def": {
            "_target_": "SegResNet",
            "in_channels": 1,
            "out_channels": 3,
            "init_filters": 8,
            "blocks_down": [1, 1, 2],
            "blocks_up": [1, 1],
            "dropout_prob": 0.2,
        },
        "fine": True,
        "pixdim": "$[1.5, 1.5, 1.5] if @fine else [3.0, 3.0, 3.0]",
        "preprocessing__transforms__3": {**SPACING, "pixdim": "@pixdim"},
    },
    "slices": {
        "network_def": {
            "_target_": "UNet",
            "spatial_dims": 2,
            "in_channels": 1,
            "out_channels": 3,
            "channels": [4, 8],
            "strides": [2],
        },
        "preprocessing__transforms": [*LOAD, {"_target_": "ScaleIntensityd", "keys": "image"}],
        "inferer": {"_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": 2},
    },
}


#: MONAI's own run of one bundle after the other; what it imports takes longer than all of them
RUN = """
import json, sys
from monai.bundle import run
for root, data, out in json.load(sys.stdin):
    configuration = f"{root}/configs/inference.json"
    run("run", config_file=configuration, bundle_root=root, dataset_dir=data, output_dir=out)
"""


@pytest.fixture(scope="module")
def by_monai(
    write_bundle: Callable[..., Path], write_image: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, Path, Path]]:
    """For each bundle its folder, the case, and the mask that MONAI's own run wrote."""
    folder = tmp_path_factory.mktemp("by_monai")
    case = write_image(folder / "data" / "case.nii.gz", seed=3)
    places = {name: folder / str(number) for number, name in enumerate(BUNDLES)}
    for name, place in places.items():
        write_bundle(place / "bundle", **BUNDLES[name])
    asked = [[str(place / "bundle"), str(case.parent), str(place / "out")] for place in places.values()]
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(asked),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        cwd=case.parent,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: (place / "bundle", case, next((place / "out").rglob("*.nii.gz"))) for name, place in places.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", BUNDLES)
def test_masks_are_those_of_monai_s_own_run(
    name: str, by_monai: dict[str, tuple[Path, Path, Path]], tmp_path: Path
) -> None:
    """An imported bundle gives MONAI's labels for 99.9 % of voxels, whatever geometry, intensities and network."""
    source, case, mask = by_monai[name]
    imported = import_bundle(source, tmp_path / "imported")
    ours = load_bundle(imported.folder).predict(case)
    theirs = nib.load(mask)
    labels = np.asarray(theirs.dataobj).squeeze()
    assert labels.shape == ours.labels.shape
    assert np.allclose(theirs.affine, ours.grid.affine, atol=1e-4)
    shares = np.bincount(labels.astype(int).ravel(), minlength=2) / labels.size
    assert sorted(shares)[-1] < 0.9  # nothing is proven by a mask of one value
    assert (labels == ours.labels).mean() > 0.999


@pytest.mark.slow
def test_an_imported_bundle_is_a_bundle(make: Callable[..., Path], tmp_path: Path) -> None:
    """It passes ``bundle check``, MONAI's own checks of all its configurations among them."""
    imported = import_bundle(make(), tmp_path / "imported")
    assert check_bundle(imported.folder) == []


@pytest.mark.slow
def test_the_command_line_imports_and_predicts(
    make: Callable[..., Path], volume: Callable[..., Path], tmp_path: Path
) -> None:
    """``volseg bundle import`` and ``volseg predict`` give the mask that the library gives."""
    source, case = make(), volume("data/case.nii.gz", seed=3)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def volseg(*arguments: str | Path) -> str:
        command = [sys.executable, "-m", "volseg.cli", *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr

    said = volseg("bundle", "import", source, "-o", tmp_path / "spleen")
    assert "monai_unet, Apache-2.0" in said
    volseg("predict", "-i", case.parent, "-o", tmp_path / "masks", "-b", tmp_path / "spleen")
    mask = np.asarray(nib.load(tmp_path / "masks" / "case.nii.gz").dataobj)
    assert np.array_equal(mask, load_bundle(tmp_path / "spleen").predict(case).labels)
