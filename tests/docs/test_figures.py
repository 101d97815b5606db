"""A figure in the README or the documentation is a recorded one, or the page has none."""

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
CARD = re.compile(r"^\| \[(?P<bundle>\w+)\]\(bundles/.+\) \| .+ \| .+ \| (?P<dice>0\.\d+) \|$", re.MULTILINE)
CARDS = {match["bundle"]: match["dice"] for match in CARD.finditer((ROOT / "README.md").read_text())}
ROWS = [match.groupdict() for match in ROW.finditer((ROOT / "README.md").read_text())]
# Decisions quote what was measured on the day they were taken; all other pages leave figures to the benchmarks page,
# which is drawn from the records.
PAGES = [
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if not {"_build", "_generated", "decisions"} & {*p.parts}),
]
# a number with a unit of time, memory or comparison behind it, a Dice, or a power of ten
FIGURE = re.compile(
    r"(?<![\w.^-])\d[\d,.]*(?:\s*(?:to|and|-)\s*\d[\d,.]*)?\s?"
    r"(?:times|seconds?|s|ms|min|minutes?|hours?|h|[KMG]i?B|GFLOPs?|percent|%|thousand|millionths?)(?![\w/])"
    r"|\bDice\b[^.|]{0,40}?\d\.\d+"
)
# What is set and not measured: limits, tolerances and promises, each held by the code or a test.
SETTINGS = {
    "bundles.md": {"1 GiB"},
    "cross_validation.md": {"95 %", "Dice is at most 0.001"},
    "evaluation.md": {"95 %"},
    "exchange.md": {"99.9 %", "99.99 %"},
    "limits.md": {"0.5 %", "4 GiB"},
    "memory.md": {"2 GiB"},
    "phantoms.md": {"2 %"},
    "planning.md": {"15 %", "0.1 %", "1 %"},
    "quality.md": {"90 %", "95 %"},
    "report.md": {"2 MB"},
    "sharing.md": {"0.5 %", "2 %", "4 GiB"},
}


def numbers(value: Any) -> Iterator[float]:
    """All numbers in a ratio, however it is nested."""
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, (int, float)):
        yield float(value)


def prose(page: Path) -> str:
    """A page without its code, its transcripts and the rows that are held against records."""
    text = re.sub(r"^(```|~~~).*?^\1$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]*`|^    .*$", "", CARD.sub("", ROW.sub("", text)), flags=re.MULTILINE)
    return " ".join(text.split())


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


def test_trained_bundles_are_as_good_as_the_readme_says() -> None:
    """Each bundle with weights is listed, with the Dice of its model card."""
    measured = {
        path.parents[1].name: f"{json.loads(path.read_text())['mean']['dice']:.4f}"
        for path in (ROOT / "bundles").glob("*/docs/results.json")
    }
    assert measured == CARDS
    assert {path.parents[1].name for path in (ROOT / "bundles").glob("*/models/model.safetensors")} == set(CARDS)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_a_page_claims_no_figure_of_its_own(page: Path) -> None:
    """What is measured stands in a record, and from there on the benchmarks page; prose has settings alone."""
    found = {match.group() for match in FIGURE.finditer(prose(page))}
    assert found == SETTINGS.get(page.name, set())


def test_a_claim_would_be_found() -> None:
    """The pattern knows how figures are written, so that the test above cannot be empty."""
    for claim in ("4.9 GB", "2.1 to 6.4 times", "Dice of 0.912", "30 s", "72 percent", "667 MiB"):
        assert FIGURE.search(f"it is {claim} here"), claim
    assert not FIGURE.search("a volume of 512 x 512 x 400 voxels, 24 classes, 3 sizes")
