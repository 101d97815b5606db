"""How long a person waits for the help text: volseg and MONAI's bundle runner."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks.frame import record

COMMANDS = {
    "volseg --help": ["-m", "volseg.cli", "--help"],
    "python -m monai.bundle --help": ["-m", "monai.bundle", "--help"],
}
RUNS = 5


def run(argv: list[str]) -> int:
    medians = {}
    for name, words in COMMANDS.items():
        seconds = [_once(words) for _ in range(RUNS + 1)][1:]  # the first warms the disk's cache
        medians[name] = round(statistics.median(seconds), 3)
        print(f"{name:32} {medians[name]:.2f} s")
    ours, peer = medians.values()
    record("startup", work="print the help text", ours=ours, peer=peer, ratio=round(peer / ours, 1), seconds=medians)
    return 0


def _once(words: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start
