"""How well a measurement agrees with the true one over a cohort: correlation, bias, limits of agreement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from volseg.errors import UsageError


@dataclass(frozen=True)
class Agreement:
    """Bland and Altman's figures for pairs of measurements.

    Differences are measured less true. A figure that the number of pairs does not support is NaN.
    """

    #: the pairs it is about
    n: int
    #: pairs left out because one of the two is missing (an EF where no ventricle was found): tell them, always
    missing: int
    #: Pearson's
    correlation: float
    #: the mean difference
    bias: float
    #: the standard deviation of the differences, n - 1 in the denominator
    deviation: float
    #: the mean absolute difference
    absolute: float

    @property
    def lower(self) -> float:
        """The lower limit of agreement, bias - 1.96 standard deviations."""
        return self.bias - 1.96 * self.deviation

    @property
    def upper(self) -> float:
        """The upper limit of agreement, bias + 1.96 standard deviations."""
        return self.bias + 1.96 * self.deviation


def measure_agreement(measured: Sequence[float], true: Sequence[float]) -> Agreement:
    """The agreement of two measurements of the same cases.

    >>> found = measure_agreement([61.0, 55.0, 42.0], [60.0, 55.0, 40.0])
    >>> found.bias, found.deviation
    (1.0, 1.0)
    """
    if len(measured) != len(true):
        raise UsageError(f"{len(measured)} measurements for {len(true)} true values")
    first, second = np.asarray(measured, dtype=np.float64), np.asarray(true, dtype=np.float64)
    kept = np.isfinite(first) & np.isfinite(second)
    first, second = first[kept], second[kept]
    n = first.size
    if n == 0:
        return Agreement(0, len(measured), math.nan, math.nan, math.nan, math.nan)
    difference = first - second
    deviation = float(difference.std(ddof=1)) if n > 1 else math.nan
    related = n > 2 and np.ptp(first) > 0 and np.ptp(second) > 0
    correlation = float(np.corrcoef(first, second)[0, 1]) if related else math.nan
    return Agreement(
        n, len(measured) - n, correlation, float(difference.mean()), deviation, float(np.abs(difference).mean())
    )
