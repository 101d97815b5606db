"""The bundle as people run it: ``python -m monai.bundle`` with absolute paths, from an empty working directory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from volseg.bundle.check import check_bundle
from volseg.bundle.evaluating import Measure
from volseg.bundle.load import load_bundle
from volseg.bundle.predicting import Images, Masks
from volseg.data.cohort import find_cases
from volseg.io import write_labels
from volseg.labels import Labels
from volseg.recipe import Recipe, load_recipe

Run = Callable[..., Any]
_TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m")


def _masks(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in folder.rglob("*.nii.gz")}


@pytest.mark.slow
def test_training_to_masks(untrained: Path, cohort: Path, tmp_path: Path, run_bundle: Run, tiny: Recipe) -> None:
    """A bundle trains, leaves a bundle that passes every check, and that one predicts and is measured."""
    run = tmp_path / "run"
    ran = run_bundle("training", "train", untrained, "--data_dir", cohort, "--output_dir", run)
    assert ran.code == 0, ran.err
    assert "epoch 1 of 1: loss" in ran.out
    assert check_bundle(run / "bundle") == []
    assert load_recipe(run / "bundle" / "configs" / "recipe.yaml") == tiny

    masks = tmp_path / "masks"
    ran = run_bundle("inference", "inference", run / "bundle", "--data_dir", cohort, "--output_dir", masks)
    assert ran.code == 0, ran.err
    made = _masks(masks)
    bundle = load_bundle(run / "bundle")
    cases = find_cases(cohort, labels="none").cases
    assert len(made) == len(cases) == 4
    for case in cases:
        image, mask = nib.load(case.image), nib.load(made[case.image.name])
        assert np.array_equal(mask.affine, image.affine)
        # the other door: the recipe and the weights alone
        other = tmp_path / "other.nii.gz"
        prediction = bundle.predict(case.image)
        write_labels(other, prediction.labels, prediction.grid)
        assert np.array_equal(np.asarray(mask.dataobj), np.asarray(nib.load(other).dataobj))

    scores = tmp_path / "scores"
    ran = run_bundle(
        "evaluating", "evaluate", run / "bundle", "--data_dir", cohort, "--output_dir", scores, "--fold", "0"
    )
    assert ran.code == 0, ran.err
    metrics = json.loads((scores / "metrics.json").read_text())
    assert metrics["count"] == {"cases": 2, "scored": 2, "failed": 0, "patients": 1}
    assert set(metrics["structures"]) == {"right ventricle", "myocardium", "left ventricle"}
    assert len(_masks(scores)) == 2


def test_spacings_that_the_bundle_allows_are_measured(micrographs: Path) -> None:
    """Pixels of half a micrometre that were predicted are not refused where the masks are read back."""
    labels = Labels.of({"cell": 1})
    images = Images(str(micrographs / "data"), spacing_range=(1e-6, 1000), truths=True)
    masks = Masks(str(micrographs / "masks"), labels)
    masks.done = [{"case": case.name, "mask": f"{case.name}.nii.gz"} for case in images.all_cases]
    Measure(masks, images, labels, instances=True).write()
    assert json.loads((micrographs / "masks" / "metrics.json").read_text())["count"]["scored"] == 4


@pytest.mark.slow
def test_both_doors_train_alike(
    untrained: Path, trained: Path, cohort: Path, tmp_path: Path, run_bundle: Run, volseg: Callable[..., Any]
) -> None:
    """MONAI's runner and ``volseg train``, from trained weights: the same bundle, to the last byte of the weights."""
    one, other = tmp_path / "one", tmp_path / "other"
    where = ("--data_dir", cohort, "--output_dir", one)
    ran = run_bundle("training", "train", untrained, *where, "--seed", "5", "--start_from", trained)
    assert ran.code == 0, ran.err
    recipe = untrained / "configs" / "recipe.yaml"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    words = ("--set", "training.seed=5", "--start-from", trained)
    done = volseg("train", "-r", recipe, "-d", cohort, "-o", other, *words, env=environment)
    assert done.returncode == 0, done.stderr
    files = [path.relative_to(one) for path in sorted((one / "bundle").rglob("*")) if path.is_file()]
    assert len(files) == 21
    for name in files:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.slow
