"""``volseg demo``: one command from nothing to a report, and what an interruption leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.terminal import Session

Verb = Callable[..., "subprocess.CompletedProcess[str]"]

# a short one: fewer patients, a quarter of the steps
_SHORT = ("--patients", "8", "--epochs", "6")


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_unseen_phantoms_are_segmented_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped by Ctrl-C and run again it goes on; mean Dice is at least 0.90; the report's path is the last line."""
    place = tmp_path / "demo"
    command = [sys.executable, "-m", "volseg.cli", "demo", "-o", str(place), *_SHORT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as first:
        until = time.monotonic() + 1800
        while not (place / "run/metrics.csv").exists() and first.poll() is None:
            assert time.monotonic() < until, "the training never began"
            time.sleep(0.5)
        os.kill(first.pid, signal.SIGINT)
        assert first.wait(600) == 130
    assert not (place / "report").exists()
    assert not (place / "metrics.json").exists()

    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=3000)
    assert done.returncode == 0, done.stderr
    with capsys.disabled():
        sys.stdout.write(done.stdout)
    index = Path(done.stdout.splitlines()[-1])
    assert index == place / "report/index.html"
    assert index.is_file()
    measured = json.loads((place / "metrics.json").read_text())
    assert measured["count"] == {"cases": 10, "scored": 10, "failed": 0, "patients": 5}
    assert measured["mean"]["dice"] >= 0.90
    assert not list(place.rglob(".volseg-partial-*"))

    again = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=3000)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == str(index)
    assert json.loads((place / "metrics.json").read_text()) == measured


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path, volseg: Verb) -> None:
    """One line, before any work."""
    (tmp_path / "thesis.tex").write_text("the only copy")
    run = volseg("demo", "-o", tmp_path)
    assert run.returncode == 2
    assert run.stderr == f"error: {tmp_path}: holds other things than a demonstration; name a new folder with -o\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_interrupted_drawing_leaves_nothing_half(tmp_path: Path) -> None:
    """Ctrl-C while phantoms are drawn: no folder of that name, no temporary."""
    place = tmp_path / "demo"
    run = Session([sys.executable, "-m", "volseg.cli", "demo", "-o", str(place), "--patients", "400"], tmp_path)
    run.wait_to_say("phantom 2/")
    run.press_ctrl_c()
    assert list((place / "data").iterdir()) == []
