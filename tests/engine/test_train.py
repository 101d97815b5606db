"""Whole trainings: they learn, and every kind of recipe goes from data to weights."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.cpu import with_bfloat16
from volseg.data.cohort import find_cases
from volseg.data.phantom import write_cohort
from volseg.engine.compose import build, network_part
from volseg.engine.log import RunLog
from volseg.engine.run_folder import RunError
from volseg.engine.stopping import Stop
from volseg.engine.train import TrainingResult, train
from volseg.errors import CohortError, LabelError, UsageError, VolsegError, VolumeError, WriteError
from volseg.geometry import Grid
from volseg.io import read_labels, read_volume, write_labels, write_volume
from volseg.recipe import Recipe

Make = Callable[..., Recipe]
SHORT = {"training__epochs": 1, "training__steps_per_epoch": 2, "training__validate_every": 1}


def run(recipe: Recipe, data: Path, folder: Path, **more: Any) -> TrainingResult:
    return train(recipe, data, folder, device="cpu", **more)


@pytest.mark.slow
def test_it_learns_hearts(tmp_path: Path) -> None:
    """A small U-Net finds the left ventricle of hearts it never saw."""
    data = write_cohort(tmp_path / "data", "heart", 6, seed=3, size=88)
    recipe = Recipe.from_dict(
        {
            "labels.values": {"right ventricle": 1, "myocardium": 2, "left ventricle": 3},
            "image": {"spatial_dims": 3, "modality": "MR", "spacing": [3.0, 3.0, "native"]},
            "network": {"spatial_dims": 2, "channels": [8, 16, 32]},
            "augmentation": {"intensity": None, "spatial": {"rotation": 15}},
            "optimiser": {"kind": "adamw", "lr": 0.01, "schedule": "cosine", "ema": 0.9},
            "training": {"patch": [48, 48], "batch": 8, "epochs": 8, "steps_per_epoch": 25, "validate_every": 8},
            "folds.number": 3,
        }
        | {"training.precision": "float32", "training.channels_last": True}
    )
    result = run(recipe, data, tmp_path / "run")
    assert result.best is not None
    assert result.best > 0.6
    epochs = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [e["loss"] for e in epochs if e["event"] == "epoch"]
    assert losses[-1] < 0.6 * losses[0]


def test_a_run_leaves_what_it_promises(tiny: Make, hearts: Path, tmp_path: Path) -> None:
    """Recipe, folds, logs, curves, pictures, weights that a network of the recipe takes, nothing anywhere else."""
    before = {path: path.stat().st_mtime_ns for path in hearts.rglob("*")}
    recipe = tiny(**SHORT)
    events: list[dict[str, Any]] = []
    result = run(recipe, hearts, tmp_path / "run", listeners=[events.append])
    folder = tmp_path / "run"
    for name in ("recipe.yaml", "folds.json", "run.json", "log.jsonl", "metrics.csv", "curves.png"):
        assert (folder / name).stat().st_size > 0
    assert len(list((folder / "pictures").glob("*.png"))) == 3
    network = build(network_part(recipe))
    network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
    network.load_state_dict(load_file(folder / "models" / "best.safetensors"))
    assert {path: path.stat().st_mtime_ns for path in hearts.rglob("*")} == before
    steps = [(event["iteration"], event["iterations"]) for event in events if event["event"] == "step"]
    assert steps == [(number, len(steps)) for number in range(1, len(steps) + 1)]
    events = [event for event in events if event["event"] != "step"]
    kinds = [event["event"] for event in events]
    assert kinds == ["prepared", "prepared", "start", "epoch", "validation", "end"]
    log = RunLog(folder)
    assert log.ended
    log.back_to(events[-1]["iteration"] - 1)  # as from an older checkpoint
    assert not log.ended
    assert result.best == events[3]["dice"]
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert float(rows[0]["dice left ventricle"]) == events[3]["labels"]["left ventricle"]


def test_the_best_weights_score_what_was_told(tiny: Make, hearts: Path, tmp_path: Path) -> None:
    """Predicting a validation case anew with the weights that were left gives its Dice of the log."""
    from volseg.inference.pieces import stream_logits
    from volseg.inference.stream import Decision, decide
    from volseg.metrics.overlap import count_overlap

    recipe = tiny(**SHORT)
    run(recipe, hearts, tmp_path / "run")
    told = [json.loads(x) for x in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    validated = next(event for event in told if event["event"] == "validation")
    network = build(network_part(recipe))
    network.load_state_dict(load_file(tmp_path / "run" / "models" / "best.safetensors"))
    name = next(iter(validated["cases"]))
    case = find_cases(hearts)[name]
    from volseg.engine.compose import preparation_part

    image, truth = read_volume(case.image), read_labels(case.label or "")
    prepared = build(preparation_part(recipe)).image([image])
    pieces = stream_logits(prepared.image, network.eval())
    turned = prepared.turn.target.shape
    labels = decide(pieces, tuple(prepared.image.shape[1:]), Decision((0, 1, 2, 3)), onto=turned).labels
    labels = prepared.turn.inverse().apply(labels)
    assert labels.shape == truth.array.shape
    assert count_overlap(labels == 3, truth.array == 3).dice == validated["cases"][name]["left ventricle"]


@pytest.mark.parametrize("has", [False, True])
def test_slow_arithmetic_is_told(
    has: bool, hearts: Path, tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for bfloat16 gets it, and learns that this processor is slow in it."""
    with_bfloat16(monkeypatch, has)
    told: list[dict[str, Any]] = []
    run(tiny(**SHORT, training__precision="bf16"), hearts, tmp_path / "run", listeners=[told.append])
    assert next(event["arithmetic"] for event in told if event["event"] == "start").startswith("bf16")
    notes = [event["text"] for event in told if event["event"] == "note"]
    assert any("training.precision is bf16" in note for note in notes) is not has


