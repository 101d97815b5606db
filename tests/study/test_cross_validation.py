"""Cross-validation: every case by a network that never saw it, nothing done twice, one bundle that passes its check."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from volseg.bundle.check import check_bundle
from volseg.bundle.load import load_bundle
from volseg.bundle.rendering.build import build_bundle
from volseg.bundle.state_dict import read_weights
from volseg.engine import compose
from volseg.engine.run_folder import RunError
from volseg.engine.stopping import Stop
from volseg.errors import CohortError, UsageError
from volseg.geometry import Grid
from volseg.inference.tta import turns as all_turns
from volseg.io import read_labels
from volseg.prediction.trust import StructureTrust, Trust
from volseg.recipe import Recipe, dump_recipe, load_recipe
from volseg.study.calibration import calibrate
from volseg.study.cross_validation import CrossValidation, cross_validate


@pytest.fixture(scope="module")
def recipe(tiny: Recipe) -> Recipe:
    """The tiny one with its folds and a clean-up of its own."""
    return tiny.changed({"postprocessing": {"cell": {"minimum_size": 3}}})


@pytest.fixture(scope="module")
def crossed(recipe: Recipe, cells: Path, tmp_path_factory: pytest.TempPathFactory) -> CrossValidation:
    """Two folds of one epoch."""
    torch.manual_seed(0)
    return cross_validate(recipe, cells, tmp_path_factory.mktemp("crossed") / "run", device="cpu", stop=Stop())


@pytest.mark.slow
def test_every_case_is_told_by_a_stranger(crossed: CrossValidation, recipe: Recipe, cells: Path) -> None:
    """A mask for each case, by the fold that held it out; measures of all of them with intervals over patients."""
    folder = crossed.folder
    told = json.loads((folder / "metrics.json").read_text())
    assert told["count"] == {"cases": 8, "scored": 8, "failed": 0, "patients": 8}
    assert (
        told["structures"]["cell"]["dice"]["low"] <= told["mean"]["dice"] <= told["structures"]["cell"]["dice"]["high"]
    )
    folds = json.loads((folder / "folds.json").read_text())["folds"]
    for number, fold in enumerate(folds):
        assert fold == json.loads((folder / f"fold{number}" / "folds.json").read_text())["folds"][number]
        weights = read_weights(folder / f"fold{number}" / "models" / "last.safetensors")
        bundle = build_bundle(recipe, folder.parent / f"of fold {number}", weights=_saved(weights, folder.parent))
        predictor = load_bundle(bundle).predictor(device="cpu", raw=True)
        assert predictor.precision == recipe.inference.precision
        name = fold["validation"][0]
        stored = read_labels(folder / "raw_out_of_fold" / f"{name}.png")
        made = load_bundle(bundle).predict(cells / "images" / f"{name}.png", predictor=predictor)
        np.testing.assert_array_equal(made.labels, stored.array)
    assert len(list((folder / "out_of_fold").glob("*.png"))) == 8


def _saved(weights: dict[str, torch.Tensor], folder: Path) -> Path:
    from safetensors.torch import save_file

    save_file(weights, folder / "weights.safetensors")
    return folder / "weights.safetensors"


@pytest.mark.slow
def test_the_bundle_holds_all_of_it(crossed: CrossValidation, recipe: Recipe, cells: Path) -> None:
    """It passes its check, brings the trust score and the chosen clean-up, and predict writes what they say."""
    assert crossed.bundle is not None
    assert check_bundle(crossed.bundle) == []
    bundle = load_bundle(crossed.bundle)
    assert bundle.trust is not None
    assert crossed.average is not None
    assert len(bundle.members) == (0 if crossed.average.as_good else 1)
    assert crossed.clean_up is not None
    assert bundle.recipe.postprocessing["cell"] == crossed.clean_up["cell"].steps
    made = bundle.predict(next((cells / "images").iterdir()))
    assert set(made.trust) == {"cell"}
    assert 0 <= made.trust["cell"].low <= made.trust["cell"].dice <= made.trust["cell"].high <= 1
    assert (crossed.folder / "calibration.svg").read_bytes().startswith(b"<?xml")
    told = json.loads((crossed.folder / "cross_validation.json").read_text())
    assert told["trust"]["all"]["n"] == 8
    assert told["networks"] == 1 + len(bundle.members)


@pytest.mark.slow
def test_resumed_nothing_is_done_again(crossed: CrossValidation, recipe: Recipe, cells: Path) -> None:
    """Finished folds stay as they are, byte for byte, and so does everything made of them."""
    folder = crossed.folder
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    told: list[str] = []
    again = cross_validate(recipe, cells, folder, resume=True, device="cpu", stop=Stop(), tell=told.append)
    assert [line for line in told if "finished before" in line] == [
        "fold 0: finished before",
        "fold 1: finished before",
    ]
    assert not [line for line in told if "predicted" in line]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert again.average == crossed.average
    with pytest.raises(UsageError, match="holds a cross-validation already"):
        cross_validate(recipe, cells, folder, stop=Stop())
    with pytest.raises(RunError, match=r"the recipe has changed since the run began: optimiser\.lr"):
        cross_validate(recipe.changed({"optimiser.lr": 0.5}), cells, folder, resume=True, stop=Stop())


@pytest.mark.slow
def test_killed_and_resumed_it_ends_the_same(
    crossed: CrossValidation, recipe: Recipe, cells: Path, tmp_path: Path
) -> None:
    """SIGKILL in the middle of a fold costs time, and changes no bit of what comes out."""
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    words = ["train", "-r", tmp_path / "recipe.yaml", "-d", cells, "-o", tmp_path / "run", "--fold", "all"]
    command = [sys.executable, "-m", "volseg.cli", *map(str, words), "--device", "cpu"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    try:
        deadline = time.monotonic() + 240
        while not (tmp_path / "run" / "fold0" / "run.json").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "run" / "bundle").exists()
    cross_validate(recipe, cells, tmp_path / "run", resume=True, device="cpu", stop=Stop())
    for fold in ("fold0", "fold1"):
        one, other = (
            read_weights(folder / fold / "models" / "last.safetensors") for folder in (tmp_path / "run", crossed.folder)
        )
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_signal_leaves_it_to_be_gone_on_with(recipe: Recipe, cells: Path, tmp_path: Path) -> None:
    """It ends in the first fold, and says why."""

    class Now(Stop):
        why = "stopped by SIGTERM"  # type: ignore[assignment]

    found = cross_validate(recipe, cells, tmp_path / "run", device="cpu", stop=Now())
    assert found.interrupted == "stopped by SIGTERM"
    assert not (tmp_path / "run" / "fold1").exists()
    assert not (tmp_path / "run" / "bundle").exists()
    told = recipe.changed({"bundle.description": "Segments cells, told better."})
    cross_validate(told, cells, tmp_path / "run", resume=True, device="cpu", stop=Now())
    assert load_recipe(tmp_path / "run" / "recipe.yaml") == told


@pytest.mark.slow
def test_two_processes_cross_validate_together(recipe: Recipe, cells: Path, tmp_path: Path) -> None:
    """Begun by the first for both, and ended by it."""
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    words = ["-m", "volseg.cli", "train", "-r", tmp_path / "recipe.yaml", "-d", cells, "-o", tmp_path / "run"]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *words]
    done = subprocess.run(
        [*map(str, run), "--fold", "all", "--device", "cpu"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert check_bundle(tmp_path / "run" / "bundle") == []
    assert json.loads((tmp_path / "run" / "cross_validation.json").read_text())["trust"]["all"]["n"] == 8


@pytest.mark.slow
def test_each_fold_has_the_time_limit_for_itself(
    recipe: Recipe, cells: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folds whose time is up leave the network they have, and the cross-validation comes to its end; it can go on."""
    # a clock that goes on by a second whenever somebody looks
    monkeypatch.setattr("volseg.engine.stopping.time", SimpleNamespace(monotonic=count().__next__))
    hurried = recipe.changed({"training.time_limit": "1min", "training.epochs": 1000, "training.validate_every": 1000})
    told: list[str] = []
    found = cross_validate(hurried, cells, tmp_path / "run", device="cpu", tell=told.append)
    assert found.interrupted is None
    assert found.bundle is not None
    assert [line.split(" in epoch")[0] for line in told if "time limit" in line] == [
        "fold 0: the time limit is reached",
        "fold 1: the time limit is reached",
    ]
    before = [int(line.split("epoch ")[1].split(";")[0]) for line in told if "time limit" in line]
    told.clear()
    cross_validate(hurried, cells, tmp_path / "run", resume=True, device="cpu", tell=told.append)
    after = [int(line.split("epoch ")[1].split(";")[0]) for line in told if "time limit" in line]
    assert after[0] > before[0]
    assert after[1] > before[1]


