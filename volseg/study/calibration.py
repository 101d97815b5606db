"""Calibrating the trust score on cases that the networks never saw.

The logarithm of a mask's error (1 - Dice) is a line in its signs, each allowed to count in one direction only: more
doubt never means a better mask. The line is robust (Huber's weights) and drawn towards the mean (a ridge), so that ten
cases do no harm. Its interval is conformal: the quantiles of what the line was wrong by on cases of other patients.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls
from scipy.stats import spearmanr

from volseg.inference.signs import dice_of, error
from volseg.prediction.trust import StructureTrust, Trust

Values = npt.NDArray[np.float64]

CONFIDENCE = 0.9
#: the share of the cases that are to be reviewed
REVIEWED = 0.1
# fewer patients than this tell nothing of a structure
_LEAST = 4
_FOLDS = 10
_RIDGE = 1.0
_HUBER = 1.345
_ROUNDS = 20
# signs that can only speak against a mask; the size of a structure can go either way
_AGAINST = {"doubt", "hesitation", "disagreement", "spread", "crumbs"}


@dataclass(frozen=True)
class Seen:
    """One structure of one case: the signs while it was predicted, and the Dice that it came to."""

    case: str
    patient: str
    structure: str
    signs: Mapping[str, float]
    dice: float


@dataclass(frozen=True)
class Told:
    """What a calibration that did not know the patient said of a structure of a case."""

    seen: Seen
    dice: float
    low: float
    high: float
    review: bool


@dataclass(frozen=True)
class Calibration:
    """A trust score, and what it says of the cases that it came from, each told from other patients."""

    trust: Trust
    told: tuple[Told, ...]


def calibrate(seen: Sequence[Seen], *, confidence: float = CONFIDENCE) -> Calibration:
    """A trust score from cases whose truth is known; structures with too few patients are left out.

    Args:
        seen: structures of cases, each predicted by networks that never saw the case.
        confidence: of the intervals.
    """
    structures: dict[str, StructureTrust] = {}
    told: list[Told] = []
    for name in dict.fromkeys(one.structure for one in seen):
        chosen = [one for one in seen if one.structure == name and not math.isnan(one.dice)]
        if len({one.patient for one in chosen}) < _LEAST:
            continue
        structures[name] = _calibrated(chosen, confidence)
        for others, held_out in _parts(chosen):
            line = _calibrated(others, confidence)
            for one in held_out:
                estimate = line.estimate(one.signs)
                assert estimate is not None
                told.append(Told(one, estimate.dice, estimate.low, estimate.high, estimate.review))
    return Calibration(Trust(structures, confidence, assess(told)), tuple(told))


def assess(told: Sequence[Told]) -> dict[str, Any]:
    """How well Dice was told, over everything and by structure: plain data.

    ``found`` is the share of the worst tenth that is among the tenth that looked worst; ``spearman`` is none where
    every Dice is the same.
    """
    everything = {"all": list(told)}
    by_case = _by_case(told)
    for name in dict.fromkeys(one.seen.structure for one in told):
        everything[name] = [one for one in told if one.seen.structure == name]
    found = {name: _figures(chosen) for name, chosen in everything.items() if chosen}
    if len(by_case) > 1:
        said, true = np.array(by_case).T
        found["cases"] = {"n": len(by_case), "spearman": _spearman(said, true), "found": _found(said, true)}
    return found


def _calibrated(seen: Sequence[Seen], confidence: float) -> StructureTrust:
    """The line through all of these cases; its interval and its threshold from lines that did not know the patient."""
    line = _line(seen)
    misses: list[float] = []
    predicted: list[float] = []
    for others, held_out in _parts(seen):
        other = _line(others)
        for one in held_out:
            value = _value(other, one)
            misses.append(error(one.dice) - value)
            predicted.append(float(dice_of(value)))
    tail = (1 - confidence) / 2
    return replace(
        line,
        low=-_quantile([-miss for miss in misses], 1 - tail),
        high=_quantile(misses, 1 - tail),
        review=float(np.quantile(predicted, REVIEWED)),
    )


def _line(seen: Sequence[Seen]) -> StructureTrust:
    kinds = tuple(seen[0].signs)
    x = np.array([[one.signs[kind] for kind in kinds] for one in seen])
    y = np.array([error(one.dice) for one in seen])
    centre = np.median(x, axis=0)
    scale = x.std(axis=0)
    scale[scale < 1e-6] = 1.0  # a sign that never changes says nothing, and must not say much either
    design = np.clip((x - centre) / scale, -4, 4)
    against = np.array([kind in _AGAINST for kind in kinds])
    intercept, slope = float(np.median(y)), np.zeros(len(kinds))
    weights = np.ones(len(y))
    for _ in range(_ROUNDS):
        before = slope
        intercept, slope = _weighted(design, y, weights, against)
        rest = np.abs(y - intercept - design @ slope)
        width = 1.4826 * float(np.median(rest))
        weights = np.minimum(1.0, _HUBER * max(width, 1e-6) / np.maximum(rest, 1e-12))
        if np.abs(slope - before).max(initial=0.0) < 1e-6:
            break
    return StructureTrust(
        kinds,
        tuple(map(float, centre)),
        tuple(map(float, scale)),
        tuple(map(float, slope)),
        intercept,
        -math.inf,
        math.inf,
        0.0,
        len(seen),
        len({one.patient for one in seen}),
    )


def _weighted(design: Values, y: Values, weights: Values, against: npt.NDArray[np.bool_]) -> tuple[float, Values]:
    """The ridge line of least weighted squares; the slopes of signs that speak against a mask stay above 0."""
    centre, level = np.average(design, axis=0, weights=weights), float(np.average(y, weights=weights))
    root = np.sqrt(weights)
    rows = np.vstack([(design - centre) * root[:, None], np.sqrt(_RIDGE) * np.eye(design.shape[1])])
    right = np.concatenate([(y - level) * root, np.zeros(design.shape[1])])
    # a slope that may have either sign is the difference of two that may not
    found, _ = nnls(np.hstack([rows, -rows[:, ~against]]), right)
    slope = found[: design.shape[1]].copy()
    slope[~against] -= found[design.shape[1] :]
    return level - float(centre @ slope), slope


def _value(line: StructureTrust, one: Seen) -> float:
    estimate = line.estimate(one.signs)
    assert estimate is not None
    return error(estimate.dice)


def _quantile(values: Sequence[float], share: float) -> float:
    """The conformal quantile: infinite where there are too few values to promise anything.

    >>> _quantile([3.0, 1.0, 2.0], 0.5), _quantile([3.0, 1.0, 2.0], 0.95)
    (2.0, inf)
    """
    rank = math.ceil((len(values) + 1) * share)
    return sorted(values)[rank - 1] if rank <= len(values) else math.inf


def _parts(seen: Sequence[Seen]) -> Iterator[tuple[list[Seen], list[Seen]]]:
    """Cases divided by patients: the others, and those that are held out; the same for any order."""
    patients = sorted({one.patient for one in seen})
    order = np.random.default_rng(0).permutation(len(patients))
    number = min(_FOLDS, len(patients))
    for part in range(number):
        held_out = {patients[index] for index in order[part::number]}
        yield (
            [one for one in seen if one.patient not in held_out],
            [one for one in seen if one.patient in held_out],
        )


def _figures(told: Sequence[Told]) -> dict[str, Any]:
    said, true = (np.array(values) for values in zip(*((one.dice, one.seen.dice) for one in told), strict=True))
    covered = [one.low <= one.seen.dice <= one.high for one in told]
    return {
        "n": len(told),
        "spearman": _spearman(said, true),
        "coverage": float(np.mean(covered)),
        "width": float(np.mean([one.high - one.low for one in told])),
        "mean_absolute_error": float(np.abs(said - true).mean()),
        "found": _found(said, true),
    }


def _by_case(told: Sequence[Told]) -> list[tuple[float, float]]:
    """Mean predicted and mean true Dice of each case."""
    cases: dict[str, list[Told]] = {}
    for one in told:
        cases.setdefault(one.seen.case, []).append(one)
    return [
        (float(np.mean([one.dice for one in of])), float(np.mean([one.seen.dice for one in of])))
        for of in cases.values()
    ]


def _spearman(said: Values, true: Values) -> float | None:
    if len(said) < 3 or np.ptp(said) == 0 or np.ptp(true) == 0:
        return None
    return float(spearmanr(said, true).statistic)


def _found(said: Values, true: Values) -> float:
    """The share of the worst tenth that lies in the tenth that looked worst."""
    count = max(1, round(REVIEWED * len(said)))
    worst, looked = (set(np.argsort(values, kind="stable")[:count].tolist()) for values in (true, said))
    return len(worst & looked) / count
