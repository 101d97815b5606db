"""Killed anywhere and taken up again, a training ends with the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from volseg.bundle.finished import leave_bundle
from volseg.engine.run_folder import RunError
from volseg.engine.stopping import Stop
from volseg.engine.train import train
from volseg.errors import UsageError
from volseg.recipe import Recipe, dump_recipe, load_recipe

Make = Callable[..., Recipe]


class StopAt(Stop):
    """Stops when it is asked for the n-th time, wherever that is."""

    def __init__(self, asked: int) -> None:
        super().__init__()
        self.left = asked

    @property
    def why(self) -> str | None:
        self.left -= 1
        return "asked to" if self.left < 0 else None


def run(recipe: Recipe, data: Path, folder: Path, **more: Any) -> Any:
    return train(recipe, data, folder, device="cpu", **more)


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_file(folder / "models" / f"{name}.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def told(folder: Path) -> list[dict[str, Any]]:
    """What a run logged, without the hours at which it did."""
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    timely = {"time", "seconds", "left"}
    return [
        {key: value for key, value in event.items() if key not in timely}
        for event in events
        if event["event"] in ("epoch", "validation")
    ]


@pytest.fixture(scope="module")
def busy() -> dict[str, Any]:
    """Every part with a state: momentum, average, accumulation across an interruption, dropout, deep supervision."""
    return {
        "network.channels": [4, 6, 8],
        "network.strides": [[2, 2, 1], [2, 2, 1]],
        "network.kernel_sizes": [[3, 3, 1], 3, 3],
        "network.deep_supervision": True,
        "network.dropout": 0.3,
        "optimiser.accumulate": 2,
        "training.steps_per_epoch": 5,
        "training.epochs": 2,
        "training.validate_every": 1,
    }


@pytest.fixture(scope="module")
def whole(
    hearts: Path,
    busy: dict[str, Any],
    tiny_recipe: Callable[[dict[str, Any]], Recipe],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Recipe, Path]:
    """The recipe, and a run that nothing interrupted."""
    recipe = tiny_recipe(busy)
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert run(recipe, hearts, folder).interrupted is None
    return recipe, folder


# 6 cases are fingerprinted, 2 prepared, 4 read, then 5 steps, then 4 validation cases of a piece each, and these again
@pytest.mark.parametrize("asked", [1, 7, 10, 12, 14, 16, 17, 19, 22, 25])
def test_stopped_anywhere_it_ends_the_same(
    whole: tuple[Recipe, Path], hearts: Path, tmp_path: Path, asked: int
) -> None:
    """While reading and preparing, within an accumulated step, at an epoch's last step, within a validation."""
    recipe, expected = whole
    first = run(recipe, hearts, tmp_path / "run", stop=StopAt(asked))
    assert first.interrupted == "asked to"
    second = run(recipe, hearts, tmp_path / "run", resume=True)
    assert second.interrupted is None
    for name in ("last", "best"):
        assert same(weights(tmp_path / "run", name), weights(expected, name))
    assert told(tmp_path / "run") == told(expected)
    assert (tmp_path / "run" / "metrics.csv").read_text().count("\n") == 3


def test_stopped_at_every_step_it_ends_the_same(whole: tuple[Recipe, Path], hearts: Path, tmp_path: Path) -> None:
    """Again and again, one or two steps at a time."""
    recipe, expected = whole
    result = run(recipe, hearts, tmp_path / "run", stop=StopAt(13))
    sessions = 1
    while result.interrupted is not None and sessions < 20:
        # the preparation asks twice, a validation once for each of its cases
        result = run(recipe, hearts, tmp_path / "run", resume=True, stop=StopAt(7))
        sessions += 1
    assert result.interrupted is None
    assert sessions > 3
    assert same(weights(tmp_path / "run"), weights(expected))


