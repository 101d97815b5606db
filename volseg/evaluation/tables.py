"""An evaluation as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from volseg import __version__
from volseg.evaluation.evaluation import Evaluation, PairedComparison
from volseg.evaluation.measures import MEASURES
from volseg.evaluation.scoring import CaseResult, Score
from volseg.evaluation.strict_json import plain
from volseg.metrics import Interval

COLUMNS = ("case", "patient", *(field.name for field in fields(Score)), "error")


def evaluation_json(evaluation: Evaluation) -> dict[str, Any]:
    """The whole evaluation as JSON has it, worst cases first; the same evaluation gives the same text.

    A figure that does not apply is null, an infinite one the text "Infinity".
    """
    told = {
        "volseg": __version__,
        "settings": {
            "surface_dice_tolerance_mm": evaluation.tolerance,
            "both_empty": evaluation.policy.both,
            "missed": evaluation.policy.missed,
            "resample": evaluation.resample,
        },
        "labels": {structure.name: structure.value for structure in evaluation.labels.structures},
        "regions": {name: list(parts) for name, parts in evaluation.labels.regions.items()},
        "ignore": evaluation.labels.ignore,
        "count": {
            "cases": len(evaluation.cases),
            "scored": len(evaluation.scored),
            "failed": len(evaluation.failed),
            "patients": len({case.patient for case in evaluation.scored}),
        },
        "mean": evaluation.mean,
        "structures": {
            summary.structure: {
                **{key: asdict(interval) for key, interval in summary.means.items()},
                "missed_cases": summary.missed,
                "invented_cases": summary.invented,
            }
            for summary in evaluation.structures
        },
        "cases": [_case(evaluation, case) for case in evaluation.worst_first()],
        "truths_left_out": list(evaluation.unasked),
        "predictions_without_truth": list(evaluation.extra),
        "notes": list(evaluation.notes),
        "comparison": None if evaluation.comparison is None else _comparison(evaluation.comparison),
    }
    return dict(plain(told))


def evaluation_csv(evaluation: Evaluation) -> str:
    """One row for each case and structure, in the order of the cases; a figure that does not apply is empty."""
    rows: list[Mapping[str, object]] = []
    for case in evaluation.cases:
        whose = {"case": case.case, "patient": case.patient}
        rows += [{**whose, **asdict(score)} for score in case.scores]
        if case.error is not None:
            rows.append({**whose, "error": case.error})
    return csv_text(COLUMNS, rows)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Rows as CSV with a head; what a row lacks, and NaN, are empty, infinity is ``inf``."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if isinstance(v, float) and math.isnan(v) else v for key, v in row.items()})
    return text.getvalue()


def interval_text(interval: Interval, digits: int) -> str:
    """A mean with its interval in a table's cell.

    >>> interval_text(Interval(0.9, 0.85, 0.95, 6, 3, 0, 0.95), 2)
    '0.90 [0.85, 0.95]'
    """
    if math.isnan(interval.mean):
        return "-"
    if math.isnan(interval.low):
        return f"{interval.mean:.{digits}f}"
    return f"{interval.mean:.{digits}f} [{interval.low:.{digits}f}, {interval.high:.{digits}f}]"


def figure_text(value: float, digits: int) -> str:
    """One figure in a table's cell; ``-`` where nothing applies."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _case(evaluation: Evaluation, case: CaseResult) -> dict[str, object]:
    scores: dict[str, object] = {}
    for score in case.scores:
        scores[score.structure] = {key: value for key, value in asdict(score).items() if key != "structure"}
    return {
        "case": case.case,
        "patient": case.patient,
        "mean_dice": evaluation.dice(case),
        "structures": scores,
        "notes": list(case.notes),
        "error": case.error,
    }


def _comparison(comparison: PairedComparison) -> dict[str, object]:
    return {
        "cases": list(comparison.cases),
        "left_out": list(comparison.left_out),
        "errors": comparison.errors,
        "first_mean": comparison.first,
        "second_mean": comparison.second,
        "first_less_second": {
            structure: {
                m.key: {**asdict(found[m.key].difference), "p_value": found[m.key].p_value}
                for m in MEASURES
                if m.key in found
            }
            for structure, found in comparison.structures.items()
        },
    }