KINDS: dict[str, dict[str, Any]] = {
    "slices of volumes": {
        "network": {"spatial_dims": 2, "channels": [4, 8], "strides": 2, "kernel_sizes": 3},
        "augmentation": {"spatial": {"rotation": 20, "translation": 2, "elastic": {"grid": 3, "std": 1}}},
        "training.patch": [16, 16],
    },
    "deep supervision": {
        "network.channels": [4, 6, 8],
        "network.strides": [[2, 2, 1], [2, 2, 1]],
        "network.kernel_sizes": [[3, 3, 1], 3, 3],
        "network.deep_supervision": True,
    },
    "regions": {
        "labels.regions": {"heart": ["right ventricle", "myocardium", "left ventricle"],
                           "left": ["myocardium", "left ventricle"], "pool": ["left ventricle"]},
        "labels.output": "regions",
    },
    "bf16, channels last": {"training.precision": "bf16", "training.channels_last": True},
    "the paper's optimiser": {"optimiser": {"kind": "sgd", "lr": 0.01, "momentum": 0.9, "ema": None}},
    "no normalisation, no augmentation": {"normalisation": None, "augmentation": {"spatial": None, "intensity": None}},
    "cubic and probability": {
        "augmentation.spatial.resampling_order": 3, "augmentation.spatial.label_resampling": "probability",
    },
    "instance norm, IoU, batch": {"network.norm": "instance", "loss": {"kind": "iou", "batch": True}},
    "weights by class": {"loss.weights": {"background": 0.5, "myocardium": 2.0}, "optimiser.weight_decay": 0.0},
    "cached on the disk": {"training.cache": "disk"},
    "cached nowhere, two workers": {"training.cache": None, "training.workers": 2},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_recipe_trains(tiny: Make, hearts: Path, tmp_path: Path, kind: str) -> None:
    """From data to finite weights and a Dice, and the loss is a number."""
    recipe = tiny(**SHORT).changed(KINDS[kind])
    result = run(recipe, hearts, tmp_path / "run")
    weights = load_file(tmp_path / "run" / "models" / "last.safetensors")
    assert all(bool(torch.isfinite(value).all()) for value in weights.values() if value.is_floating_point())
    assert result.best is not None
    assert 0 <= result.best <= 1


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_touching_cells_train(cells: Path, tmp_path: Path, padding: str) -> None:
    """Instances, seams, the weight map, an unpadded network with deep supervision over a mirrored tile."""
    recipe = Recipe.from_dict(
        {
            "labels": {"values": {"cell": 1}, "instances": True},
            "image": {"spatial_dims": 2, "modality": "microscopy", "allowed_spacing": [1e-6, 1000]},
            "normalisation.kind": "percentile",
            "network": {"channels": [4, 6, 8], "padding": padding, "norm": None, "deep_supervision": True},
            "augmentation": {"flips": [0, 1], "right_angles": [[0, 1]]},
            "weight_map": {"w0": 10, "sigma": 5, "separate_instances": True},
            "loss.kind": "energy",
            "training": {"patch": [84, 84] if padding == "valid" else [64, 64], "epochs": 1, "validate_every": 1},
            "folds.number": 2,
        }
        | {"training.precision": "float32", "training.channels_last": False, "training.steps_per_epoch": 2}
    )
    assert run(recipe, cells, tmp_path / "run").best is not None


def labelled_pairs(folder: Path, names: str, values: tuple[int, ...] = (0, 1), spoil: str = "") -> Path:
    """Images that show their label, one pair of files for each letter of ``names``."""
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    grid = Grid.from_spacing((16, 16, 8), (1.0, 1.0, 1.0))
    for name in names:
        label = np.zeros(grid.shape, dtype=np.uint8)
        for number, value in enumerate(values[1:]):
            label[3 + 4 * number : 6 + 4 * number, 4:10, 2:6] = value
        image = (label * 3.0 + rng.normal(0, 0.3, grid.shape)).astype(np.float32)
        if name == spoil:
            image[2, 2, 2] = np.nan
        write_volume(folder / "images" / f"{name}.nii.gz", image, grid)
        write_labels(folder / "labels" / f"{name}.nii.gz", label, grid)
    return folder


def pair_recipe(**changes: Any) -> Recipe:
    return Recipe.from_dict(
        {
            "labels.values": {"thing": 1},
            "image.spatial_dims": 3,
            "network.channels": [4, 8],
            "training": {"patch": [8, 8, 8], "epochs": 1, "steps_per_epoch": 2, "validate_every": 1},
            "folds.number": 2,
        }
        | {"training.precision": "float32", "training.channels_last": False}
    ).changed({key.replace("__", "."): value for key, value in changes.items()})


def test_voxels_without_truth_are_ignored(tmp_path: Path) -> None:
    """In the loss and in Dice: the ignore value is no class."""
    data = labelled_pairs(tmp_path / "data", "abcd", (0, 1, 9))
    with pytest.raises(LabelError, match=r"undeclared label value 9"):
        run(pair_recipe(), data, tmp_path / "one")
    result = run(pair_recipe(labels__ignore=9), data, tmp_path / "two")
    assert result.best is not None


def test_label_values_need_not_be_in_a_row(tmp_path: Path) -> None:
    """1 and 200 are two classes."""
    data = labelled_pairs(tmp_path / "data", "abcd", (0, 200, 7))
    result = run(pair_recipe(labels__values={"far": 200, "near": 7}), data, tmp_path / "run")
    assert result.best is not None


def test_a_given_split_is_kept_and_its_test_part_scored_once(tmp_path: Path) -> None:
    """A CSV's column says who is learnt from; the test cases are seen at the end, with the best weights."""
    data = labelled_pairs(tmp_path / "data", "abcde")
    lines = ["name,image,label,split"]
    lines += [
        f"{n},images/{n}.nii.gz,labels/{n}.nii.gz,{s}"
        for n, s in zip("abcde", ["train", "train", "val", "test", "test"], strict=True)
    ]
    (data / "cases.csv").write_text("\n".join(lines) + "\n")
    events: list[dict[str, Any]] = []
    result = run(pair_recipe(), data / "cases.csv", tmp_path / "run", listeners=[events.append])
    assert result.test is not None
    assert sorted(result.test) == ["d", "e"]
    assert [event["case"] for event in events if event["event"] == "prepared"] == ["a", "b"]
    assert [event["event"] for event in events].count("test") == 1
    assert set(json.loads((tmp_path / "run" / "test.json").read_text())["cases"]) == {"d", "e"}
    again = run(pair_recipe(), data / "cases.csv", tmp_path / "run", resume=True)
    assert again.test == result.test
    logged = [json.loads(line)["event"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [logged.count(kind) for kind in ("test", "end", "step")] == [1, 1, 0]
    with pytest.raises(UsageError, match="there is no fold 1; folds are 0 to 0"):
        run(pair_recipe(), data / "cases.csv", tmp_path / "other", fold=1)


def test_stopped_while_it_is_tested_it_says_so_and_goes_on(tmp_path: Path) -> None:
    """An interrupted test part is no end: the training is told to be interrupted, and resumed it is only scored."""
    data = labelled_pairs(tmp_path / "data", "abcd")
    parts = zip("abcd", ["train", "train", "val", "test"], strict=True)
    rows = "\n".join(f"{n},images/{n}.nii.gz,labels/{n}.nii.gz,{s}" for n, s in parts)
    (data / "cases.csv").write_text(f"name,image,label,split\n{rows}\n")
    stop = Stop()

    def halt(event: dict[str, Any]) -> None:
        if event["event"] == "validation":
            stop._signal = signal.SIGTERM

    result = run(pair_recipe(), data / "cases.csv", tmp_path / "run", stop=stop, listeners=[halt])
    assert (result.interrupted, result.signalled, result.test) == ("stopped by SIGTERM", True, None)
    assert not result.is_of_use
    assert not (tmp_path / "run" / "test.json").exists()
    again = run(pair_recipe(), data / "cases.csv", tmp_path / "run", resume=True)
    assert (again.interrupted, again.signalled, list(again.test or ())) == (None, False, ["d"])


@pytest.mark.parametrize("spoilt", "cd")
def test_a_bad_case_to_judge_is_told_before_the_first_step(tmp_path: Path, spoilt: str) -> None:
    """Of the validation or the test part; once it is mended the same command trains."""
    data = labelled_pairs(tmp_path / "data", "abcd", spoil=spoilt)
    parts = zip("abcd", ["train", "train", "val", "test"], strict=True)
    rows = "\n".join(f"{n},images/{n}.nii.gz,labels/{n}.nii.gz,{s}" for n, s in parts)
    (data / "cases.csv").write_text(f"name,image,label,split\n{rows}\n")
    events: list[dict[str, Any]] = []
    with pytest.raises(VolumeError, match=rf"{spoilt}\.nii\.gz: holds 1 NaN voxel"):
        run(pair_recipe(), data / "cases.csv", tmp_path / "run", listeners=[events.append])
    assert {event["event"] for event in events} == {"prepared"}
    labelled_pairs(tmp_path / "sound", "abcd")
    shutil.copy(tmp_path / "sound" / "images" / f"{spoilt}.nii.gz", data / "images")
    assert run(pair_recipe(), data / "cases.csv", tmp_path / "run").best is not None


def test_without_validation_the_last_weights_are_kept(tmp_path: Path) -> None:
    """All cases in the training part: no Dice, no best, but a model."""
    data = labelled_pairs(tmp_path / "data", "ab")
    rows = "\n".join(f"{n},images/{n}.nii.gz,labels/{n}.nii.gz,train" for n in "ab")
    (data / "cases.csv").write_text(f"name,image,label,split\n{rows}\n")
    result = run(pair_recipe(), data / "cases.csv", tmp_path / "run")
    assert result.best is None
    last = load_file(tmp_path / "run" / "models" / "last.safetensors")
    model = torch.load(tmp_path / "run" / "models" / "model.pt", weights_only=True)
    assert all(torch.equal(last[name], model[name]) for name in last)


@pytest.mark.parametrize("fold", [0, 1])
def test_a_nan_volume_is_refused_by_name(tmp_path: Path, fold: int) -> None:
    """Before a step is made with it, whether it was to be learnt from or to judge by."""
    data = labelled_pairs(tmp_path / "data", "ab", spoil="b")
    with pytest.raises(VolumeError, match=r"b\.nii\.gz: holds 1 NaN voxel"):
        run(pair_recipe(folds__number=2), data, tmp_path / "run", fold=fold)


def test_two_trainings_do_not_share_a_folder(hearts: Path, tiny: Make, tmp_path: Path) -> None:
    """The second is refused while the first is at work, and not once that was killed, whatever it left running."""
    code = f"""
import os, time
from pathlib import Path
from volseg.engine.run_folder import RunFolder
with RunFolder(Path({str(tmp_path / "run")!r})).held():
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        left_running = int(other.stdout.readline())
        try:
            with pytest.raises(RunError, match="another training is at work here; wait for it"):
                run(tiny(**SHORT), hearts, tmp_path / "run")
            other.kill()
            other.wait()
            assert run(tiny(**SHORT), hearts, tmp_path / "run").interrupted is None
        finally:
            other.kill()
            with suppress(ProcessLookupError):  # an orphan may have been cleared away
                os.kill(left_running, signal.SIGKILL)


def test_training_stops_early(tmp_path: Path) -> None:
    """With a learning rate that changes nothing, after as many validations as allowed, and stays stopped."""
    data = labelled_pairs(tmp_path / "data", "abcd")
    recipe = pair_recipe(training__epochs=9, training__early_stop=2, optimiser__lr=1e-12, network__norm=None)
    result = run(recipe, data, tmp_path / "run")
    assert (result.interrupted, result.epoch, result.best_epoch) == (None, 3, 1)
    again = run(recipe, data, tmp_path / "run", resume=True)
    assert (again.interrupted, again.epoch) == (None, 3)


def test_cases_without_structures_cannot_be_learnt_from(tmp_path: Path) -> None:
    """Label maps of nothing but background are told, not trained on."""
    data = labelled_pairs(tmp_path / "data", "abcd", (0,))
    with pytest.raises(CohortError, match="no training case holds any of the structures"):
        run(pair_recipe(), data, tmp_path / "run")


def test_a_full_disk_ends_the_run_with_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checkpoint that could not be written is named; the run can go on from the one before."""
    import errno

    data = labelled_pairs(tmp_path / "data", "abcd")
    recipe = pair_recipe(training__epochs=3)
    from volseg.engine import checkpoint

    real, count = checkpoint.write_bytes, [0]

    def full(path: Any, content: bytes) -> None:
        count[0] += 1
        if count[0] > 1:
            raise WriteError(f"could not be written: {errno.errorcode[errno.ENOSPC]}", where=path)
        real(path, content)

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    with pytest.raises(WriteError, match="iteration-000000004") as caught:
        run(recipe, data, tmp_path / "run")
    assert "\n" not in str(caught.value)
    monkeypatch.undo()
    assert run(recipe, data, tmp_path / "run", resume=True).interrupted is None


def test_errors_are_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is written to the terminal on the way."""
    data = labelled_pairs(tmp_path / "data", "abcd")
    recipe = pair_recipe(optimiser__kind="sgd", optimiser__lr=1e30, training__steps_per_epoch=40)
    with pytest.raises(VolsegError, match=r"is nan|is inf"):
        run(recipe, data, tmp_path / "run")
    told = capfd.readouterr()
    assert told.out == told.err == ""
