"""Each committed bundle as its users type it, on a small cohort with its labels; only the network is made small."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from volseg.bundle.check import check_bundle
from volseg.data.cohort import find_cases
from volseg.data.phantom import write_cohort
from volseg.recipe import load_recipe

_BUNDLES = sorted(folder for folder in (Path(__file__).parents[2] / "bundles").iterdir() if folder.is_dir())


def _cohort(name: str, folder: Path) -> Path:
    """Phantoms of the kind nearest to a bundle's images, their labels those that it declares."""
    if name.startswith("acdc"):
        return write_cohort(folder / "data", "heart", 2, seed=0, size=88)
    pictures = name.endswith("2d")
    source = write_cohort(folder / "source", "cells" if pictures else "heart", 2, seed=0, size=160 if pictures else 88)
    for part in ("images", "labels"):
        (folder / "data" / part).mkdir(parents=True)
    for number, case in enumerate(find_cases(source).labelled):
        assert case.label is not None
        if pictures:
            labels = np.asarray(Image.open(case.label))
            shown = np.where(labels > 0, 255, 0).astype(np.uint8) if name.startswith("em") else labels
            Image.open(case.image).save(folder / "data" / "images" / f"{number}.png")
            Image.fromarray(shown).save(folder / "data" / "labels" / f"{number}.png")
            continue
        image, labels = nib.load(case.image), nib.load(case.label)
        values = np.asarray(labels.dataobj)
        crop = (slice(20, 60), slice(20, 60))
        grid = np.diag([1.0, 1.0, 4.0, 1.0])
        for part, voxels in (
            ("images", np.asarray(image.dataobj).astype(np.float32)),
            ("labels", np.where(values > 2, 0, values).astype(np.uint8)),
        ):
            nib.save(nib.Nifti1Image(voxels[crop], grid), folder / "data" / part / f"{number}.nii.gz")
    return folder / "data"


@pytest.mark.parametrize("bundle", _BUNDLES, ids=lambda folder: folder.name)
def test_weights_are_small(bundle: Path) -> None:
    """What is in the history of the source is fetched by everyone."""
    sizes = [path.stat().st_size for path in (bundle / "models").iterdir()]
    assert len(sizes) >= 2
    assert max(sizes) <= 10_000_000


@pytest.mark.slow
@pytest.mark.parametrize("bundle", _BUNDLES, ids=lambda folder: folder.name)
def test_runs(bundle: Path, tmp_path: Path, run_bundle: Callable[..., Any]) -> None:
    """Training with the smoke overlay ends with a bundle that passes every check and segments its cohort."""
    data, configs = _cohort(bundle.name, tmp_path), bundle / "configs"
    before = {path: path.stat().st_mtime_ns for path in bundle.rglob("*")}
    levels = len(load_recipe(configs / "recipe.yaml").to_dict()["network"]["channels"])
    files = f"['{configs}/train.json','{configs}/overlays/smoke.json']"
    small = ("--network_def#channels", str([4] * levels), "--precision", "float32", "--channels_last", "false")
    small += ("--batch_size", "1")
    run = tmp_path / "run"
    ran = run_bundle("training", files, bundle, "--data_dir", data, "--output_dir", run, *small)
    assert ran.code == 0, ran.err
    assert check_bundle(run / "bundle") == []
    masks = tmp_path / "masks"
    ran = run_bundle("inference", "inference", run / "bundle", "--data_dir", data, "--output_dir", masks)
    assert ran.code == 0, ran.err
    made = [path for path in masks.rglob("*") if path.suffix in (".gz", ".png")]
    assert len(made) == len(find_cases(data, labels="none").cases) > 1
    assert {path: path.stat().st_mtime_ns for path in bundle.rglob("*")} == before
