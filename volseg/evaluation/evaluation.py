"""Holding the predictions of a cohort against its truths."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from volseg.data.apart import each_apart
from volseg.data.cohort.naming import counted, natural
from volseg.errors import LabelError, UsageError, VolsegError, VolumeError
from volseg.evaluation.masks import Mask, StrPath
from volseg.evaluation.pairing import Pair, Pairs, pair_masks
from volseg.evaluation.scoring import CaseResult, Scoring, present_values
from volseg.evaluation.summary import StructureSummary, compare_cases, overall, summarise
from volseg.io import PLAUSIBLE_SPACING
from volseg.labels import Labels
from volseg.metrics import Comparison, EmptyPolicy

# An image mistaken for a label map has hundreds of values; no segmentation has so many structures.
_MOST_STRUCTURES = 255


@dataclass(frozen=True)
class PairedComparison:
    """Two predictions of the same cases."""

    #: by structure and by the measure's key, first less second
    structures: Mapping[str, Mapping[str, Comparison]]
    #: nnU-Net's means of the two over the compared cases, by the measure's key
    first: Mapping[str, float]
    second: Mapping[str, float]
    #: the cases it is about
    cases: tuple[str, ...]
    #: cases that one of the two failed: they are in neither mean
    left_out: tuple[str, ...]
    #: what was wrong with cases of the second prediction
    errors: Mapping[str, str]


@dataclass(frozen=True)
class Evaluation:
    """What came of it: every case, the cohort, and how it was measured."""

    labels: Labels
    #: in the natural order of their names; those that failed have an ``error``
    cases: tuple[CaseResult, ...]
    structures: tuple[StructureSummary, ...]
    #: nnU-Net's convention, by the measure's key: over cases, then over structures (no regions)
    mean: Mapping[str, float]
    tolerance: float
    policy: EmptyPolicy
    resample: bool
    #: truths that nobody predicted and nobody asked for (``partial``), and predictions without a truth
    unasked: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    comparison: PairedComparison | None = field(default=None)

    @property
    def scored(self) -> tuple[CaseResult, ...]:
        return tuple(case for case in self.cases if case.good)

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        return tuple(case for case in self.cases if not case.good)

    @property
    def complete(self) -> bool:
        """Whether every case was scored, in the second prediction too."""
        return not self.failed and not (self.comparison and self.comparison.errors)

    def __getitem__(self, case: str) -> CaseResult:
        for result in self.cases:
            if result.case == case:
                return result
        raise UsageError(f"no case is named {case!r}")

    def dice(self, case: CaseResult) -> float:
        """The mean Dice of a case over its structures, NaN where there are none."""
        return case.mean_dice(self.labels.names)

    def worst_first(self) -> tuple[CaseResult, ...]:
        """Failed cases, then by mean Dice from the lowest; cases with nothing to find come last."""

        def badness(case: CaseResult) -> tuple[object, ...]:
            dice = self.dice(case)
            return (case.good, math.inf if math.isnan(dice) else dice, natural(case.case))

        return tuple(sorted(self.cases, key=badness))


def evaluate(
    predictions: StrPath,
    truths: StrPath,
    *,
    labels: Labels | None = None,
    compare: StrPath | None = None,
    instances: bool = False,
    tolerance: float = 2.0,
    policy: EmptyPolicy | None = None,
    resample: bool = False,
    partial: bool = False,
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING,
    reading: Mapping[str, Any] | None = None,
    processes: int = 0,
) -> Evaluation:
    """Hold the predictions of a cohort against its truths.

    Args:
        predictions: a folder, a tree or a file of label maps.
        truths: label maps in any layout: beside their images, in a folder of their own, ACDC, Decathlon, nnU-Net, CSV.
        labels: the structures; without them, every value that the truths hold is one, ``label 1``, ``label 2``, ….
        compare: a second prediction of the same cases, to be compared with the first.
        instances: whether truths give every object a value of its own; all of them are then the one structure.
        tolerance: of the surface Dice, in millimetres.
        policy: what empty masks are worth; by default a missed structure is worth the worst there is.
        resample: bring predictions on other grids onto the truth's, instead of refusing them.
        partial: leave truths without a prediction out, instead of counting each as a failed case.
        spacing_range: voxel sizes in millimetres outside this range are refused.
        reading: what the headers of truths are to be taken for, options of :func:`volseg.io.read_volume`.
        processes: how many cases are scored at the same time, each in a process of its own; 0 scores in this one.

    Returns:
        The evaluation. Cases that could not be scored are in it with their reasons; none stops the others.

    Raises:
        CohortError: if there is nothing to evaluate.
    """
    pairs = pair_masks(predictions, truths)
    other = None if compare is None else pair_masks(compare, truths)
    return evaluate_pairs(
        pairs,
        other,
        labels=labels,
        instances=instances,
        tolerance=tolerance,
        policy=policy,
        resample=resample,
        partial=partial,
        spacing_range=spacing_range,
        reading=reading,
        processes=processes,
    )


def evaluate_pairs(
    pairs: Pairs,
    other: Pairs | None = None,
    *,
    labels: Labels | None = None,
    names: Mapping[int, str] | None = None,
    instances: bool = False,
    tolerance: float = 2.0,
    policy: EmptyPolicy | None = None,
    resample: bool = False,
    partial: bool = False,
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING,
    reading: Mapping[str, Any] | None = None,
    processes: int = 0,
    step: Callable[[str], None] | None = None,
) -> Evaluation:
    """:func:`evaluate` for cases that were paired already; ``step`` is called with the name of each that is done.

    Where no labels are declared, ``names`` are those of values that the truths turn out to hold.
    """
    policy = policy or EmptyPolicy()
    if not 0 <= tolerance < math.inf:
        raise UsageError(f"a tolerance is a length of at least 0 mm, not {tolerance}")
    if other is not None and policy.missed == "infinite":
        raise UsageError("infinite distances cannot be compared", mend="let a missed structure count as 'diagonal'")
    if instances:
        pairs, other = pairs.as_instances(), None if other is None else other.as_instances()
    unreadable: dict[str, VolsegError] = {}
    named = labels is not None
    if labels is None:
        truths = [pair.truth for pair in pairs.found]
        labels, unreadable = _labels_of(truths, names or {}, pairs, spacing_range, reading, processes)
    if any(pair.truth.instances for pair in pairs.found) and len(labels) != 1:
        raise LabelError(
            f"the truths are instance maps, and {counted(len(labels), 'structure')} are declared",
            where=pairs.truths,
            mend="objects told apart are of one structure",
        )
    how = {
        "labels": labels,
        "named": named,
        "tolerance": tolerance,
        "policy": policy,
        "resample": resample,
        "spacing_range": spacing_range,
        "reading": reading,
    }
    first = _score(pairs, how, unreadable, partial, processes, step)
    structures = summarise([case for case in first if case.good], (*labels.names, *labels.regions))
    comparison = None
    if other is not None:
        second = _score(other, how, unreadable, partial, processes, step)
        comparison = _compared(first, second, labels)
    return Evaluation(
        labels,
        first,
        structures,
        overall([s for s in structures if s.structure in labels.names]),
        tolerance,
        policy,
        resample,
        tuple(mask.name for mask in pairs.missing) if partial else (),
        pairs.extra,
        pairs.notes,
        comparison,
    )


def _score(
    pairs: Pairs,
    how: Mapping[str, object],
    unreadable: Mapping[str, VolsegError],
    partial: bool,
    processes: int,
    step: Callable[[str], None] | None,
) -> tuple[CaseResult, ...]:
    scoring = Scoring(roots={"prediction": pairs.predictions, "truth": pairs.truths}, **how)  # type: ignore[arg-type]
    results = [
        CaseResult(pair.name, pair.truth.patient, error=scoring.line(pair, unreadable[pair.name]))
        for pair in pairs.found
        if pair.name in unreadable
    ]
    if not partial:
        results += [CaseResult(m.name, m.patient, error=f"{m.name}: has no prediction") for m in pairs.missing]
    readable = [pair for pair in pairs.found if pair.name not in unreadable]
    for result in each_apart(scoring, readable, processes=processes, lost=_lost):
        results.append(result)
        if step is not None:
            step(result.case)
    return tuple(sorted(results, key=lambda result: natural(result.case)))


def _labels_of(
    truths: Sequence[Mask],
    names: Mapping[int, str],
    pairs: Pairs,
    spacing_range: tuple[float, float],
    reading: Mapping[str, Any] | None,
    processes: int,
) -> tuple[Labels, dict[str, VolsegError]]:
    """A label for each value that any truth holds, and the truths that cannot be read."""
    if all(truth.instances for truth in truths):
        return Labels.of({next(iter(names.values())) if len(names) == 1 else "object": 1}), {}
    values: set[int] = set()
    unreadable: dict[str, VolsegError] = {}
    looked = functools.partial(present_values, spacing_range=spacing_range, reading=reading)
    found = each_apart(looked, truths, processes=processes, lost=_unread)
    for truth, present in zip(truths, found, strict=True):
        if isinstance(present, VolsegError):
            unreadable[truth.name] = present
        else:
            values.update(present)
    structures = sorted(values - {0})
    if len(structures) > _MOST_STRUCTURES:
        raise LabelError(
            f"the truths hold {len(structures)} different values: these look like images, or like objects told apart",
            where=pairs.truths,
            mend="name the label maps' folder, or give a recipe with the labels",
        )
    if not structures:
        why = f"; {next(iter(unreadable.values()))}" if unreadable else ""
        raise LabelError(f"the truths hold no structure{why}", where=pairs.truths, mend="give a recipe with the labels")
    return Labels.of({names.get(value, f"label {value}"): value for value in structures}), unreadable


def _compared(first: Sequence[CaseResult], second: Sequence[CaseResult], labels: Labels) -> PairedComparison:
    names = (*labels.names, *labels.regions)
    others = {case.case: case for case in second}
    both = [(case, others[case.case]) for case in first if case.good and case.case in others and others[case.case].good]
    ones, twos = [one for one, _ in both], [two for _, two in both]
    means = [overall([s for s in summarise(cases, names) if s.structure in labels.names]) for cases in (ones, twos)]
    kept = {case.case for case in ones}
    everybody = sorted({case.case for case in (*first, *second)}, key=natural)
    return PairedComparison(
        compare_cases(ones, twos, names),
        means[0],
        means[1],
        tuple(case.case for case in ones),
        tuple(name for name in everybody if name not in kept),
        {case.case: case.error for case in second if case.error is not None},
    )


def _lost(pair: Pair) -> CaseResult:
    return CaseResult(pair.name, pair.truth.patient, error=f"{pair.name}: scoring it ended the process; leave it out")


def _unread(mask: Mask) -> VolsegError:
    return VolumeError("reading it ended the process; leave it out", where=mask.path)
