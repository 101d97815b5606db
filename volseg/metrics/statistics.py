"""Cohort statistics: means with bootstrap intervals over patients, and the paired comparison of two predictions.

Patients are resampled, not images: two frames of a heart are no two independent cases.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from volseg.errors import UsageError

Values = npt.NDArray[np.float64]

# resampled means are made this many at a time, so that memory stays small; a constant, for the same draws everywhere
_ROWS = 256


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    The bounds are NaN where fewer than two patients were measured: there is nothing to resample.
    """

    mean: float
    low: float
    high: float
    #: measured values, and the patients they come from
    n: int
    patients: int
    #: values left out because the measure did not apply (NaN)
    not_applicable: int
    confidence: float


@dataclass(frozen=True)
class Comparison:
    """Two predictions of the same cases, first less second."""

    difference: Interval
    #: of Wilcoxon's signed-rank test over patients, two-sided
    p_value: float


def bootstrap_mean(
    values: Sequence[float],
    patients: Sequence[Hashable] | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """The mean of the values with its percentile bootstrap interval over patients.

    Args:
        values: one measure of each case; NaN (not applicable) is left out and counted.
        patients: whose case it is; without it each case is a patient of its own.
        confidence: of the interval.
        resamples: how often patients are drawn with replacement.
        seed: the same seed gives the same interval.

    >>> interval = bootstrap_mean([0.9, 0.8, 0.95, 0.85], ["a", "a", "b", "c"])
    >>> round(interval.mean, 3), interval.patients, interval.low < interval.mean < interval.high
    (0.875, 3, True)
    """
    if not 0 < confidence < 1 or resamples < 1:
        raise UsageError(f"a confidence of {confidence} from {resamples} resamples means nothing")
    everything, owners = _grouped(values, patients)
    applicable = ~np.isnan(everything)
    kept = everything[applicable]
    _, owners = np.unique(owners[applicable], return_inverse=True)
    count = int(owners.max(initial=-1)) + 1
    mean = float(kept.mean()) if kept.size else math.nan
    low = high = math.nan
    if count > 1:
        sums = np.bincount(owners, weights=kept).astype(np.float64)
        means = _resampled(sums, np.bincount(owners), resamples, seed)
        means.sort()
        tail = (1 - confidence) / 2 * (resamples - 1)  # order statistics, rounded outwards
        low, high = float(means[math.floor(tail)]), float(means[math.ceil(resamples - 1 - tail)])
    return Interval(mean, low, high, int(kept.size), count, int((~applicable).sum()), confidence)


def compare(
    first: Sequence[float],
    second: Sequence[float],
    patients: Sequence[Hashable] | None = None,
    *,
    perfect: float | None = None,
    confidence: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Two predictions of the same cases: the mean difference with its interval, and Wilcoxon's signed-rank test.

    The test is over patients, each with the mean of its differences.

    Args:
        first, second: the same measure of both predictions, in the same order of cases.
        patients: whose case it is; without it each case is a patient of its own.
        perfect: the measure's best value. It stands for a NaN that the other prediction does not share: where the
            truth is empty, one prediction rightly empty (NaN) and the other not (a number), leaving the case out
            would hide the other's mistake.
        confidence, resamples, seed: as in :func:`bootstrap_mean`.

    >>> result = compare([0.91, 0.88, 0.95, 0.90, 0.93, 0.89], [0.90, 0.86, 0.92, 0.86, 0.88, 0.83])
    >>> round(result.difference.mean, 3), result.p_value
    (0.035, 0.03125)
    """
    from scipy.stats import wilcoxon  # half a second to import

    if len(first) != len(second):
        raise UsageError(f"{len(first)} values of one prediction for {len(second)} of the other")
    pairs = np.array([first, second], dtype=np.float64)
    if np.isinf(pairs).any():
        raise UsageError("infinite values cannot be compared", mend="let a missed structure count as 'diagonal'")
    absent = np.isnan(pairs)
    alone = absent & ~absent[::-1]
    if alone.any():
        if perfect is None:
            raise UsageError(
                f"{int(alone.sum())} cases apply to one of the predictions only", mend="say the measure's perfect value"
            )
        pairs[alone] = perfect
    differences = pairs[0] - pairs[1]
    interval = bootstrap_mean(differences.tolist(), patients, confidence=confidence, resamples=resamples, seed=seed)
    kept, owners = _grouped(differences.tolist(), patients)
    kept, owners = kept[~np.isnan(kept)], owners[~np.isnan(kept)]
    _, owners = np.unique(owners, return_inverse=True)
    # rounded, so that equal differences tie although 0.91 - 0.9 is not 0.01 in binary
    per_patient = np.round(np.bincount(owners, weights=kept) / np.bincount(owners), 12)
    if not per_patient.size:
        p_value = math.nan
    elif not per_patient.any():
        p_value = 1.0  # the same everywhere: no rank to speak of
    else:
        p_value = float(wilcoxon(per_patient).pvalue)
    return Comparison(interval, p_value)


def _grouped(values: Sequence[float], patients: Sequence[Hashable] | None) -> tuple[Values, npt.NDArray[np.intp]]:
    """The values as an array, and for each the number of its patient in order of appearance."""
    if patients is None:
        return np.asarray(values, dtype=np.float64), np.arange(len(values))
    if len(patients) != len(values):
        raise UsageError(f"{len(patients)} patients for {len(values)} values")
    numbers: dict[Hashable, int] = {}
    owners = [numbers.setdefault(patient, len(numbers)) for patient in patients]
    return np.asarray(values, dtype=np.float64), np.asarray(owners, dtype=np.intp)


def _resampled(sums: Values, counts: npt.NDArray[np.intp], resamples: int, seed: int) -> Values:
    """Means over all values of as many patients as there are, drawn with replacement."""
    random = np.random.default_rng(seed)
    means = np.empty(resamples)
    for start in range(0, resamples, _ROWS):
        drawn = random.integers(len(sums), size=(min(_ROWS, resamples - start), len(sums)))
        means[start : start + _ROWS] = sums[drawn].sum(1) / counts[drawn].sum(1)
    return means
