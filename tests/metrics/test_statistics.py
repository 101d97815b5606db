"""Bootstrap intervals and paired comparison."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from volseg.errors import UsageError
from volseg.metrics import bootstrap_mean, compare


@pytest.fixture
def dice():
    """40 scores of 20 patients, two frames each that resemble each other."""
    random = np.random.default_rng(0)
    values = np.repeat(random.uniform(0.6, 0.95, 20), 2) + random.normal(0, 0.01, 40)
    return values.tolist(), [f"patient{i // 2:03}" for i in range(40)]


def test_scipy(dice):
    """With a case per patient the interval is scipy's percentile bootstrap, up to the draws."""
    values, _ = dice
    found = bootstrap_mean(values)
    peer = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=0.003)
    assert found.mean == pytest.approx(np.mean(values))


def test_patients_are_resampled(dice):
    """Two frames of a patient are one piece of evidence: the interval is that of the patients, not of the frames."""
    values, patients = dice
    grouped = bootstrap_mean(values, patients)
    means = np.array(values).reshape(-1, 2).mean(1)
    peer = bootstrap_mean(means.tolist())
    assert (grouped.mean, grouped.low, grouped.high) == pytest.approx((peer.mean, peer.low, peer.high))
    assert (grouped.n, grouped.patients) == (40, 20)
    naive = bootstrap_mean(values)
    assert grouped.high - grouped.low > 1.2 * (naive.high - naive.low)


def test_uneven_patients():
    """The mean is over values: each draw of patients brings all of their values."""
    values, patients = [1.0, 1.0, 1.0, 0.0], ["a", "a", "a", "b"]
    found = bootstrap_mean(values, patients)
    assert (found.mean, found.low, found.high) == (0.75, 0, 1)  # aa, ab, ba or bb


def test_deterministic(dice):
    """The seed decides, nothing else does."""
    assert bootstrap_mean(*dice, seed=3) == bootstrap_mean(*dice, seed=3)
    assert bootstrap_mean(*dice, seed=3) != bootstrap_mean(*dice, seed=4)


def test_confidence(dice):
    """More confidence, wider interval."""
    narrow, wide = (bootstrap_mean(*dice, confidence=c) for c in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_coverage():
    """About 95 of 100 intervals from 30 normal cases hold the true mean."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        found = bootstrap_mean(random.normal(0, 1, 30).tolist(), resamples=500)
        held += found.low <= 0 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_not_applicable():
    """NaN is left out and counted; one patient gives no interval; an infinite distance stays infinite."""
    found = bootstrap_mean([0.8, math.nan, 0.6, math.nan], ["a", "b", "c", "c"])
    assert (found.mean, found.n, found.patients, found.not_applicable) == (pytest.approx(0.7), 2, 2, 2)
    single = bootstrap_mean([0.8, 0.9], ["a", "a"])
    assert single.mean == pytest.approx(0.85)
    assert math.isnan(single.low)
    nothing = bootstrap_mean([math.nan])
    assert math.isnan(nothing.mean)
    assert (nothing.n, nothing.patients) == (0, 0)
    endless = bootstrap_mean([1.0, 2.0, 3.0, math.inf], confidence=0.9)
    assert (endless.mean, endless.high) == (math.inf, math.inf)
    assert 1 <= endless.low < math.inf


def test_compare_scipy(dice):
    """The comparison is the bootstrap of the differences and scipy's signed-rank test over patients."""
    values, patients = dice
    random = np.random.default_rng(2)
    second = (np.array(values) - random.normal(0.01, 0.02, 40)).tolist()
    found = compare(values, second, patients)
    differences = np.subtract(values, second)
    assert found.difference == bootstrap_mean(differences.tolist(), patients)
    peer = stats.wilcoxon(np.round(differences.reshape(-1, 2).mean(1), 12)).pvalue
    assert found.p_value == pytest.approx(peer)
    assert compare(second, values, patients).p_value == pytest.approx(found.p_value)
    assert compare(second, values, patients).difference.mean == pytest.approx(-found.difference.mean)


def test_compare_equal():
    """Equal predictions do not differ, whatever binary makes of decimals; without cases there is no test."""
    found = compare([0.3, 0.9], [0.1 + 0.2, 0.9])
    assert found.p_value == 1
    assert found.difference.high == pytest.approx(0, abs=1e-15)
    assert math.isnan(compare([math.nan], [math.nan]).p_value)


def test_compare_does_not_hide_inventions():
    """Where the truth is empty, one prediction empty (NaN), the other not (0), the first counts as perfect."""
    first, second = [0.9, math.nan, math.nan], [0.9, 0.0, math.nan]
    with pytest.raises(UsageError, match="1 cases apply to one of the predictions only; say the measure's perfect"):
        compare(first, second)
    found = compare(first, second, perfect=1.0)
    assert found.difference.mean == 0.5
    assert (found.difference.n, found.difference.not_applicable) == (2, 1)


def test_mistakes():
    """Lists of different lengths and settings without meaning are refused."""
    with pytest.raises(UsageError, match="1 patients for 2 values"):
        bootstrap_mean([1, 2], ["a"])
    with pytest.raises(UsageError, match="confidence of 95"):
        bootstrap_mean([1, 2], confidence=95)
    with pytest.raises(UsageError, match="2 values of one prediction for 1"):
        compare([1, 2], [1])
    with pytest.raises(UsageError, match="'diagonal'"):
        compare([1, math.inf], [1, 2])
