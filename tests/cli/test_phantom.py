"""``volseg phantom``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def volseg(*words: object) -> subprocess.CompletedProcess[str]:
    code = "from volseg.cli.app import main; main()"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True, check=False, env=environment
    )


def test_the_verb_writes_the_same_bytes_twice(tmp_path: Path) -> None:
    """Two runs of one seed leave equal folders, say so on stderr and nothing on stdout."""
    for name in "ab":
        done = volseg("phantom", "-o", tmp_path / name, "--kind", "heart", "-n", 2, "--seed", 7, "--size", 88)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert f"2 heart phantoms in {tmp_path / name}" in done.stderr
    first = {p.relative_to(tmp_path / "a"): p.read_bytes() for p in (tmp_path / "a").rglob("*") if p.is_file()}
    second = {p.relative_to(tmp_path / "b"): p.read_bytes() for p in (tmp_path / "b").rglob("*") if p.is_file()}
    assert first == second
    assert len(first) == 11


def test_a_filled_folder_is_refused(tmp_path: Path) -> None:
    """A folder that holds something is a usage error of one line with the mend, and stays as it was."""
    (tmp_path / "mine.txt").write_text("precious")
    done = volseg("phantom", "-o", tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path}: the output folder is there and not empty; name a new one, or empty it\n"
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    """A kind that is not there lists those that are, exit 2."""
    done = volseg("phantom", "-o", tmp_path / "x", "--kind", "lungs")
    assert done.returncode == 2
    for kind in ("heart", "cells", "ct"):
        assert kind in done.stderr
    assert not (tmp_path / "x").exists()


def test_help_shows_an_example() -> None:
    """The help tells the kinds and an example to copy."""
    done = volseg("phantom", "--help")
    assert done.returncode == 0
    assert "volseg phantom -o cohort --kind heart -n 5 --seed 7" in done.stdout
