"""``volseg report`` as a person runs it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

Verb = Callable[..., "subprocess.CompletedProcess[str]"]


def test_the_report_is_the_result(cohort: Path, tmp_path: Path, volseg: Verb) -> None:
    """Its path is all of stdout; a case that failed makes exit code 3, and its reason is on stderr."""
    run = volseg("report", "-i", cohort / "i", "-p", cohort / "p", "-g", cohort / "g", "-o", tmp_path / "r")
    assert run.stdout == f"{tmp_path / 'r/index.html'}\n"
    assert run.returncode == 3
    assert run.stderr.splitlines()[-2:] == ["warning: p9: p9.nii.gz: damaged <here>", "3 of 4 cases are complete"]
    assert (tmp_path / "r/index.html").is_file()


def test_a_recipe_tells_what_the_truths_are(micrographs: Path, volseg: Verb) -> None:
    """Its labels, that objects are told apart, and spacings that nobody would believe without it."""
    (micrographs / "masks/m3.nii.gz").unlink()
    words = ["-i", micrographs / "data", "-p", micrographs / "masks", "-g", micrographs / "data"]
    run = volseg("report", *words, "-o", micrographs / "r", "-r", micrographs / "recipe.yaml")
    assert run.stderr.splitlines()[-2:] == ["warning: m3: has no prediction", "3 of 4 cases are complete"]
    pages = list((micrographs / "r").rglob("*.html"))
    assert len(pages) == 5
    assert not [page.name for page in pages if "label value" in page.read_text(encoding="utf-8")]


def test_mistakes_are_one_line(cohort: Path, tmp_path: Path, volseg: Verb) -> None:
    """A folder in use, a folder that is not there: told before any work."""
    (tmp_path / "note.txt").write_text("mine")
    taken = volseg("report", "-i", cohort / "i", "-p", cohort / "p", "-o", tmp_path)
    assert taken.returncode == 2
    assert taken.stderr == f"error: {tmp_path}: holds other things than a report; name a new folder\n"
    absent = volseg("report", "-i", tmp_path / "nothing", "-p", cohort / "p", "-o", tmp_path / "r")
    assert absent.returncode == 1
    assert absent.stderr == f"error: {tmp_path / 'nothing'}: does not exist\n"
