"""The acceptance case: there in every trained bundle, telling, and different where the bundle is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from volseg.bundle.load import load_bundle
from volseg.bundle.rendering.build import build_bundle
from volseg.bundle.storage.files import open_bundle
from volseg.bundle.storage.manifest import RECIPE, SAFETENSORS, check_manifest
from volseg.bundle.verifying.golden import judge_golden, make_golden
from volseg.bundle.verifying.golden_files import TOLERANCE, GoldenFiles
from volseg.bundle.verifying.golden_phantoms import phantoms
from volseg.errors import BundleError, VolumeError
from volseg.geometry import Grid
from volseg.io import write_volume
from volseg.io.reading import read_volume
from volseg.recipe import Recipe, load_recipe

Build = Callable[..., Path]
COMMITTED = sorted(folder for folder in (Path(__file__).parents[2] / "bundles").iterdir() if folder.is_dir())
VOLUME: dict[str, Any] = {
    "labels.values": {"heart": 1, "lung": 2},
    "image": {"spatial_dims": 3, "modality": "MR", "spacing": [3, 3, "native"], "axcodes": "SLP"},
    "network.channels": [2, 4],
    "training.patch": [16, 16, 16],
}
CHANNELS: dict[str, Any] = {**VOLUME, "image": {"spatial_dims": 3, "channels": ["T1", "T2", "FLAIR"]}}
ABDOMEN: dict[str, Any] = {
    **VOLUME,
    "image": {"spatial_dims": 3, "modality": "CT", "seen": {"spacing": [[0.6, 1.0], [0.6, 1.0], [2, 6]]}},
    "normalisation": {"kind": "ct", "clip": [-200, 300], "mean": 50, "std": 70},
}
SLICES: dict[str, Any] = {
    **VOLUME,
    "image": {"spatial_dims": 3, "allowed_spacing": [0.1, 1.5]},
    "network.spatial_dims": 2,
    "training.patch": [16, 16],
}


def _outcome(folder: Path) -> Any:
    golden = check_manifest(folder).golden
    assert golden is not None
    with open_bundle(folder) as files:
        return judge_golden(load_bundle(folder), files, golden)


@pytest.mark.parametrize("keys", [VOLUME, CHANNELS, ABDOMEN, SLICES], ids=["volume", "channels", "ct", "slices"])
def test_every_kind_of_recipe_has_one(keys: dict[str, Any], build: Build) -> None:
    """Dimensions, channels, spacings and modalities: the phantom suits, the mask shows something and is given again."""
    recipe = Recipe.from_dict(keys)
    folder = build(recipe)
    outcome = _outcome(folder)
    assert (outcome.differing, outcome.tolerance) == (0, TOLERANCE)
    assert outcome.structures
    assert outcome.counted > 300
    golden = GoldenFiles.among(p.relative_to(folder).as_posix() for p in folder.rglob("*.nii"))
    assert golden is not None
    volumes = [read_volume(folder / path) for path in golden.images]
    assert len(volumes) == recipe.in_channels
    assert len({volume.array.tobytes() for volume in volumes}) == min(recipe.in_channels, 2)
    low, high = recipe.image.allowed_spacing
    assert all(low <= mm <= high for mm in volumes[0].grid.spacing)
    if recipe.image.seen.spacing:
        assert volumes[0].grid.spacing == pytest.approx((0.8, 0.8, 4))


def test_small_and_the_same_each_time(built: Path, build: Build, recipe: Recipe) -> None:
    """Building again gives the same bytes, few of them, and the manifest states what may differ."""
    again = build(recipe)
    for name in ("golden/image.nii", "golden/mask.nii", "manifest.json"):
        assert (again / name).read_bytes() == (built / name).read_bytes()
    assert sum(path.stat().st_size for path in (built / "golden").iterdir()) < 200_000
    assert check_manifest(built).golden == GoldenFiles(("golden/image.nii",), "golden/mask.nii", TOLERANCE)


def test_kept_as_long_as_it_is_this_bundles(recipe: Recipe, build: Build) -> None:
    """A rebuild keeps the case; other weights, or a recipe that predicts otherwise, get a new one."""
    folder, other = build(recipe), build(recipe, change=lambda weights: weights["head.weight"].neg_())
    case = [folder / "golden" / name for name in ("image.nii", "mask.nii")]
    before = [path.stat().st_mtime_ns for path in case]
    build_bundle(recipe, folder)
    assert [path.stat().st_mtime_ns for path in case] == before
    mask = case[1].read_bytes()
    build_bundle(recipe, folder, weights=other / SAFETENSORS)
    assert case[1].read_bytes() == (other / "golden/mask.nii").read_bytes() != mask
    build_bundle(recipe.changed({"postprocessing": {"cell": {"minimum_size": 10**6}}}), folder)
    assert case[1].read_bytes() != (other / "golden/mask.nii").read_bytes()
    assert _outcome(folder).differing == 0


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_the_committed_cases_are_phantoms(folder: Path, tmp_path: Path) -> None:
    """Voxels and grid of each image are still those that the recipe's phantoms have: none is of a person."""
    golden = check_manifest(folder).golden
    assert golden is not None
    drawn = []
    for voxels, grid in phantoms(load_recipe(folder / RECIPE)):
        for number, channel in enumerate(voxels):
            write_volume(tmp_path / f"{number}.nii", channel, grid)
        drawn.append([(tmp_path / f"{number}.nii").read_bytes() for number in range(len(voxels))])
    assert [(folder / path).read_bytes() for path in golden.images] in drawn