@pytest.mark.slow
def test_spacings_that_the_recipe_allows_are_allowed_to_the_end(micrographs: Path) -> None:
    """Voxels of half a micrometre are trained on, and the masks and truths that tell what came of it are read too."""
    asked = load_recipe(micrographs / "recipe.yaml")
    found = cross_validate(asked, micrographs / "data", micrographs / "run", device="cpu", stop=Stop())
    assert found.evaluation is not None
    assert len(found.evaluation.scored) == 4
    assert found.bundle is not None


def test_one_division_cannot_be_crossed(recipe: Recipe, cells: Path, tmp_path: Path) -> None:
    """Cases that say themselves what is learnt from are for a single training."""
    images = sorted((cells / "images").iterdir())
    rows = [
        f"{image},{cells / 'instances' / image.name},{side}"
        for image, side in zip(images, ["train"] * 6 + ["validation"] * 2, strict=True)
    ]
    (tmp_path / "cases.csv").write_text("\n".join(["image,instances,split", *rows]))
    with pytest.raises(CohortError, match="one division and nothing to cross"):
        cross_validate(recipe, tmp_path / "cases.csv", tmp_path / "run", stop=Stop())


def test_a_single_training_is_not_crossed_over(recipe: Recipe, cells: Path, tmp_path: Path) -> None:
    """A folder with a run of one fold is left alone."""
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="holds a training of one fold"):
        cross_validate(recipe, cells, tmp_path, resume=True, stop=Stop())


