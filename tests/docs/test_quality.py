"""The record of mutants holds what the page on quality says of it."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.mutants import LEAST, PARTS

ROOT = Path(__file__).parents[2]


def test_enough_mutants_are_killed() -> None:
    """Of each part that was measured no fewer than `make mutants` asks; the page does not call it unmeasured."""
    counted = json.loads((ROOT / "benchmarks" / "results" / "mutants.json").read_text())["ours"]
    assert {"geometry", "tiling", "checkpoint"} <= set(counted) <= set(PARTS)
    for part in counted.values():
        assert part["share"] >= LEAST
