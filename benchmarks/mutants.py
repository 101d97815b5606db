"""How many mutants of five parts the tests kill; a mutant is a small change to the code that a test should notice."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.frame import RESULTS, record

ROOT = Path(__file__).parents[1]
# what the tests of these parts need beside the code
TREE = ("volseg", "tests", "configs", "bundles", "pyproject.toml", "README.md")
# a mutant that never ends, or takes the process with it, was noticed as well
KILLED = {"killed", "timeout", "segfault"}
LEAST = 0.8


@dataclass(frozen=True)
class Part:
    """Code, and the tests that hold it.

    Attributes:
        code, tests: what is mutated, and what is to notice.
        aside: tests that work in other folders, where no mutant is found, in processes of their own, which no mutant
            reaches, or on the text of the code.
        spared: code that runs in such processes, or copies the code's text.
    """

    code: str
    tests: tuple[str, ...]
    aside: tuple[str, ...] = ()
    spared: tuple[str, ...] = ()


PARTS = {
    "geometry": Part("volseg/geometry.py", ("tests/test_geometry.py",)),
    "tiling": Part("volseg/inference/tiling.py", ("tests/inference/test_tiling.py",)),
    "checkpoint": Part("volseg/engine/checkpoint.py", ("tests/engine/test_checkpoint.py",)),
    "io": Part(
        "volseg/io/*",
        ("tests/io", "tests/badinputs"),
        (
            "tests/badinputs/test_predict.py",
            "tests/io/dicom/test_isolate.py::test_modules_in_the_working_folder_are_not_run",
        ),
    ),
    "bundle": Part(
        "volseg/bundle/*",
        ("tests/bundle", "tests/bundle_build", "tests/bundle_share", "tests/bundle_import", "tests/bundle_export"),
        (
            "tests/bundle_build/test_check.py::test_verb",
            "tests/bundle_build/test_committed.py",
            "tests/bundle_build/test_runs.py",
            "tests/bundle_export/test_network.py::test_an_exported_network_is_the_network[elsewhere]",
            "tests/bundle_export/test_vendor.py",
            "tests/bundle_import/test_agreement.py::test_the_command_line_imports_and_predicts",
            "tests/bundle_share/test_malicious.py",
            "tests/bundle_share/test_reach.py",
            "tests/bundle_share/test_verify.py::test_verbs",
        ),
        (
            "volseg/bundle/importing/child.py",
            "volseg/bundle/exporting/standalone.py",
            "volseg/bundle/exporting/sources.py",
            "volseg/bundle/exporting/vendor.py",
        ),
    ),
}


def run(argv: list[str]) -> int:
    """Mutate, test, record; 1 where fewer than four fifths are killed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks mutants", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default all)")
    parser.add_argument("--sample", type=int, help="as many mutants of each part, drawn at random (default all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="a folder to keep: an interrupted run goes on there")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.parts or PARTS:
            place = _prepared(PARTS[name], (options.work or Path(temporary)) / name)
            counts = _tested(place, options)
            killed, tried = sum(counts[state] for state in KILLED), counts.total()
            found[name] = {
                "mutants": tried,
                "killed": killed,
                "share": round(killed / tried, 3),
                "states": dict(counts),
            }
            print(f"{name:12} {killed} of {tried} killed, {killed / tried:.1%}")
    earlier = json.loads((RESULTS / "mutants.json").read_text())["ours"] if (RESULTS / "mutants.json").exists() else {}
    together = {name: {**earlier, **found}[name] for name in PARTS if name in {**earlier, **found}}
    record(
        "mutants",
        work="mutants of each part that its tests kill; a part that was sampled has fewer mutants than can be made",
        ours=together,
        peer=None,
        ratio={name: part["share"] for name, part in together.items()},
        packages=("mutmut", "pytest", "hypothesis"),
    )
    return int(any(part["share"] < LEAST for part in found.values()))


def _prepared(part: Part, place: Path) -> Path:
    """A copy of the tree whose tests are run on mutants of this part."""
    if not place.exists():
        place.mkdir(parents=True)
        for name in TREE:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, place / name)
        settings = {
            "source_paths": ["volseg"],
            "only_mutate": [part.code],
            "pytest_add_cli_args_test_selection": list(part.tests),
            "do_not_mutate": list(part.spared),
            "pytest_add_cli_args": [f"--deselect={test}" for test in part.aside],
            "also_copy": ["configs", "bundles", "README.md"],
        }
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        with (place / "pyproject.toml").open("a") as file:
            file.write("\n".join(["\n[tool.mutmut]", *lines, ""]))
    return place


def _tested(place: Path, options: argparse.Namespace) -> Counter[str]:
    """The states in which a part's mutants ended."""
    drawn: list[str] = []
    if options.sample is not None:
        _mutmut(place, "run", "nothing*", check=False)  # makes the mutants, and finds which test reaches which
        names = sorted(_states(place))
        drawn = random.Random(options.seed).sample(names, min(options.sample, len(names)))
    _mutmut(place, "run", "--max-children", str(options.processes), *drawn)
    return Counter(state for name, state in _states(place).items() if not drawn or name in drawn)


def _states(place: Path) -> dict[str, str]:
    told = _mutmut(place, "results", "--all", "true", quiet=True)
    pairs = (line.strip().rsplit(": ", 1) for line in told.splitlines() if ": " in line)
    return dict(pairs)


def _mutmut(place: Path, *words: str, check: bool = True, quiet: bool = False) -> str:
    # one thread: a process that has begun threads of numerical libraries cannot be forked
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": "", "HYPOTHESIS_PROFILE": "mutants"}
    command = [sys.executable, "-m", "mutmut", *words]
    out = subprocess.PIPE if quiet else None
    return subprocess.run(command, cwd=place, env=environment, check=check, stdout=out, text=True).stdout or ""