def test_two_processes(untrained: Path, trained: Path, cohort: Path, tmp_path: Path, run_bundle: Run) -> None:
    """Two processes train together and leave one bundle; two share the cases of an evaluation."""
    run = tmp_path / "run"
    ran = run_bundle("training", "multi_gpu_train", untrained, "--data_dir", cohort, "--output_dir", run, first=_TWO)
    assert ran.code == 0, ran.err
    assert json.loads((run / "run.json").read_text())["world"] == 2
    assert check_bundle(run / "bundle") == []
    scores = tmp_path / "scores"
    ran = run_bundle(
        "evaluating", "multi_gpu_evaluate", trained, "--data_dir", cohort, "--output_dir", scores, first=_TWO
    )
    assert ran.code == 0, ran.err
    assert json.loads((scores / "metrics.json").read_text())["count"]["scored"] == 4
    assert len(json.loads((scores / "summary.json").read_text())["cases"]) == 4


@pytest.mark.slow
def test_settings_and_overlays(untrained: Path, cohort: Path, tmp_path: Path, run_bundle: Run, tiny: Recipe) -> None:
    """Settings on the command line and an overlay change the recipe that is trained, and the bundle that is left."""
    configs = untrained / "configs"
    files = f"['{configs}/train.json','{configs}/overlays/paper_sgd.json']"
    more = ("--epochs", "2", "--network_def#channels", "[5,8]", "--optimizer#lr", "0.001")
    run = tmp_path / "run"
    ran = run_bundle("training", files, untrained, "--data_dir", cohort, "--output_dir", run, *more)
    assert ran.code == 0, ran.err
    left = load_recipe(run / "bundle" / "configs" / "recipe.yaml")
    assert left == tiny.changed(
        {
            "training.epochs": 2,
            "training.batch": 1,
            "network.channels": [5, 8],
            "optimiser": {"kind": "sgd", "lr": 0.001, "momentum": 0.99, "nesterov": False, "weight_decay": 0},
        }
    )
    assert check_bundle(run / "bundle") == []