def test_a_damaged_checkpoint_falls_back(whole: tuple[Recipe, Path], hearts: Path, tmp_path: Path) -> None:
    """The one before is taken, it is said which, and the end is the same."""
    recipe, expected = whole
    run(recipe, hearts, tmp_path / "run", stop=StopAt(23))
    newest = max((tmp_path / "run" / "checkpoints").glob("iteration-*.pt"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    events: list[dict[str, Any]] = []
    run(recipe, hearts, tmp_path / "run", resume=True, listeners=[events.append])
    assert any("is damaged; going back" in event.get("text", "") for event in events)
    assert same(weights(tmp_path / "run"), weights(expected))
    assert told(tmp_path / "run") == told(expected)


def test_a_finished_run_is_left_as_it_is(whole: tuple[Recipe, Path], hearts: Path) -> None:
    """Resuming what is done trains nothing."""
    recipe, folder = whole
    before = weights(folder)
    log = told(folder)
    result = run(recipe, hearts, folder, resume=True)
    assert result.interrupted is None
    assert result.epoch == 2
    assert same(weights(folder), before)
    assert told(folder) == log


def test_a_run_is_not_written_over(whole: tuple[Recipe, Path], hearts: Path) -> None:
    """Without resume, a folder that holds a run is refused."""
    recipe, folder = whole
    with pytest.raises(UsageError, match="holds a run already; --resume"):
        run(recipe, hearts, folder)


def test_another_recipe_is_refused(whole: tuple[Recipe, Path], hearts: Path) -> None:
    """By the names of the keys; keys that change nothing learnt may differ."""
    recipe, folder = whole
    with pytest.raises(RunError, match=r"recipe has changed since the run began: optimiser\.lr"):
        run(recipe.changed({"optimiser.lr": 0.5}), hearts, folder, resume=True)
    with pytest.raises(RunError, match="of fold 0, not 1"):
        run(recipe, hearts, folder, resume=True, fold=1)
    run(recipe.changed({"training.time_limit": "5h", "training.keep_checkpoints": 3}), hearts, folder, resume=True)


def test_changed_data_are_refused(tiny: Make, hearts: Path, tmp_path: Path) -> None:
    """By the names of the files; dates alone are no change."""
    import shutil

    data = tmp_path / "data"
    shutil.copytree(hearts, data)
    recipe = tiny(training__epochs=1, training__steps_per_epoch=1, training__validate_every=1)
    run(recipe, data, tmp_path / "run", stop=StopAt(13))
    labels = sorted(data.rglob("*_gt.nii.gz"))
    for file in labels:
        os.utime(file)
    labels[0].write_bytes(labels[1].read_bytes())
    with pytest.raises(RunError, match=f"data have changed since the run began: .*{labels[0].name} has changed"):
        run(recipe, data, tmp_path / "run", resume=True)


def test_a_time_limit_leaves_the_best_so_far(tiny: Make, hearts: Path, tmp_path: Path) -> None:
    """What a time limit ended is of use once it was validated; what a signal ended is to be gone on with."""

    class Validated(Stop):
        seen = False

        @property
        def why(self) -> str | None:
            return "the time limit is reached" if self.seen else None

        def __call__(self, event: dict[str, Any]) -> None:
            self.seen |= event.get("dice") is not None

    stop = Validated()
    recipe = tiny(training__epochs=3, training__steps_per_epoch=1, training__validate_every=1)
    found = run(recipe, hearts, tmp_path / "run", stop=stop, listeners=[stop])
    assert (found.interrupted, found.best_epoch, found.is_of_use) == ("the time limit is reached", 1, True)
    assert (tmp_path / "run" / "models" / "best.safetensors").is_file()
    assert not replace(found, best=None).is_of_use
    assert not replace(found, signalled=True).is_of_use


DRIVER = """
import sys
from volseg.engine.train import train
from volseg.recipe import load_recipe
recipe, data, folder = sys.argv[1:]
def tell(event):
    print(event["event"], event.get("iteration", ""), flush=True)
result = train(load_recipe(recipe), data, folder, device="cpu", resume=True, listeners=[tell])
print("result", result.interrupted, flush=True)
"""


def start(recipe: Recipe, data: Path, folder: Path, tmp_path: Path) -> subprocess.Popen[str]:
    (tmp_path / "recipe.yaml").write_text(dump_recipe(recipe))
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "recipe.yaml"), str(data), str(folder)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env)


@pytest.mark.slow
def test_killed_it_ends_the_same(tiny: Make, hearts: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of epochs, twice; the third process finishes with the bits of a run left alone."""
    recipe = tiny(training__epochs=4, training__validate_every=1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        run(recipe, hearts, tmp_path / "whole")
    finally:
        torch.set_num_threads(threads)
    for wait_for in ("epoch 3", "epoch 6"):
        child = start(recipe, hearts, tmp_path / "run", tmp_path)
        assert child.stdout is not None
        for line in child.stdout:
            if line.startswith(wait_for):
                break
        time.sleep(0.05)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    child = start(recipe, hearts, tmp_path / "run", tmp_path)
    assert child.communicate()[0].strip().endswith("result None")
    assert same(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    assert told(tmp_path / "run") == told(tmp_path / "whole")


@pytest.mark.slow
def test_asked_to_leave_it_does(tiny: Make, hearts: Path, tmp_path: Path) -> None:
    """SIGTERM: a checkpoint, a word of why, an ordinary end."""
    recipe = tiny(training__epochs=500, training__validate_every=1)
    child = start(recipe, hearts, tmp_path / "run", tmp_path)
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("epoch"):
            break
    child.send_signal(signal.SIGTERM)
    rest = child.communicate(timeout=60)[0]
    assert rest.strip().endswith("result stopped by SIGTERM")
    assert child.returncode == 0
    assert json.loads((tmp_path / "run" / "checkpoints" / "index.json").read_text())


def test_what_may_change_is_in_the_bundle(tiny: Make, hearts: Path, tmp_path: Path) -> None:
    """A card or a post-processing that is named on resume is that of the bundle that is left."""
    run(tiny(training__epochs=1, training__validate_every=1), hearts, tmp_path / "run")
    steps = {"left ventricle": {"largest_component": True}}
    changed = tiny(
        training__epochs=1, training__validate_every=1, bundle__authors="Somebody else", postprocessing=steps
    )
    run(changed, hearts, tmp_path / "run", resume=True)
    left = load_recipe(leave_bundle(tmp_path / "run") / "configs" / "recipe.yaml")
    assert left.bundle.authors == "Somebody else"
    assert left.postprocessing["left ventricle"].largest_component
