"""What the prediction tells of its cases: its ``summary.json``, where one lies beside the masks."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volseg.errors import VolsegError, VolumeError
from volseg.labels import Labels


@dataclass(frozen=True)
class Trust:
    """A predicted Dice with its interval, for one structure of one case."""

    dice: float
    low: float
    high: float
    review: bool = False


@dataclass(frozen=True)
class Told:
    """What is told of one case."""

    case: str
    mask: str | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    trust: Mapping[str, Trust] = field(default_factory=dict)

    @property
    def review(self) -> bool:
        """Whether a structure's predicted Dice asks for a look before the others."""
        return any(trust.review for trust in self.trust.values())

    @property
    def expected_dice(self) -> float:
        """The mean predicted Dice, NaN where none was predicted."""
        found = [trust.dice for trust in self.trust.values()]
        return sum(found) / len(found) if found else math.nan


@dataclass(frozen=True)
class Summary:
    """What a prediction tells: its labels, its bundle, its cases."""

    labels: Labels | None = None
    bundle: str | None = None
    cases: tuple[Told, ...] = ()


def read_summary(predictions: Path) -> Summary:
    """The summary beside the masks, or those of all parts of the run together; an empty one where there is none.

    Raises:
        VolumeError: if a summary is damaged.
    """
    if not predictions.is_dir():
        return Summary()
    files = sorted((*predictions.glob("summary.json"), *predictions.glob("summary-*-of-*.json")))
    parts = [_read(file) for file in files]
    if not parts:
        return Summary()
    cases = {told.case: told for part in parts for told in part.cases}
    return Summary(parts[0].labels, parts[0].bundle, tuple(cases.values()))


def _read(file: Path) -> Summary:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        labels = Labels.from_dict(stored["labels"]) if stored.get("labels") else None
        bundle = stored.get("identity", {}).get("bundle")
        return Summary(labels, None if bundle is None else str(bundle), tuple(map(_told, stored["cases"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        said = f": {error.what}" if isinstance(error, VolsegError) else ""
        raise VolumeError(
            f"is no summary of a prediction{said}", where=file, mend="predict again, or move it"
        ) from error


def _told(entry: Mapping[str, Any]) -> Told:
    return Told(
        str(entry["case"]),
        entry.get("mask"),
        None if entry.get("error") is None else str(entry["error"]),
        tuple(map(str, entry.get("notes") or ())),
        tuple(map(str, entry.get("hints") or ())),
        {str(name): _trust(found) for name, found in (entry.get("trust") or {}).items()},
    )


def _trust(found: Mapping[str, Any]) -> Trust:
    return Trust(float(found["dice"]), float(found["low"]), float(found["high"]), bool(found.get("review", False)))
