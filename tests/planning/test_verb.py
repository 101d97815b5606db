"""``volseg plan``: from a folder to a recipe that loads, builds into a bundle, and passes MONAI's own check."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import monai.bundle
import pytest

from volseg.bundle.rendering.build import build_bundle
from volseg.data.phantom import write_cohort
from volseg.recipe import load_recipe


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """MONAI logs what it is given."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("data") / "hearts", "heart", 3, size=96)


@pytest.mark.slow
def test_a_folder_becomes_a_bundle(hearts: Path, volseg: Any, tmp_path: Path) -> None:
    """Planned in both dimensions, loaded strictly, built without weights, and as MONAI's own program wants it."""
    out = tmp_path / "hearts.yaml"
    asked = ("--budget", "1min", "--memory", "1GiB", "--device", "cpu", "--dims", "both", "--json")
    run = volseg("plan", hearts, "-o", out, *asked)
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout)
    for dims in (2, 3):
        file = tmp_path / f"hearts_{dims}d.yaml"
        recipe = load_recipe(file)
        assert recipe.spatial_dims == dims
        assert recipe.labelling.names == ("right ventricle", "myocardium", "left ventricle")
        assert recipe.training.time_limit == 60
        assert recipe.bundle.name == f"hearts_{dims}d"
        assert told[str(file)]["measured"]["step"] > 0
        assert told[str(file)]["measured"]["peak"] <= 1 << 30
        assert all(choice["reason"] for choice in told[str(file)]["choices"])
        assert "# the images are 3-D" in file.read_text()
        folder = tmp_path / f"bundle_{dims}d"
        build_bundle(recipe, folder)
        configs = folder / "configs"
        monai.bundle.verify_net_in_out(
            net_id="network_def",
            meta_file=str(configs / "metadata.json"),
            config_file=str(configs / "inference.json"),
            device="cpu",
            n=4,
            any=4,
        )
    again = volseg("plan", hearts, "-o", out, "--dims", "both")
    assert again.returncode == 2
    assert again.stderr.strip() == f"error: {tmp_path / 'hearts_2d.yaml'}: is there already; --overwrite replaces it"


@pytest.mark.slow
def test_a_hurried_plan_says_so(hearts: Path, volseg: Any, tmp_path: Path) -> None:
    """A second trains nothing: the recipe is written, with a warning."""
    out = tmp_path / "hearts.yaml"
    run = volseg("plan", hearts, "-o", out, "--budget", "1s", "--memory", "1GiB", "--device", "cpu")
    assert run.returncode == 0, run.stderr
    training = load_recipe(out).training
    assert training.epochs * (training.steps_per_epoch or 0) < 100
    assert "steps teach a network little" in run.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "x.txt"], "a recipe is a .yaml file"),
        (["-o", "x.yaml", "--budget", "soon"], "no length of time"),
        (["-o", "x.yaml", "--labels", "heart"], "'heart' is no label"),
        (["-o", "x.yaml", "--labels", "heart=1,lung=1"], "twice"),
        (["-o", "x.yaml", "--memory", "much"], "no amount of memory"),
    ],
)
def test_misuse_is_one_line_and_exit_2(hearts: Path, volseg: Any, tmp_path: Path, words: list[str], said: str) -> None:
    """And nothing is written."""
    run = volseg("plan", hearts, *words, cwd=tmp_path)
    assert run.returncode == 2
    assert said in run.stderr.splitlines()[-1]
    assert not list(tmp_path.iterdir())


def test_one_patient_cannot_be_planned(volseg: Any, tmp_path: Path) -> None:
    """Nobody would be left to validate with."""
    data = write_cohort(tmp_path / "one", "heart", 1, size=96)
    run = volseg("plan", data, "-o", tmp_path / "x.yaml")
    assert run.returncode == 1
    assert "are of one patient" in run.stderr.splitlines()[-1]
