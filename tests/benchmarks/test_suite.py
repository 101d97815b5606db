"""The suite of benchmarks: all of them, with options that they have, and small ones that leave the record alone."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import benchmarks
from benchmarks.__main__ import FRAME
from benchmarks.frame import RESULTS_VARIABLE
from benchmarks.suite import ENTRIES

ROOT = Path(__file__).parents[2]


class _Parsed(Exception):
    """The options were understood."""


def test_every_benchmark_is_in_the_suite() -> None:
    """But for the suite itself, mutants, which have a target of their own, and what needs a GPU."""
    names = {module.name for module in pkgutil.iter_modules(benchmarks.__path__)} - FRAME
    assert {entry.words.split()[0] for entry in ENTRIES} == names - {"suite", "mutants", "gpu"}


@pytest.mark.parametrize("words", [
    words
    for entry in ENTRIES
    for words in (entry.words, f"{entry.words.split()[0]} {entry.quick}")
    if not words.endswith("None")
])  # fmt: skip
def test_its_options_are_understood(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the benchmark's own parser; what follows is not run."""
    whole = argparse.ArgumentParser.parse_args

    def parsed(self: argparse.ArgumentParser, *given: Any) -> None:
        whole(self, *given)
        raise _Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parsed)
    name, *options = words.split()
    module = importlib.import_module(f"benchmarks.{name}")
    if name == "startup":  # has none
        assert options == []
        return
    with pytest.raises(_Parsed):
        module.run(options)


def test_results_that_are_not_the_record_go_elsewhere(tmp_path: Path) -> None:
    """Where the environment says; with the keys that every record has."""
    code = "from benchmarks.frame import record; record('small', work='w', ours=1, peer=2, ratio=2.0)"
    env = os.environ | {RESULTS_VARIABLE: str(tmp_path / "deep" / "results")}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
    told = json.loads((tmp_path / "deep" / "results" / "small.json").read_text())
    assert list(told) == ["work", "ours", "peer", "ratio", "machine", "versions", "date"]
    assert not (ROOT / "benchmarks" / "results" / "small.json").exists()
