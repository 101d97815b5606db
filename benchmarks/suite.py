"""Every benchmark, one after the other; with --quick smaller work, whose results are kept apart from the record.

``python -m benchmarks suite`` takes hours. Real data are found through the environment variable VOLSEG_TEST_DATA;
benchmarks that need them, or a package that is absent, are left out with a word. What trains keeps its runs in --work:
interrupted, it goes on there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.frame import RESULTS_VARIABLE


@dataclass(frozen=True)
class Entry:
    """A benchmark as it is run.

    Attributes:
        words: its name and options; ``{data}`` and ``{work}`` are folders.
        quick: options in place of those, for work of seconds; none where it cannot be made small.
        needs: a package that the Makefile's environment lacks.
    """

    words: str
    quick: str | None = None
    needs: str | None = None


ENTRIES = (
    Entry("startup", ""),
    Entry("read", "-n 1 --slices 16"),
    Entry("elastic", "--size 48 -n 2 --turns 1"),
    Entry("spatial", "--size 48 -n 2 --turns 1 --labels 3"),
    Entry("weightmap", "--size 96 --cells 12 -n 1 --turns 1"),
    Entry("resample", "--shape 40 40 20 --onto 64 64 32 --classes 4 --repeats 1"),
    Entry("inference", "--size 64 --repeats 1"),
    Entry("memory", "--shape 96 96 64 --classes 2 --budgets 512 --slices 32"),
    Entry("growth", "--sizes 32 48 --repeats 1 --peer-up-to 32"),
    Entry("plan_memory", "-n 1 --smallest 50 --largest 400"),
    Entry("train_step", "--steps 3"),
    Entry("folder"),
    Entry("chaos all", "all -n 3"),
    Entry("chaos kill-train"),
    Entry("chaos corrupt-checkpoint"),
    Entry("chaos sigterm"),
    Entry("chaos nan-case"),
    Entry("time_to_dice hippocampus --data {data}/hippocampus --work {work}/hippocampus"),
    Entry("time_to_dice acdc --data {data}/acdc/training --work {work}/acdc"),
    Entry("trust hippocampus --data {data}/hippocampus --work {work}/trust_hippocampus"),
    Entry("trust acdc --data {data}/acdc/training --work {work}/trust_acdc"),
    Entry("em --data {data}/em --work {work}/em"),
    Entry("nuclei_parts --data {data}/nuclei --work {work}/nuclei"),
    Entry("fuzz all", needs="atheris"),
    Entry("fuzz_bundle all", needs="atheris"),
    Entry("fuzz_dicom", needs="atheris"),
)
# asks for real data without an option
_DATA = ("{data}", "folder")


def run(argv: list[str]) -> int:
    """Each in a process of its own; 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks suite", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="minutes instead of hours")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks"), help="where trainings are kept")
    options = parser.parse_args(argv)
    data, environment = os.environ.get("VOLSEG_TEST_DATA"), dict(os.environ)
    if options.quick:
        environment[RESULTS_VARIABLE] = str((options.work / "quick").resolve())
    failed, left_out = [], []
    for entry in ENTRIES:
        words = entry.words if not options.quick else f"{entry.words.split()[0]} {entry.quick}"
        if options.quick and entry.quick is None:
            continue
        if (entry.needs and find_spec(entry.needs) is None) or (data is None and any(n in words for n in _DATA)):
            left_out.append(f"{words}: needs {entry.needs or 'VOLSEG_TEST_DATA'}")
            continue
        print(f"== {words}", flush=True)
        filled = [word.format(data=data, work=options.work) for word in words.split()]
        if subprocess.run([sys.executable, "-m", "benchmarks", *filled], env=environment, check=False).returncode:
            failed.append(words)
    for line in left_out:
        print(f"left out: {line}")
    for line in failed:
        print(f"FAILED: {line}")
    return int(bool(failed))
