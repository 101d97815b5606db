"""What ``volseg evaluate`` measured, from its JSON: just made, or in a file from before."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volseg.errors import VolumeError
from volseg.evaluation import MEASURES
from volseg.labels import Labels


@dataclass(frozen=True)
class Mean:
    """A cohort's mean with its interval; NaN where nothing applies."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class CaseScores:
    """The figures of a case by structure and by the measure's key, or the one line of what is wrong with it."""

    case: str
    mean_dice: float
    structures: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]
    error: str | None


@dataclass(frozen=True)
class Measured:
    """An evaluation as a report shows it."""

    labels: Labels
    means: Mapping[str, Mapping[str, Mean]]
    #: by structure: cases in which it was missed, and in which it was invented
    missed: Mapping[str, int]
    invented: Mapping[str, int]
    mean_dice: float
    patients: int
    tolerance: float
    #: worst first
    cases: tuple[CaseScores, ...]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Measured:
        """From what :func:`volseg.evaluation.evaluation_json` gives."""
        structures = told["structures"]
        return cls(
            Labels.of(told["labels"], ignore=told["ignore"], regions=told["regions"]),
            {name: {m.key: _mean(found[m.key]) for m in MEASURES} for name, found in structures.items()},
            {name: int(found["missed_cases"]) for name, found in structures.items()},
            {name: int(found["invented_cases"]) for name, found in structures.items()},
            _figure(told["mean"]["dice"]),
            int(told["count"]["patients"]),
            float(told["settings"]["surface_dice_tolerance_mm"]),
            tuple(map(_case, told["cases"])),
        )

    @classmethod
    def read(cls, path: Path) -> Measured:
        """From a file that ``volseg evaluate`` wrote.

        Raises:
            VolumeError: if it is none.
        """
        try:
            return cls.of(json.loads(path.read_text(encoding="utf-8")))
        except OSError as error:
            raise VolumeError(f"cannot be read: {error.strerror}", where=path) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise VolumeError("holds no figures of volseg evaluate", where=path, mend="name the file of -o") from error


def _mean(found: Mapping[str, Any]) -> Mean:
    return Mean(_figure(found["mean"]), _figure(found["low"]), _figure(found["high"]), int(found["n"]))


def _case(found: Mapping[str, Any]) -> CaseScores:
    structures = {
        str(name): {key: _figure(value) for key, value in scores.items()}
        for name, scores in found["structures"].items()
    }
    for scores in structures.values():
        scores["absolute_difference_ml"] = abs(scores["difference_ml"])
    error = found["error"]
    return CaseScores(
        str(found["case"]),
        _figure(found["mean_dice"]),
        structures,
        tuple(map(str, found["notes"])),
        None if error is None else str(error),
    )


def _figure(value: Any) -> float:
    """A figure as strict JSON has it: null does not apply, infinity is a word."""
    return math.nan if value is None else float(value)
