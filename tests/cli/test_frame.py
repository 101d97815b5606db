"""The frame of the command line: quick, quiet, and clear about what was wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    "code",
    [
        "import volseg",
        "import volseg.recipe, volseg.geometry, volseg.labels, volseg.shapes",
        "import sys; from volseg.cli.app import main; sys.argv = ['volseg', '--help']\n"
        "try: main()\nexcept SystemExit: pass",
    ],
)
def test_nothing_heavy_is_loaded_before_a_verb_runs(code: str) -> None:
    """Neither the package, nor its ground floor, nor the help loads torch, monai or an imaging library."""
    heavy = ["torch", "monai", "ignite", "nibabel", "SimpleITK", "pydicom", "highdicom", "scipy", "matplotlib"]
    check = f"{code}\nimport sys\nprint('HEAVY', [m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "HEAVY []"


def test_a_misspelt_verb_gets_the_nearest(volseg) -> None:
    """``volseg evalute`` names the verb that was meant and leaves with 2."""
    run = volseg("evalute")
    assert run.returncode == 2
    assert run.stderr == "error: No such command 'evalute'. Did you mean 'evaluate'?; volseg -h shows what there is\n"


@pytest.mark.parametrize(
    "words", [["check"], ["phantom", "-o", "x", "-n", "0"], ["phantom", "--colour", "red"], ["--x"]]
)
def test_a_misuse_is_one_line_and_exit_2(volseg, words: list[str]) -> None:
    """A missing argument, an impossible number, an unknown option: one line, no box, no traceback."""
    run = volseg(*words)
    assert run.returncode == 2
    assert run.stderr.startswith("error: ")
    assert len(run.stderr.splitlines()) == 1


def test_no_verb_shows_the_help(volseg) -> None:
    """``volseg`` alone shows what there is."""
    run = volseg()
    assert "doctor" in run.stdout
    assert "phantom" in run.stdout
    assert (run.returncode, run.stderr) == (2, "")


def test_what_does_not_fit_into_memory_is_one_line(volseg, tmp_path) -> None:
    """More voxels than any machine holds: exit 1, one line, no traceback."""
    # 350 TiB, which no address space holds; lines along an axis are soon drawn
    run = volseg("phantom", "-o", tmp_path / "p", "-n", 1, "--size", 2_000_000)
    assert run.returncode == 1
    assert run.stderr.startswith("error: does not fit into memory (")
    assert len(run.stderr.splitlines()) == 1


def test_the_version_names_its_build(volseg) -> None:
    """``--version`` tells the commit, the interpreter and the torch and monai it stands on."""
    from volseg.cli.build import build

    run = volseg("--version")
    assert run.returncode == 0
    assert run.stdout.startswith("volseg ")
    assert all(word in run.stdout for word in ("python", "torch", "monai"))
    commit = build()
    assert commit is None or f"(build {commit}, " in run.stdout


def test_a_build_is_a_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    """Outside a repository nothing is said, even inside of another one."""
    from volseg.cli.build import commit

    def git(*words: str) -> str:
        named = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        return subprocess.run(
            ["git", "-C", tmp_path, *named, *words], capture_output=True, text=True, check=True
        ).stdout.strip()

    assert commit(tmp_path) is None
    git("init", "--quiet")
    assert commit(tmp_path) is None  # no commit yet
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/file").write_text("as committed")
    git("add", "--all")
    git("commit", "--quiet", "--message", "First")
    head = git("rev-parse", "HEAD")
    assert commit(tmp_path) == head[:12]
    (tmp_path / "inner/file").write_text("changed")
    assert commit(tmp_path) == f"{head[:12]}+changes"
    assert commit(tmp_path / "inner") is None


def test_contradicting_options_are_a_usage_error(volseg) -> None:
    """``-v -q`` is one line and exit 2."""
    run = volseg("-v", "-q", "doctor")
    assert (run.returncode, run.stderr) == (2, "error: -v and -q contradict each other\n")


def test_doctor_tells_versions_and_devices_as_json(volseg) -> None:
    """``doctor --json`` is pure JSON on stdout and finds the packages this test runs on."""
    run = volseg("doctor", "--json")
    assert run.returncode == 0
    found = json.loads(run.stdout)
    assert found["versions"]["torch"]
    assert "cpu" in found["devices"]
    assert not found["broken"]


def test_doctor_knows_every_extra() -> None:
    """Those that users install, with the packages they bring."""
    from volseg.cli.doctor import EXTRAS

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    declared = project["optional-dependencies"].items()
    ours = {extra: {line.split(">=")[0] for line in lines} for extra, lines in declared}
    for extra, packages in EXTRAS.items():
        assert set(packages) <= ours[extra]
    assert set(ours) - set(EXTRAS) == {"peers", "test", "dev", "docs"}


def test_doctor_says_what_to_do(volseg) -> None:
    """The table has no colours when piped, and every missing extra comes with the command that mends it."""
    run = volseg("doctor")
    assert run.returncode == 0
    assert "\x1b" not in run.stdout
    for line in run.stdout.splitlines():
        if "missing" in line and "extra" in line:
            extra = line.split("extra ")[1].split()[0]
            assert f'pip install ".[{extra}]"' in run.stdout
