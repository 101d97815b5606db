"""Ctrl-C as a terminal sends it, to a program and all its children: 130, no traceback, and nothing left behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.terminal import Session
from volseg.data.phantom import write_cohort
from volseg.io.atomic import PREFIX

pytestmark = pytest.mark.skipif(os.name == "nt", reason="terminals of Windows send Ctrl-C in another way")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Callable[..., Session]]:
    begun: list[Session] = []

    def begin(*command: object, **env: str) -> Session:
        begun.append(Session([sys.executable, *map(str, command)], tmp_path, **env))
        return begun[-1]

    yield begin
    for one in begun:
        if one.process.poll() is None:
            os.killpg(one.process.pid, signal.SIGKILL)
        one.process.communicate()


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two hundred times the same stack."""
    source = write_cohort(tmp_path / "source", "heart", 1, seed=0, size=88)
    stack = next(path for path in sorted(source.rglob("*.nii.gz")) if "_gt" not in path.name)
    folder = tmp_path / "scans"
    folder.mkdir()
    for number in range(200):
        shutil.copy(stack, folder / f"{number:03}.nii.gz")
    return folder


def test_processes_that_read_cases_end_without_a_word(session: Callable[..., Session], scans: Path) -> None:
    """While ``check`` reads in two processes."""
    run = session("-m", "volseg.cli", "check", scans)
    run.wait_to_say("checking 2/")
    assert "cases are good" not in run.press_ctrl_c()


def test_processes_that_are_starting_end_without_a_word(session: Callable[..., Session], tmp_path: Path) -> None:
    """A child among its imports has nobody yet who would catch an exception."""
    (tmp_path / "slow.py").write_text(
        "import pathlib, multiprocessing, time\n"
        "if multiprocessing.current_process().name != 'MainProcess':\n"
        "    pathlib.Path('starting').touch()\n"
        "    time.sleep(2)\n"
        "def work(item): return item\n"
    )
    (tmp_path / "program.py").write_text(
        "import slow\n"
        "from volseg.data.apart import each_apart\n"
        "if __name__ == '__main__':\n"
        "    try: list(each_apart(slow.work, list(range(9)), processes=2, lost=abs))\n"
        "    except KeyboardInterrupt: raise SystemExit(130)\n"
    )
    run = session(tmp_path / "program.py", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    run.wait_for((tmp_path / "starting").exists)
    run.press_ctrl_c()


def test_a_prediction_leaves_whole_masks_alone(
    session: Callable[..., Session], scans: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    """What is done stays and is not done again; nothing is there in part."""
    words = ["-m", "volseg.cli", "predict", "-i", scans, "-o", tmp_path / "masks", "-b", tiny_bundle]
    run = session(*words, "--device", "cpu")
    run.wait_to_say("predicting 2/")
    run.press_ctrl_c()
    assert 2 <= len(list((tmp_path / "masks").glob("*.nii.gz"))) < 200
    assert list((tmp_path / "masks").rglob(f"{PREFIX}*")) == []


def test_a_training_ends_with_a_checkpoint(session: Callable[..., Session], tmp_path: Path) -> None:
    """Processes that prepare its data hear Ctrl-C too, and are no reason for it to fail."""
    data = write_cohort(tmp_path / "data", "heart", 2, seed=1, size=88)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "labels: {values: {right ventricle: 1, myocardium: 2, left ventricle: 3}}\n"
        "image: {spatial_dims: 3, modality: MR, spacing: [4.0, 4.0, native]}\n"
        "network: {channels: [4, 8], strides: [[2, 2, 1]]}\n"
        "training: {patch: [16, 16, 4], epochs: 9999, steps_per_epoch: 2, validate_every: 9999, workers: 1,"
        " precision: float32}\n"
        "folds: {number: 2}\n"
    )
    run = session("-m", "volseg.cli", "train", "-r", recipe, "-d", data, "-o", tmp_path / "run", "--device", "cpu")
    run.wait_to_say("epoch 1/")
    assert "stopped by SIGINT in epoch" in run.press_ctrl_c()
    assert list((tmp_path / "run").glob("checkpoints/*")) != []
    assert list((tmp_path / "run").rglob(f"{PREFIX}*")) == []


def test_an_import_is_never_torn_apart(session: Callable[..., Session], tmp_path: Path) -> None:
    """Ctrl-C waits for the end of a library's import: many take an exception there for a part that is missing."""
    (tmp_path / "library.py").write_text(
        "import pathlib, time\nwhole = False\npathlib.Path('importing').touch()\ntime.sleep(1)\nwhole = True\n"
    )
    (tmp_path / "program.py").write_text(
        "import sys, time\n"
        "from volseg.cli.interruption import interruptible\n"
        "with interruptible():\n"
        "    try:\n"
        "        import library\n"
        "        time.sleep(60)\n"
        "    except KeyboardInterrupt:\n"
        "        print('whole' if sys.modules['library'].whole else 'torn')\n"
        "        raise SystemExit(130)\n"
    )
    run = session(tmp_path / "program.py", PYTHONPATH=os.pathsep.join(map(str, (tmp_path, *sys.path))))
    run.wait_for((tmp_path / "importing").exists)
    assert run.press_ctrl_c() == "whole\n"


def test_a_verb_that_still_loads_leaves_at_once(session: Callable[..., Session], tmp_path: Path) -> None:
    """Its imports come before its work: a library that takes a minute to load is not waited for."""
    (tmp_path / "torch.py").write_text(
        "import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(60)\npathlib.Path('loaded').touch()\n"
    )
    run = session("-m", "volseg.cli", "doctor", PYTHONPATH=os.pathsep.join(map(str, (tmp_path, *sys.path))))
    run.wait_for((tmp_path / "importing").exists)
    assert run.press_ctrl_c() == ""
    assert not (tmp_path / "loaded").exists()
