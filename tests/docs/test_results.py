"""The benchmarks page shows whatever a benchmark records, in the shapes that benchmarks record."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ABOUT = {
    "work": "some work",
    "machine": {"cpu": "a processor", "cores": 2, "memory_GiB": 24},
    "versions": {"torch": "2.13.0", "nnunetv2": "absent"},
    "date": "2026-01-02",
}
FULL = {"seconds": 4.4123, "peak": 699650048}


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The page's module, its records in a folder of the test's own."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    monkeypatch.delitem(sys.modules, "results", raising=False)
    import results

    monkeypatch.setattr(results, "RESULTS", tmp_path)
    return results


def page(results: ModuleType, records: dict[str, dict[str, Any]], name: str = "results") -> str:
    """What is written for these records."""
    for stem, record in records.items():
        (results.RESULTS / f"{stem}.json").write_text(json.dumps(record))
    results.write_results(results.RESULTS / "made")
    return str((results.RESULTS / "made" / f"{name}.md").read_text())


@pytest.mark.parametrize(
    ("ours", "peer", "ratio", "rows"),
    [
        (0.5, {"A": 1.0, "B": 2.0}, {"A": 2.0, "B": 4.0}, ["| volseg | 0.5 |", "| A | 1 |", "| 2 | 4 |"]),
        (0.5, 1.0, 2.0, ["| volseg | 0.5 |", "| peer | 1 |"]),
        (FULL, FULL, {"MONAI": 1.0}, ["| volseg | 4.41 | 667 MiB |", "| MONAI | 4.41 | 667 MiB |"]),
        ({"volseg": FULL}, {"A": FULL}, {"volseg": {"A": 1.0, "volseg": 1.0}}, ["| A | 4.41 |", "| A | 1 |"]),
        ([{"size": 64, **FULL}], None, None, ["| volseg 1 | 64 | 4.41 | 667 MiB |"]),
        ({"good": 50, "failed": 0}, None, "0 : 3", ["| volseg | 50 | 0 |", "| 0 : 3 |"]),
    ],
    ids=["figures by name", "a figure each", "measures", "contenders", "rows", "counts"],
)
def test_a_record_is_shown(results: ModuleType, ours: Any, peer: Any, ratio: Any, rows: list[str]) -> None:
    """Every contender with every measure, the ratios to peers, where and when."""
    text = page(results, {"elastic": {**ABOUT, "ours": ours, "peer": peer, "ratio": ratio, "difference": 1e-8}})
    for row in (*rows, "a processor, 2 cores, 24 GiB", "2026-01-02", "torch 2.13.0", "difference: 1e-08"):
        assert row in text.replace("  ", " ")
    assert "; nnunetv2 was not installed and is not measured" in text
    assert "`python -m benchmarks elastic`" in text


def test_a_gpu_has_its_section(results: ModuleType) -> None:
    """It says that nothing was measured until a record names a GPU; that one appears there alone."""
    plain = {**ABOUT, "ours": 1.0, "peer": None, "ratio": None}
    assert "Nothing has been measured" in page(results, {"startup": plain}, "gpu")
    fast = {**plain, "machine": {**ABOUT["machine"], "gpu": "a card"}}  # type: ignore[dict-item]
    assert "a card" in page(results, {"gpu_training": fast}, "gpu")
    assert "a card" not in page(results, {}, "results")


def test_an_unknown_record_comes_last(results: ModuleType) -> None:
    """Nothing recorded is left out, whether or not it has a heading."""
    plain = {**ABOUT, "ours": 1.0, "peer": None, "ratio": None}
    text = page(results, {"aardvark": plain, "startup": plain})
    assert text.index("### startup") < text.index("## Further") < text.index("### aardvark")


def test_growth_is_two_curves(results: ModuleType) -> None:
    """Its record is drawn against the volume's size."""
    rows = [{"size": size, "seconds": size / 64, "peak": 1 << 30} for size in (64, 128)]
    record = {**ABOUT, "ours": rows, "peer": rows, "ratio": 1.0, "exponent": 1.0, "budget_MiB": 2048}
    assert "(growth.svg)" in page(results, {"growth": record})
    assert (results.RESULTS / "made" / "growth.svg").stat().st_size > 1000
