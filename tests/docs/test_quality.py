"""The figures of docs/quality.md are those of the record."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks.mutants import LEAST, PARTS

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `(volseg/[\w./*]+)` \| (\d+) \| (\d+) % \|$", re.MULTILINE)


def test_mutants_are_those_that_were_counted() -> None:
    """Each part of the table with its count and share, to the percent, and none below what `make mutants` asks."""
    counted = json.loads((ROOT / "benchmarks" / "results" / "mutants.json").read_text())["ours"]
    rows = ROW.findall((ROOT / "docs" / "quality.md").read_text())
    assert {code for code, _, _ in rows} == {PARTS[name].code for name in counted}
    for name, part in counted.items():
        assert (PARTS[name].code, str(part["mutants"]), f"{part['share']:.0%}".rstrip("%")) in rows
        assert part["share"] >= LEAST
