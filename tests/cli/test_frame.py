"""The frame of the command line: quick, quiet, and clear about what was wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

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


def test_ctrl_c_leaves_with_130(tmp_path) -> None:
    """An interrupted verb leaves with 130 and no traceback."""
    words = [sys.executable, "-m", "volseg.cli", "phantom", "-o", str(tmp_path / "p"), "-n", "1000"]
    # a shell starts its background jobs deaf to Ctrl-C, and children inherit that: have this one listen
    listening = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        child = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, listening)
    assert child.stderr is not None
    try:
        child.stderr.readline()  # the first phantom is done
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
    finally:
        child.kill()
        child.stderr.close()
    assert child.returncode == 130
    assert "Traceback" not in said


def test_no_verb_shows_the_help(volseg) -> None:
    """``volseg`` alone shows what there is."""
    run = volseg()
    assert "doctor" in run.stdout
    assert "phantom" in run.stdout
    assert (run.returncode, run.stderr) == (2, "")


def test_what_does_not_fit_into_memory_is_one_line(volseg, tmp_path) -> None:
    """More voxels than any machine holds: exit 1, one line, no traceback."""
    run = volseg("phantom", "-o", tmp_path / "p", "-n", 1, "--size", 10_000_000)
    assert run.returncode == 1
    assert run.stderr.startswith("error: does not fit into memory (")
    assert len(run.stderr.splitlines()) == 1


def test_the_version_names_its_build(volseg) -> None:
    """``--version`` tells the interpreter and the torch and monai it stands on."""
    run = volseg("--version")
    assert run.returncode == 0
    assert run.stdout.startswith("volseg ")
    assert all(word in run.stdout for word in ("python", "torch", "monai"))


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


def test_doctor_says_what_to_do(volseg) -> None:
    """The table has no colours when piped, and every missing extra comes with the command that mends it."""
    run = volseg("doctor")
    assert run.returncode == 0
    assert "\x1b" not in run.stdout
    for line in run.stdout.splitlines():
        if "missing" in line and "extra" in line:
            extra = line.split("extra ")[1].split()[0]
            assert f'pip install "volseg[{extra}]"' in run.stdout
