"""A folder of scans: no case lost, none done twice, nothing half there, whatever happens on the way."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volseg.geometry import Grid
from volseg.io import write_volume

KILLS = 20


def scans(folder: Path, count: int, shape: tuple[int, int, int] = (12, 10, 8)) -> Path:
    """Noise in a tree of patients."""
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"p{number // 10}" / f"scan {number:03d}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        grid = Grid.from_spacing(shape, (1.0, 1.0, 2.0))
        write_volume(path, rng.normal(size=grid.shape).astype(np.float32), grid)
    return folder


def masks(folder: Path) -> dict[str, bytes]:
    """Every file under a final name but the summary, whose timings differ from run to run."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".volseg-"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.name != "summary.json"}


@pytest.mark.slow
def test_a_hundred_cases_of_which_ten_are_bad(predict: Any, tmp_path: Path) -> None:
    """90 masks, 10 reasons, exit code 3; run again, no good case is computed, and only the bad ones are tried."""
    folder = scans(tmp_path / "in", 100)
    damage = random.Random(1)
    bad = {f"p{n // 10}/scan {n:03d}" for n in damage.sample(range(100), 10)}
    for name in bad:
        path = folder / f"{name}.nii.gz"
        data = bytearray(path.read_bytes())
        if damage.random() < 0.5:
            del data[damage.randrange(len(data)) :]
        else:
            data[damage.randrange(20, len(data))] ^= 1 << damage.randrange(8)
        path.write_bytes(data)
    ran = predict(folder, tmp_path / "out")
    assert ran.code == 3
    assert set(ran.errors) == bad
    assert all(f"{name}.nii.gz: " in reason and "\n" not in reason for name, reason in ran.errors.items())
    assert len(ran.masks) == 90
    assert {name for name in masks(tmp_path / "out") if name.endswith(".nii.gz")} == set(ran.masks)
    written = {mask: (tmp_path / "out" / mask).stat().st_mtime_ns for mask in ran.masks}
    again = predict(folder, tmp_path / "out")
    assert again.code == 3
    assert set(again.errors) == bad
    assert "90 of 100 cases are done, 90 of them before" in again.err
    # those whose headers are damaged are refused before the first case, the others when their voxels are read
    assert set(re.findall(r"^predicting \d+/\d+ (.*)$", again.err, re.MULTILINE)) <= bad
    assert "90 of 100 cases are done" in ran.err
    assert written == {mask: (tmp_path / "out" / mask).stat().st_mtime_ns for mask in again.masks}


@pytest.mark.slow
def test_killed_at_random_moments(tiny_bundle: Path, tmp_path: Path) -> None:
    """Twenty times killed and started again, the run ends with the bytes of one that nobody disturbed."""
    folder = scans(tmp_path / "in", 40, (48, 48, 24))
    chance = random.Random(7)

    def start(out: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "volseg.cli", "predict", "-i", folder, "-o", out, "-b", tiny_bundle]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, env=environment)

    with start(tmp_path / "whole") as whole:
        assert whole.stderr is not None
        whole.stderr.readline()  # the first case is done: from here on the time is that of the cases
        began = time.monotonic()
        said = whole.communicate(timeout=300)[1]
        lasts = time.monotonic() - began
    assert whole.returncode == 0, said
    expected = masks(tmp_path / "whole")
    assert len([name for name in expected if name.endswith(".nii.gz")]) == 40

    killed = rounds = 0
    while killed < KILLS:
        out = tmp_path / f"killed-{rounds}"
        rounds += 1
        for _ in range(min(5, KILLS - killed)):
            with start(out) as run:
                assert run.stderr is not None
                if not run.stderr.readline().startswith("predicting"):
                    break  # nothing was left to do
                time.sleep(chance.uniform(0, lasts / 4))
                run.send_signal(signal.SIGKILL)
                killed += 1
            for name, data in masks(out).items():
                assert data == expected[name], f"{name} is not whole after a kill"
        with start(out) as last:
            said = last.communicate(timeout=300)[1]
        assert last.returncode == 0, said
        assert "40 of 40 cases are done" in said
        assert masks(out) == expected
