"""``volseg plan``: from a folder to a recipe that loads, builds into a bundle, and passes MONAI's own check."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import monai.bundle
import pytest

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
    return write_cohort(tmp_path_factory.mktemp("data") / "hearts", "heart", 3, size=48)


@pytest.mark.slow
def test_a_folder_becomes_a_bundle(hearts: Path, volseg: Any, tmp_path: Path) -> None:
    """Planned, every reason told, loaded strictly, built without weights, and as MONAI's own program wants it."""
    out = tmp_path / "hearts.yaml"
    run = volseg("plan", hearts, "-o", out, "--budget", "1min", "--memory", "1GiB", "--device", "cpu", "--json")
    assert run.returncode == 0, run.stderr
    recipe = load_recipe(out)
    assert recipe.labelling.names == ("right ventricle", "myocardium", "left ventricle")
    assert recipe.training.time_limit == 60
    assert recipe.bundle.name == "hearts"
    told = json.loads(run.stdout)[str(out)]
    assert told["measured"]["step"] > 0
    assert told["measured"]["peak"] <= 1 << 30
    assert all(choice["reason"] for choice in told["choices"])
    assert "# " in out.read_text()
    again = volseg("plan", hearts, "-o", out)
    assert again.returncode == 2
    assert again.stderr.strip() == f"error: {out}: is there already; --overwrite replaces it"
    folder = tmp_path / "bundle"
    assert volseg("bundle", "build", out, "-o", folder).returncode == 0
    configs = folder / "configs"
    monai.bundle.verify_net_in_out(
        net_id="network_def",
        meta_file=str(configs / "metadata.json"),
        config_file=str(configs / "inference.json"),
        device="cpu",
        n=4,
        any=4,
    )


@pytest.mark.slow
def test_both_dimensions_are_two_recipes(hearts: Path, volseg: Any, tmp_path: Path) -> None:
    """One slice by slice, one in 3-D; and the choices are a table."""
    run = volseg("plan", hearts, "-o", tmp_path / "h.yaml", "--budget", "30s", "--dims", "both", "--explain")
    assert run.returncode == 0, run.stderr
    assert load_recipe(tmp_path / "h_2d.yaml").spatial_dims == 2
    assert load_recipe(tmp_path / "h_3d.yaml").spatial_dims == 3
    assert "training.patch" in run.stdout
    assert "reason" in run.stdout.splitlines()[0]


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
    data = write_cohort(tmp_path / "one", "heart", 1, size=48)
    run = volseg("plan", data, "-o", tmp_path / "x.yaml")
    assert run.returncode == 1
    assert "are of one patient" in run.stderr.splitlines()[-1]
