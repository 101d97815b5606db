"""The verb ``train``: where its recipe comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from volseg.geometry import Grid
from volseg.io import write_labels, write_volume
from volseg.recipe import load_recipe


def test_a_training_has_one_recipe(volseg, tmp_path: Path) -> None:
    """A recipe and a bundle together, or a bundle that is none, are one line and exit 2."""
    words = ("train", "-d", tmp_path, "-o", tmp_path / "run")
    both = volseg(*words, "-r", "a.yaml", "-b", tmp_path)
    assert (both.returncode, both.stderr) == (
        2,
        "error: a training has one recipe; either -r RECIPE.yaml or -b BUNDLE\n",
    )
    none = volseg(*words, "-b", tmp_path)
    assert none.returncode == 2
    assert none.stderr == f"error: {tmp_path}: is no folder of a bundle; a zip is unpacked by volseg bundle unpack\n"


def test_a_bundle_is_trained_anew(volseg, tiny_bundle: Path, tmp_path: Path) -> None:
    """``-b`` takes the bundle's recipe, ``--start-from`` its weights; the run leaves a bundle of its own."""
    random, grid = np.random.default_rng(0), Grid((16, 16, 16), np.eye(4))
    (tmp_path / "data").mkdir()
    for number in range(5):
        labels = random.integers(0, 3, grid.shape).astype(np.uint8)
        write_volume(tmp_path / "data" / f"case{number}.nii.gz", random.normal(labels, 0.1).astype(np.float32), grid)
        write_labels(tmp_path / "data" / f"case{number}_gt.nii.gz", labels, grid)
    changes = ("epochs=1", "validate_every=1", "steps_per_epoch=1", "workers=0")
    made = volseg(
        *("train", "-b", tiny_bundle, "--start-from", tiny_bundle, "-d", tmp_path / "data", "-o", tmp_path / "run"),
        *("--device", "cpu"),
        *(f"--set=training.{change}" for change in changes),
    )
    assert made.returncode == 0, made.stderr
    assert made.stderr.splitlines()[-1].endswith(f"the bundle is in {tmp_path / 'run' / 'bundle'}")
    left = tmp_path / "run" / "bundle"
    before, after = (load_recipe(bundle / "configs" / "recipe.yaml") for bundle in (tiny_bundle, left))
    assert after.network == before.network
    assert (left / "models" / "model.safetensors").is_file()
    card = (left / "docs" / "README.md").read_text()
    assert f"It started from the weights of {before.bundle.name or tiny_bundle.name} (sha256 " in card
