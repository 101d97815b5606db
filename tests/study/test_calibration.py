"""The calibration of the trust score: right coverage, one direction, patients apart, honest where it knows little."""

from __future__ import annotations

import math

import numpy as np
import pytest

from volseg.errors import BundleError
from volseg.prediction.trust import StructureTrust, Trust, tell
from volseg.study.calibration import Seen, calibrate


def seen(patients: int, scans: int = 2, noise: float = 0.3, seed: int = 0) -> list[Seen]:
    """Cases whose error is twice what the first sign says, times some noise; the second sign says nothing."""
    rng = np.random.default_rng(seed)
    found = []
    for patient in range(patients):
        for scan in range(scans):
            doubt = rng.normal(-2, 0.6)
            dice = 1 - min(1.0, math.exp(doubt + 0.3 + rng.normal(0, noise)))
            signs = {"doubt": doubt, "crumbs": rng.uniform(0, 0.1), "size": rng.normal(5, 1)}
            found.append(Seen(f"p{patient}_{scan}", f"p{patient}", "heart", signs, dice))
    return found


def test_intervals_cover_what_they_promise() -> None:
    """On patients that a calibration did not know, the 90 % interval holds 85 to 95 % of the cases."""
    new = seen(300, seed=9)
    coverages = []
    for seed in range(5):
        trust = calibrate(seen(60, seed=seed)).trust
        estimates = [(trust.estimate({"heart": one.signs})["heart"], one.dice) for one in new]
        coverages.append(np.mean([found.low <= dice <= found.high for found, dice in estimates]))
    assert 0.85 <= np.mean(coverages) <= 0.95


def test_its_own_assessment_is_that_of_strangers() -> None:
    """What it says of itself comes from other patients, and agrees with what new cases show."""
    found = calibrate(seen(60))
    told = found.trust.assessment["all"]
    assert told["n"] == 120
    assert told["spearman"] > 0.8
    assert 0.85 <= told["coverage"] <= 0.95
    assert told["found"] >= 0.5
    assert {one.seen.case for one in found.told} == {one.case for one in seen(60)}


def test_no_sign_counts_in_favour_of_a_mask() -> None:
    """More doubt never gives a better Dice, even where the cases happen to say so."""
    upside_down = [
        Seen(one.case, one.patient, one.structure, {**one.signs, "doubt": -one.signs["doubt"]}, one.dice)
        for one in seen(40)
    ]
    line = calibrate(upside_down).trust.structures["heart"]
    assert dict(zip(line.signs, line.slope, strict=True))["doubt"] == pytest.approx(0, abs=1e-9)


def test_few_patients_promise_nothing() -> None:
    """With eight cases the interval is everything; with three patients there is no score at all."""
    few = calibrate(seen(8, scans=1)).trust
    found = few.estimate({"heart": seen(1)[0].signs})["heart"]
    assert (found.low, found.high) == (0.0, 1.0)
    assert 0 < found.dice < 1
    assert calibrate(seen(3)).trust.structures == {}


def test_an_outlier_does_not_turn_the_line() -> None:
    """One ruined case among forty leaves the others' predictions as they were."""
    good = seen(40, scans=1)
    ruined = [*good[:-1], Seen("x", "px", "heart", good[-1].signs, 0.0)]
    one, other = (calibrate(cases).trust for cases in (good, ruined))
    for case in good[:10]:
        before, after = (trust.estimate({"heart": case.signs})["heart"].dice for trust in (one, other))
        assert after == pytest.approx(before, abs=0.05)


def test_what_does_not_apply_is_left_out() -> None:
    """A structure that was rightly not predicted has no Dice, and tells nothing."""
    cases = seen(20)
    empty = Seen("e", "pe", "heart", cases[0].signs, math.nan)
    assert calibrate([*cases, empty]).trust.structures == calibrate(cases).trust.structures


def test_a_score_survives_its_file() -> None:
    """Infinite ends of an interval too."""
    for patients in (8, 40):
        trust = calibrate(seen(patients)).trust
        raw = trust.to_bytes()
        again = Trust.from_bytes(raw, "trust.json")
        assert again == trust
        assert again.to_bytes() == raw


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:40],
        lambda text: text.replace("volseg trust 1", "volseg trust 9"),
        lambda text: text.replace('"doubt"', '"__import__"'),
        lambda text: text.replace('"cases": 40', '"cases": NaN'),
        lambda text: text.replace('"cases": 40', '"cases": "40"'),
        lambda text: text.replace('"intercept"', '"intercepted"'),
        lambda _: "[" * 100_000,
        lambda _: "[]",
    ],
)
def test_another_file_is_refused(spoil: object) -> None:
    """In one line, whatever is wrong with it."""
    text = calibrate(seen(20)).trust.to_bytes().decode()
    with pytest.raises(BundleError, match="is no trust score") as caught:
        Trust.from_bytes(spoil(text).encode(), "models/trust.json")  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_a_missing_sign_gives_no_score() -> None:
    """Signs that were not seen are not made up."""
    trust = calibrate(seen(20)).trust
    assert trust.estimate({"heart": {"doubt": -2.0}}) == {}
    assert trust.estimate({"liver": seen(1)[0].signs}) == {}


def test_review_is_told_in_words() -> None:
    """With the structure, what is expected of it, and how sure that is."""
    line = StructureTrust(("doubt",), (0.0,), (1.0,), (1.0,), math.log(0.41), -0.2, 0.3, 0.7, 20, 20)
    trust = Trust({"heart": line}, 0.9, {})
    estimates = trust.estimate({"heart": {"doubt": 0.0}})
    assert list(tell(estimates, trust.confidence)) == [
        "heart should be reviewed: its Dice is probably 0.60 (90% between 0.46 and 0.67)"
    ]
    assert list(tell(trust.estimate({"heart": {"doubt": -2.0}}), 0.9)) == []