@pytest.mark.slow
def test_nothing_given_is_written_over(trained: Path, cohort: Path, tmp_path: Path, run_bundle: Run) -> None:
    """Neither images nor truths; and the masks of an earlier run below the data are no images of the next."""
    data = tmp_path / "data"
    shutil.copytree(cohort, data)
    before = {path: path.read_bytes() for path in data.rglob("*.nii.gz")}
    for name, config in (("inference", "inference"), ("evaluating", "evaluate")):
        ran = run_bundle(name, config, trained, "--data_dir", data, "--output_dir", data)
        assert ran.code == 1
        assert "the mask would overwrite its image" in ran.err
    for _ in range(2):
        ran = run_bundle("inference", "inference", trained, "--data_dir", data, "--output_dir", data / "masks")
        assert ran.code == 0, ran.err
        assert len(_masks(data / "masks")) == len(find_cases(cohort, labels="none").cases)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_one_bad_file(trained: Path, cohort: Path, tmp_path: Path, run_bundle: Run) -> None:
    """A damaged file costs only its own mask, and the run ends with an error that names it."""
    data = tmp_path / "data"
    data.mkdir()
    for number, case in enumerate(find_cases(cohort, labels="none").cases[:2]):
        (data / f"{number}.nii.gz").write_bytes(case.image.read_bytes())
    whole = (data / "0.nii.gz").read_bytes()
    (data / "bad.nii.gz").write_bytes(whole[: len(whole) // 2])
    out = tmp_path / "out"
    ran = run_bundle("inference", "inference", trained, "--data_dir", data, "--output_dir", out)
    assert ran.code == 1
    assert sorted(_masks(out)) == ["0.nii.gz", "1.nii.gz"]
    assert len(ran.told) == 1
    assert ran.told[0].startswith(f"error: 1 of 3 cases failed, the first: {data / 'bad.nii.gz'}: ")


@pytest.mark.slow
def test_thin_volumes(untrained: Path, cohort: Path, tmp_path: Path, run_bundle: Run) -> None:
    """Stacks of fewer slices than a patch has are trained on and predicted."""
    data = tmp_path / "data"
    (data / "images").mkdir(parents=True)
    (data / "labels").mkdir()
    for number, case in enumerate(find_cases(cohort).cases):
        for source, folder in ((case.image, "images"), (case.label, "labels")):
            volume = nib.load(source)
            nib.save(volume.slicer[:, :, 3:5], data / folder / f"{number}.nii.gz")
    run, out = tmp_path / "run", tmp_path / "out"
    ran = run_bundle("training", "train", untrained, "--data_dir", data, "--output_dir", run)
    assert ran.code == 0, ran.err
    ran = run_bundle("inference", "inference", run / "bundle", "--data_dir", data / "images", "--output_dir", out)
    assert ran.code == 0, ran.err
    assert {nib.load(path).shape[2] for path in _masks(out).values()} == {2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run_id", "config", "more", "line"),
    [
        (
            "training",
            "train",
            ["--data_dir", "{cohort}", "--output_dir", "{out}", "--epochz", "1"],
            "error: --epochz: there is no such setting; did you mean --epochs?",
        ),
        (
            "inference",
            "inference",
            ["--data_dir", "{cohort}", "--output_dir", "{out}"],
            "error: {bundle}/models/model.pt: there are no weights here; "
            "name a file of weights, or train the bundle first",
        ),
        (
            "training",
            "train",
            ["--data_dir", "{out}/nowhere", "--output_dir", "{out}"],
            "error: {out}/nowhere: does not exist",
        ),
        (
            "evaluating",
            "evaluate",
            ["--data_dir", "{same}", "--output_dir", "{out}"],
            "error: {same}: a.nii, a.nii.gz would share the result a; keep one of them, or rename one",
        ),
        (
            "training",
            "train",
            ["--data_dir", "{cohort}", "--output_dir", "{out}", "--bundle_root", "{same}"],
            "error: {same}: is no bundle (no configs/recipe.yaml); add --bundle_root FOLDER",
        ),
        (
            "training",
            "train",
            ["--output_dir", "{out}"],
            "error: no data are named; add --data_dir FOLDER",
        ),
        (
            "training",
            "train",
            ["--data_dir", "{cohort}", "--output_dir", "{out}", "--network_def#chanels", "[4]"],
            "error: settings: network.chanels: unknown key; did you mean 'channels'?",
        ),
    ],
    ids=["unknown setting", "no weights", "wrong folder", "one name twice", "another root", "no data", "deep setting"],
)
def test_traps(
    run_id: str,
    config: str,
    more: list[str],
    line: str,
    untrained: Path,
    cohort: Path,
    tmp_path: Path,
    empty: Path,
    run_bundle: Run,
) -> None:
    """What MONAI lets pass, or tells in a hundred lines, is one line and a non-zero exit; nothing is left behind."""
    same, out = tmp_path / "same", tmp_path / "out"
    same.mkdir()
    image = nib.load(find_cases(cohort).cases[0].image)
    for name in ("a.nii", "a.nii.gz", "a_gt.nii.gz"):
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj, dtype=np.int16), image.affine), same / name)
    words = {"cohort": cohort, "out": out, "same": same, "bundle": untrained, "empty": empty}
    given = [word.format(**words) for word in more]
    ran = run_bundle(run_id, config, untrained, *given)
    assert (ran.code, ran.told) == (1, [line.format(**words)])
    assert not out.exists()
