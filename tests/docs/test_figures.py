"""Every figure in the README stands in the record of the benchmark that its row names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
ROW = re.compile(
    r"^\| .+ \| (?P<beside>.+) \| (?P<ratio>[^|]*\d[^|]*) \| `.*benchmarks (?P<name>\w+)` \|$", re.MULTILINE
)
ROWS = [match.groupdict() for match in ROW.finditer((ROOT / "README.md").read_text())]


def numbers(value: Any) -> Iterator[float]:
    """All numbers in a ratio, however it is nested."""
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, (int, float)):
        yield float(value)


def test_the_readme_has_figures() -> None:
    """The table is found, so that the test below cannot be empty."""
    assert len(ROWS) >= 5


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['name']}: {row['beside']}" for row in ROWS])
def test_a_figure_is_the_recorded_one(row: dict[str, str]) -> None:
    """To the digits shown; a range names the smallest and the largest of its peer."""
    measured = [
        number
        for path in RESULTS.glob(f"{row['name']}*.json")
        for number in numbers(json.loads(path.read_text())["ratio"])
    ]
    for text in re.findall(r"\d+(?:\.\d+)?", row["ratio"]):
        digits = len(text.partition(".")[2])
        assert any(round(number, digits) == float(text) for number in measured), (text, sorted(measured))
