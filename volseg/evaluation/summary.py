"""From cases to a cohort: a mean and an interval for each structure, and two predictions side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from volseg.evaluation.measures import MEASURES
from volseg.evaluation.scoring import CaseResult, Score
from volseg.metrics import Comparison, Interval, bootstrap_mean, compare


@dataclass(frozen=True)
class StructureSummary:
    """One structure or region over the cohort."""

    structure: str
    #: by the measure's key
    means: Mapping[str, Interval]
    #: cases in which it is there and nothing of it was predicted
    missed: int
    #: cases in which it was predicted and is not there
    invented: int


def summarise(cases: Sequence[CaseResult], structures: Sequence[str]) -> tuple[StructureSummary, ...]:
    """Means over the scored cases with bootstrap intervals over patients."""
    patients = [case.patient for case in cases]
    found = []
    for name in structures:
        scores = [case[name] for case in cases]
        means = {m.key: bootstrap_mean(_values(scores, m.key), patients) for m in MEASURES}
        missed, invented = sum(score.missed for score in scores), sum(score.invented for score in scores)
        found.append(StructureSummary(name, means, missed, invented))
    return tuple(found)


def overall(summaries: Sequence[StructureSummary]) -> dict[str, float]:
    """nnU-Net's convention: the mean over cases first, then over structures; one that never applied is left out."""
    means = {m.key: [s.means[m.key].mean for s in summaries if not math.isnan(s.means[m.key].mean)] for m in MEASURES}
    return {key: float(np.mean(values)) if values else math.nan for key, values in means.items()}


def compare_cases(
    first: Sequence[CaseResult], second: Sequence[CaseResult], structures: Sequence[str]
) -> dict[str, dict[str, Comparison]]:
    """Both predictions of the same cases, in the same order: by structure and measure, first less second."""
    patients = [case.patient for case in first]
    return {
        name: {
            m.key: compare(
                _values([case[name] for case in first], m.key),
                _values([case[name] for case in second], m.key),
                patients,
                perfect=m.best,
            )
            for m in MEASURES
            if m.best is not None
        }
        for name in structures
    }


def _values(scores: Sequence[Score], key: str) -> list[float]:
    return [float(getattr(score, key)) for score in scores]