def test_the_verb_knows_folds(tmp_path: Path, recipe: Recipe) -> None:
    """A number or all."""
    from typer.testing import CliRunner

    from volseg.cli.app import app

    (tmp_path / "r.yaml").write_text(dump_recipe(recipe))
    words = ["train", "-r", str(tmp_path / "r.yaml"), "-d", str(tmp_path), "-o", str(tmp_path / "o"), "--fold", "al"]
    found = CliRunner().invoke(app, words)
    assert isinstance(found.exception, UsageError)
    assert "--fold al is no fold" in str(found.exception)


# --- the ensemble itself ---


@pytest.fixture(scope="module")
def networks(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Random weights of three networks."""
    folder = tmp_path_factory.mktemp("weights")
    paths = []
    for seed in range(3):
        torch.manual_seed(seed)
        paths.append(folder / f"{seed}.pt")
        torch.save(compose.build(compose.network_part(recipe)).state_dict(), paths[-1])
    return paths


@pytest.fixture(scope="module")
def ensemble(recipe: Recipe, networks: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bundle(recipe, tmp_path_factory.mktemp("ensemble") / "tiny", weights=networks[0], members=networks[1:])


def test_an_ensemble_is_the_mean_of_its_members(
    ensemble: Path, recipe: Recipe, networks: list[Path], cells: Path
) -> None:
    """One pass of all members and turns; probabilities are averaged, not masks."""
    bundle = load_bundle(ensemble)
    predictor = bundle.predictor(device="cpu")
    assert len(predictor.members) == 3 * 4
    image = next((cells / "images").iterdir())
    together = bundle.predict(image, predictor=predictor, keep_probabilities=True).probabilities
    alone = []
    for number, path in enumerate(networks):
        one = build_bundle(recipe, ensemble.parent / f"one{number}", weights=path)
        alone.append(load_bundle(one).predict(image, keep_probabilities=True).probabilities)
    assert together is not None
    mean = np.mean([part.astype(float) for part in alone if part is not None], axis=0)
    assert np.abs(together - mean).max() <= 1.0


def test_an_ensemble_is_whole(ensemble: Path, recipe: Recipe, networks: list[Path], tmp_path: Path) -> None:
    """Its check passes; rebuilt it stays as it is; without a member, or with another, it is another bundle."""
    assert check_bundle(ensemble) == []
    before = {path: path.read_bytes() for path in ensemble.rglob("*") if path.is_file()}
    build_bundle(recipe, ensemble)
    assert {path: path.read_bytes() for path in ensemble.rglob("*") if path.is_file()} == before
    fewer = build_bundle(recipe, tmp_path / "fewer", weights=networks[0], members=networks[1:2])
    assert load_bundle(fewer).identity != load_bundle(ensemble).identity
    (fewer / "models" / "member_1.safetensors").unlink()
    assert any("member_1.safetensors is missing" in line for line in check_bundle(fewer))
    alone = build_bundle(recipe, fewer, weights=networks[0])
    assert check_bundle(alone) == []
    with pytest.raises(UsageError, match="an ensemble of 3 networks"):
        load_bundle(ensemble).network()


def test_a_trust_score_goes_with_its_weights(recipe: Recipe, networks: list[Path], tmp_path: Path) -> None:
    """It is listed, checked, kept by a rebuild, and gone with the weights that it was of."""
    trust = Trust({}, 0.9, {})
    bundle = build_bundle(recipe, tmp_path / "b", weights=networks[0], trust=trust)
    assert check_bundle(bundle) == []
    assert load_bundle(bundle).trust == trust
    assert load_bundle(build_bundle(recipe, bundle)).trust == trust
    (bundle / "models" / "trust.json").write_text('{"format": "volseg trust 1"}')
    assert any("is no trust score" in line for line in check_bundle(bundle))
    assert load_bundle(build_bundle(recipe, bundle, weights=networks[1])).trust is None
    assert calibrate([]).trust == Trust({}, 0.9, {})


def test_other_copies_than_the_calibrated_give_no_trust_score(
    recipe: Recipe, networks: list[Path], tmp_path: Path
) -> None:
    """Their signs mean something else, and a wrong score is worse than none."""
    plain = StructureTrust((), (), (), (), -2.0, -0.5, 0.5, review=0.1, cases=24, patients=24)
    trust = Trust({"cell": plain}, 0.9, {})
    bundle = load_bundle(build_bundle(recipe, tmp_path / "b", weights=networks[0], trust=trust))
    image, grid = np.random.default_rng(0).random((48, 48), np.float32), Grid.from_spacing((48, 48), (1.0, 1.0))
    assert bundle.predict(image, grid).trust
    told = {}
    for turns in ((), all_turns(2, flips=(0, 1))):
        told[turns] = bool(bundle.predict(image, grid, predictor=bundle.predictor(turns=turns)).trust)
    assert told == {turns: turns == bundle.turns for turns in told}
    assert any(told.values())


@pytest.mark.slow
def test_both_doors_average_alike(ensemble: Path, cells: Path, tmp_path: Path, volseg: Callable[..., object]) -> None:
    """MONAI's runner and volseg predict give the same masks of an ensemble."""
    from volseg.data.cohort import find_cases

    words = ["-m", "monai.bundle", "run", "inference", "--config_file", str(ensemble / "configs" / "inference.json")]
    words += ["--bundle_root", str(ensemble), "--data_dir", str(cells), "--output_dir", str(tmp_path / "monai")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PAGER": "cat"}
    done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    ours = volseg("predict", "-i", cells, "-o", tmp_path / "ours", "-b", ensemble, "--format", "png")
    assert ours.returncode == 0, ours.stderr
    cases = find_cases(cells, labels="none").cases
    assert len(cases) == 8
    for case in cases:
        theirs, own = (read_labels(tmp_path / door / f"{case.name}.png").array for door in ("monai", "ours"))
        np.testing.assert_array_equal(theirs, own)
