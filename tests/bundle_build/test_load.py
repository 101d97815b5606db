"""Loading a bundle: from its recipe and its weights, and the same masks as through MONAI's runner."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow

from tests.cpu import with_bfloat16
from volseg.bundle.load import load_bundle
from volseg.bundle.packing import pack_bundle
from volseg.bundle.predicting import mask_name
from volseg.bundle.rendering.build import build_bundle
from volseg.bundle.storage.manifest import SAFETENSORS
from volseg.bundle.workflow import cause_of
from volseg.data.cohort import find_cases
from volseg.data.phantom import write_cohort
from volseg.engine import compose
from volseg.errors import BundleError, UsageError, VolumeError
from volseg.io import read_labels, read_volume
from volseg.recipe import Recipe

CELLS = {
    "labels.values": {"cell": 1},
    "image": {"spatial_dims": 2, "modality": "microscopy", "allowed_spacing": [1e-6, 1000]},
    "normalisation": {"kind": "percentile"},
    "network": {"channels": [4, 8], "padding": "valid", "norm": None},
    "augmentation": {"flips": [0, 1], "right_angles": [[0, 1]]},
    "training.patch": [44, 44],
    "inference.tta": "flips+rotations",
    "postprocessing": {"cell": {"minimum_size": 5, "fill_holes": True}},
}
SLICES = {
    "labels": {
        "values": {"right ventricle": 1, "myocardium": 2, "left ventricle": 3},
        "regions": {
            "heart": ["myocardium", "right ventricle", "left ventricle"],
            "right": ["right ventricle"],
            "left": ["left ventricle"],
        },
        "output": "regions",
    },
    "image": {"spatial_dims": 3, "spacing": [3, 3, "native"], "axcodes": "LPS"},
    "network": {"spatial_dims": 2, "channels": [4, 8]},
    "training.patch": [32, 32],
    "inference.resampling_order": 3,
}


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("hearts") / "data", "heart", 5, seed=1, size=88)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cells") / "data", "cells", 3, seed=1, size=96)


def _bundle(recipe: Recipe, folder: Path) -> Path:
    torch.manual_seed(4)
    torch.save(compose.build(compose.network_part(recipe)).state_dict(), folder / "w.pt")
    return build_bundle(recipe, folder / "bundle", weights=folder / "w.pt")


def _run(bundle: Path, data: Path, out: Path, **settings: Any) -> None:
    logging.disable(logging.WARNING)
    try:
        workflow = ConfigWorkflow(
            str(bundle / "configs" / "inference.json"),
            logging_file=False,
            workflow_type="infer",
            bundle_root=str(bundle),
            data_dir=str(data),
            output_dir=str(out),
            **settings,
        )
        workflow.initialize()
        workflow.run()
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "data", "count"),
    [(None, "hearts", 10), (SLICES, "hearts", 10), (CELLS, "cells", 3)],
    ids=["3-D", "slices", "2-D"],
)
def test_two_doors(
    keys: dict[str, Any] | None, data: str, count: int, tiny: Recipe, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """The JSON and the recipe give identical masks, on every case."""
    cohort: Path = request.getfixturevalue(data)
    folder = _bundle(tiny if keys is None else Recipe.from_dict(keys), tmp_path)
    _run(folder, cohort, tmp_path / "out")
    bundle = load_bundle(folder)
    cases = find_cases(cohort, labels="none").cases
    assert len(cases) == count
    values = set()
    for case in cases:
        mask = read_labels(tmp_path / "out" / mask_name(case), spacing_range=(1e-6, 1000)).array
        assert np.array_equal(mask, bundle.predict(case.image).labels)
        values |= set(np.unique(mask).tolist())
    assert len(values) > 1  # masks of nothing would be equal as well


def test_another_inferer(trained: Path, cohort: Path, tmp_path: Path) -> None:
    """MONAI's own inferer in the place of ours is used: one whole pass gives the same masks as exact pieces."""
    _run(trained, cohort, tmp_path / "ours", turns=[])
    _run(trained, cohort, tmp_path / "monai", turns=[], inferer={"_target_": "SimpleInferer"})
    for case in find_cases(cohort, labels="none").cases:
        masks = [read_labels(tmp_path / door / mask_name(case)).array for door in ("ours", "monai")]
        assert np.array_equal(*masks)