def test_a_case_that_cannot_be_judged_is_told(
    built: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that are too few, that cannot be read, or lie elsewhere than the mask; a network that refuses them all."""
    bundle, golden = load_bundle(built), GoldenFiles(("golden/image.nii",))
    folder = tmp_path / "cells"
    shutil.copytree(built, folder)

    def told(golden: GoldenFiles = golden) -> str:
        with pytest.raises(BundleError) as caught, open_bundle(folder) as files:
            judge_golden(bundle, files, golden)
        return str(caught.value).removeprefix(f"{folder}: ")

    assert told(GoldenFiles(golden.images * 2)) == "the acceptance case has 2 images, the recipe 1 channels"
    image = folder / "golden" / "image.nii"
    good = image.read_bytes()
    image.write_bytes(good[:200])
    assert told().startswith("the acceptance case cannot be read (golden/image.nii: ")
    volume = read_volume(built / "golden" / "image.nii")
    moved = volume.grid.affine.copy()
    moved[0, -1] += 1
    write_volume(image, volume.array, Grid(volume.grid.shape, moved))
    assert "the acceptance case's image and mask" in told()

    def refuses(*_: object) -> None:
        raise VolumeError("is not to be read")

    monkeypatch.setattr("volseg.bundle.verifying.golden._read", refuses)
    with pytest.raises(BundleError) as caught:
        make_golden(bundle)
    assert str(caught.value) == (
        f"{built}: the network gives no mask for a phantom (is not to be read); train it again"
    )


def test_a_network_that_finds_nothing(recipe: Recipe, build: Build) -> None:
    """Phantoms are tried until one shows something; where none does, the outcome says that it is empty."""

    def blind(weights: dict[str, torch.Tensor]) -> None:
        weights["head.weight"].zero_()
        weights["head.bias"].copy_(torch.tensor([1.0, 0.0, 0.0]))

    assert _outcome(build(recipe, change=blind)).structures == ()


def test_other_weights_give_another_mask(built: Path, recipe: Recipe, build: Build, tmp_path: Path) -> None:
    """A bundle with the case of another is refused, with how many labels differ."""
    other = build(recipe, change=lambda weights: weights["head.weight"].neg_())
    golden = check_manifest(built).golden
    assert golden is not None
    with open_bundle(built) as files, pytest.raises(BundleError, match=r"another mask .* \d+ of \d+ labels differ"):
        judge_golden(load_bundle(other), files, golden)


def test_some_labels_may_differ(built: Path, recipe: Recipe, build: Build) -> None:
    """As many as the manifest says, and not one more; it cannot say more than a fiftieth."""
    folder = build(recipe)
    file = folder / "golden" / "mask.nii"
    mask = read_volume(file)
    structures = np.flatnonzero(mask.array)
    counted = len(structures)
    allowed = int(counted * TOLERANCE)
    golden = GoldenFiles(("golden/image.nii",))
    for number, good in ((allowed, True), (allowed + 1, False)):
        spoilt = mask.array.ravel().copy()
        spoilt[structures[:number]] = 3 - spoilt[structures[:number]]
        write_volume(file, spoilt.reshape(mask.array.shape), mask.grid)
        with open_bundle(folder) as files:
            if good:
                assert judge_golden(load_bundle(built), files, golden).differing == number
            else:
                with pytest.raises(BundleError, match=f"{number} of {counted} labels differ"):
                    judge_golden(load_bundle(built), files, golden)
    with pytest.raises(BundleError, match=r"lets 0\.5 of the labels differ"):
        GoldenFiles.from_dict({**golden.to_dict(), "tolerance": 0.5}, [*golden.images, golden.mask], "x")


def test_a_case_that_would_fill_the_memory(build: Build) -> None:
    """A recipe that resamples a small image to a giant one is refused before it does."""
    recipe = Recipe.from_dict({**VOLUME, "image": {"spatial_dims": 3, "spacing": [0.05, 0.05, 0.05]}})
    folder = build(Recipe.from_dict(VOLUME))
    bundle = load_bundle(folder)
    golden = check_manifest(folder).golden
    assert golden is not None
    with open_bundle(folder) as files, pytest.raises(BundleError, match=r"resampled to \d+x\d+x\d+ voxels"):
        judge_golden(type(bundle)("x", "x", recipe, bundle.weights, bundle.sha256), files, golden)
