"""A prediction run writes what the trust score says, and a bundle without one costs nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from volseg.bundle.load import load_bundle
from volseg.bundle.rendering.build import build_bundle
from volseg.engine import compose
from volseg.prediction import Request, plan, run
from volseg.prediction.trust import StructureTrust, Trust
from volseg.recipe import Recipe


@pytest.fixture(scope="module")
def network(tiny: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("weights") / "random.pt"
    torch.save(compose.build(compose.network_part(tiny)).state_dict(), path)
    return path


def line(review: float) -> StructureTrust:
    return StructureTrust(
        ("doubt", "disagreement"), (-1.0, -1.0), (1.0, 1.0), (0.5, 0.1), -1.5, -0.3, 0.4, review, 9, 9
    )


def summary(bundle_path: Path, cells: Path, out: Path) -> tuple[list[dict], list]:
    bundle = load_bundle(bundle_path)
    predictor = bundle.predictor(device="cpu")
    work = plan(Request(cells, out, format="png"), bundle.identity)
    outcomes = list(run(work, predictor, bundle.recipe, bundle.trust))
    return json.loads((out / "summary.json").read_text())["cases"], outcomes


@pytest.mark.parametrize("review", [0.0, 1.0])
def test_the_summary_tells(review: float, tiny: Recipe, network: Path, cells: Path, tmp_path: Path) -> None:
    """Dice, interval and review for each structure; a mask to be reviewed is told among the hints."""
    trust = Trust({"cell": line(review)}, 0.9, {})
    bundle = build_bundle(tiny, tmp_path / "b", weights=network, trust=trust)
    cases, _ = summary(bundle, cells, tmp_path / "out")
    assert len(cases) == 8
    for case in cases:
        told = case["trust"]["cell"]
        assert set(told) == {"dice", "low", "high", "review"}
        assert told["low"] <= told["dice"] <= told["high"]
        assert told["review"] == (review == 1.0)
        assert any("should be reviewed" in hint for hint in case["hints"]) == told["review"]
        again = trust.estimate(case["signs"])["cell"]
        assert again.to_dict() == told
        assert all(math.isfinite(value) for value in case["signs"]["cell"].values())


def test_nothing_is_counted_for_nobody(tiny: Recipe, network: Path, cells: Path, tmp_path: Path) -> None:
    """A bundle without a score watches nothing, and its masks are those of one that does."""
    plain = build_bundle(tiny, tmp_path / "plain", weights=network)
    told = build_bundle(tiny, tmp_path / "told", weights=network, trust=Trust({"cell": line(0.5)}, 0.9, {}))
    assert not load_bundle(plain).predictor(device="cpu").watched
    cases, _ = summary(plain, cells, tmp_path / "a")
    assert all(case["trust"] == {} == case["signs"] for case in cases)
    watched, _ = summary(told, cells, tmp_path / "b")
    assert [case["mask_sha256"] for case in cases] == [case["mask_sha256"] for case in watched]


def test_without_its_signs_there_is_no_score(tiny: Recipe, network: Path, cells: Path, tmp_path: Path) -> None:
    """Predicted without mirrored copies, a score that was calibrated with them says nothing rather than something."""
    bundle = load_bundle(build_bundle(tiny, tmp_path / "b", weights=network, trust=Trust({"cell": line(0.5)}, 0.9, {})))
    image = next((cells / "images").iterdir())
    assert bundle.predict(image, predictor=bundle.predictor(device="cpu", turns=[])).trust == {}
    assert set(bundle.predict(image).trust) == {"cell"}