def test_other_slices(trained: Path, cohort: Path, tmp_path: Path) -> None:
    """Slices along another axis than those that networks learn from are refused, not passed over."""
    with pytest.raises(RuntimeError) as raised:
        _run(trained, cohort, tmp_path / "out", **{"inferer#slice_axis": 0})
    assert "slice_axis is 0, and networks of slices learn from those along the last axis" in str(cause_of(raised.value))


def test_zip(trained: Path, cohort: Path, tmp_path: Path) -> None:
    """A packed bundle is loaded as its folder is."""
    pack_bundle(trained, tmp_path / "tiny.zip")
    image = find_cases(cohort, labels="none").cases[0].image
    packed, folder = load_bundle(tmp_path / "tiny.zip"), load_bundle(trained)
    assert packed.name == folder.name == "tiny"
    assert np.array_equal(packed.predict(image).labels, folder.predict(read_volume(image)).labels)


def test_reads_two_files(trained: Path, tmp_path: Path) -> None:
    """Recipe and weights are enough, whatever else is missing or malicious."""
    folder = tmp_path / "tiny"
    for name in ("configs/recipe.yaml", SAFETENSORS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(trained / name, folder / name)
    (folder / "configs" / "inference.json").write_text('{"_target_": "os.abort"}')
    (folder / "models" / "model.pt").write_bytes(b"no weights")
    assert load_bundle(folder).recipe == load_bundle(trained).recipe


def test_what_a_caller_may_choose(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns, memory, tiles and precision given to the predictor win over the recipe's."""
    with_bfloat16(monkeypatch, True)
    bundle = load_bundle(trained)
    assert len(bundle.turns) == 2
    assert len(bundle.predictor(device="cpu").members) == 2
    chosen = bundle.predictor(device="cpu", turns=[], max_memory="1GiB", tile=[16, 16, 4], precision="bf16")
    assert (len(chosen.members), chosen.max_memory, chosen.tile, chosen.precision) == (
        1,
        2**30,
        [16, 16, 4],
        "bf16",
    )


def test_channels(trained: Path, cohort: Path) -> None:
    """Another number of channels is refused."""
    image = find_cases(cohort, labels="none").cases[0].image
    with pytest.raises(UsageError, match=r"2 images were given; the bundle takes 1 \(image\)"):
        load_bundle(trained).predict([image, image])


def test_a_file_that_does_not_say_how_it_lies(trained: Path, cohort: Path, tmp_path: Path) -> None:
    """Nothing is assumed unless the caller says so."""
    image = read_volume(find_cases(cohort, labels="none").cases[0].image)
    bare = nib.Nifti1Image(np.asarray(image.array), None)
    bare.header.set_zooms(image.grid.spacing)
    nib.save(bare, tmp_path / "bare.nii")
    bundle = load_bundle(trained)
    with pytest.raises(VolumeError, match="does not say where left and right are"):
        bundle.predict(tmp_path / "bare.nii")
    assert bundle.predict(tmp_path / "bare.nii", assume_ras=True).grid.axcodes == "RAS"


def test_refusals(trained: Path, untrained: Path, tmp_path: Path) -> None:
    """A bundle without weights, one with damaged ones, and no bundle are refused."""
    with pytest.raises(BundleError, match=r"has no models/model\.safetensors; train the bundle"):
        load_bundle(untrained)
    with pytest.raises(BundleError, match="no such file or folder"):
        load_bundle(tmp_path / "nowhere")
    folder = tmp_path / "tiny"
    shutil.copytree(trained, folder)
    (folder / SAFETENSORS).write_bytes((folder / SAFETENSORS).read_bytes()[:-10])
    with pytest.raises(BundleError, match=r"model\.safetensors is not the one in the manifest"):
        load_bundle(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(BundleError, match="is no safetensors file"):
        load_bundle(folder)
