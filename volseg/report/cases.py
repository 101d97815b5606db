"""The cases of a report: for each its image, its masks, its figures and what the prediction told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from volseg.data.cohort import Case, find_cases
from volseg.data.cohort.naming import counted, listed, natural
from volseg.errors import CohortError, LabelError, VolsegError
from volseg.evaluation import Mask, Pairs, evaluate_pairs, evaluation_json, find_masks, pair_masks
from volseg.evaluation.pairing import partners
from volseg.evaluation.scoring import present_values
from volseg.io import PLAUSIBLE_SPACING
from volseg.labels import Labels
from volseg.report.measured import CaseScores, Measured
from volseg.report.scene import IGNORED
from volseg.report.told import Summary, Told, read_summary


@dataclass(frozen=True)
class Sources:
    """What a report is made from.

    Attributes:
        images: what was predicted, in any layout.
        predictions: the masks, with ``summary.json`` beside them where there is one.
        truths: what the masks are held against.
        metrics: what ``volseg evaluate`` measured; without, it is measured here.
        labels: the structures; by default those that the summary or the metrics name, else each value in the masks.
        frame: which frame of time series; by default the one that a mask's name tells.
        partial: leave truths without a mask out, instead of showing each as a failed case.
        instances: whether truths give every object a value of its own; all of them are then the one structure.
        spacing_range: voxel sizes in millimetres outside this range are refused.
        reading: what the headers of images and truths are to be taken for, options of :func:`volseg.io.read_volume`.
    """

    images: Path
    predictions: Path
    truths: Path | None = None
    metrics: Path | None = None
    labels: Labels | None = None
    frame: int | None = None
    partial: bool = False
    instances: bool = False
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING
    reading: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ReportCase:
    """One case, and everything that is known of it before it is drawn."""

    name: str
    image: Case | None
    prediction: Mask | None
    truth: Mask | None
    scores: CaseScores | None
    told: Told

    @property
    def error(self) -> str | None:
        """Why there is no mask, or no figure."""
        return self.told.error or (self.scores.error if self.scores else None)

    @property
    def scored(self) -> bool:
        return self.scores is not None and self.scores.error is None


@dataclass(frozen=True)
class Gathered:
    """The cases, the worst first, and the cohort's figures."""

    labels: Labels
    cases: tuple[ReportCase, ...]
    measured: Measured | None
    bundle: str | None
    notes: tuple[str, ...]


def gather(sources: Sources, *, processes: int = 0) -> Gathered:
    """Find the cases, measure them where there is a truth and no figures, and put the worst first.

    Raises:
        CohortError: if there are no masks, or no image has the name of one.
    """
    summary = read_summary(sources.predictions)
    labels = sources.labels or summary.labels
    pairs = pair_masks(sources.predictions, sources.truths) if sources.truths else None
    if pairs is not None and sources.instances:
        pairs = pairs.as_instances()
    measured = Measured.read(sources.metrics) if sources.metrics else None
    if pairs is not None and measured is None:
        measured = Measured.of(
            evaluation_json(
                evaluate_pairs(
                    pairs,
                    labels=labels,
                    partial=sources.partial,
                    spacing_range=sources.spacing_range,
                    reading=sources.reading,
                    processes=processes,
                )
            )
        )
    masks = find_masks(sources.predictions)
    labels = labels or (measured.labels if measured else _labels_of(masks.masks, sources))
    if len(labels) >= IGNORED:
        raise LabelError(f"a report shows at most {IGNORED - 1} structures, not {len(labels)}")
    missing = pairs.missing if pairs and not sources.partial else ()
    bare = _bare(masks.masks, pairs, missing, summary, sources.predictions)
    bare = _with_images(_with_scores(bare, measured), sources)
    notes = pairs.notes if pairs else masks.notes
    return Gathered(labels, tuple(sorted(bare, key=_order(measured))), measured, summary.bundle, notes)


def _bare(
    masks: Sequence[Mask], pairs: Pairs | None, missing: Sequence[Mask], summary: Summary, predictions: Path
) -> list[ReportCase]:
    """A case for each mask, each truth without one, and each image that could not be predicted."""
    failed = {one.case: one for one in summary.cases if one.error}
    told = {predictions / one.mask: one for one in summary.cases if one.mask}
    truths = {pair.prediction.path: pair.truth for pair in pairs.found} if pairs else {}
    cases = []
    for mask in masks:
        truth = truths.get(mask.path)
        name = truth.name if truth else mask.name
        # a mask that lies there although its case failed was not made by that prediction: the failure is what counts
        cases.append(ReportCase(name, None, mask, truth, None, told.get(mask.path) or failed.get(name, Told(name))))
    cases += [
        ReportCase(truth.name, None, None, truth, None, failed.get(truth.name, Told(truth.name))) for truth in missing
    ]
    known = {case.name for case in cases}
    cases += [ReportCase(name, None, None, None, None, one) for name, one in failed.items() if name not in known]
    return cases


def _with_scores(cases: Sequence[ReportCase], measured: Measured | None) -> list[ReportCase]:
    if measured is None:
        return list(cases)
    found = partners([_Named(scores.case, scores) for scores in measured.cases], cases)
    return [replace(case, scores=found[case.name].scores) if case.name in found else case for case in cases]


def _with_images(cases: Sequence[ReportCase], sources: Sources) -> list[ReportCase]:
    cohort = find_cases(sources.images, labels="none", frames=sources.frame)
    if sources.images.is_file() and len(cohort) == len(cases) == 1:
        return [replace(cases[0], image=cohort.cases[0])]
    found = partners(cohort.cases, cases)
    if sources.frame is None and any(case.name not in found for case in cases):
        frames = find_cases(sources.images, labels="none", frames="all").cases
        found = partners(frames, [case for case in cases if case.name not in found]) | found
    if not found:
        raise CohortError(
            f"no image has the name of a mask: {listed((case.name for case in cohort), 3)} here, "
            f"{listed((case.name for case in cases), 3)} in {sources.predictions}",
            where=sources.images,
            mend="name the images that were predicted",
        )
    return [replace(case, image=found.get(case.name)) for case in cases]


@dataclass(frozen=True)
class _Named:
    name: str
    scores: CaseScores


def _order(measured: Measured | None) -> Any:
    """Failed cases, then those that were scored from the worst, then by what is doubted of the others."""
    places = {scores.case: place for place, scores in enumerate(measured.cases)} if measured else {}

    def place(case: ReportCase) -> tuple[object, ...]:
        scored = places.get(case.scores.case, len(places)) if case.scores else len(places)
        expected = case.told.expected_dice
        return (
            case.error is None,
            scored,
            not case.told.review,
            math.inf if math.isnan(expected) else expected,
            -len(case.told.hints),
            natural(case.name),
        )

    return place


def _labels_of(masks: Sequence[Mask], sources: Sources) -> Labels:
    """A label for each value that a mask holds."""
    values: set[int] = set()
    for mask in masks:
        found = present_values(mask, sources.spacing_range)
        if not isinstance(found, VolsegError):  # it is told of the case when the case is drawn
            values.update(found)
    structures = sorted(values - {0})
    if not structures or len(structures) >= IGNORED:
        raise LabelError(
            f"the masks hold {counted(len(structures), 'different value')} beside the background",
            where=sources.predictions,
            mend="give a recipe with the labels",
        )
    return Labels.of({f"label {value}": value for value in structures})
