"""What a run's folder tells of its training: epochs, validations, whether it came to its end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from volseg.data.cohort import Case
from volseg.data.content import changed_parts, from_plain
from volseg.engine.log import Event, RunLog
from volseg.engine.run_folder import RunError, RunFolder
from volseg.recipe import Recipe


@dataclass(frozen=True)
class History:
    """What a run's log tells of its training."""

    epochs: tuple[Event, ...]
    validations: tuple[Event, ...]
    finished: bool

    @classmethod
    def of(cls, folder: Path) -> History:
        """Read it; a run that never began has none."""
        log = RunLog(folder)
        return cls(
            tuple(log.epochs),
            tuple(event for event in log.events if event.get("event") == "validation"),
            log.ended,
        )

    @property
    def epoch(self) -> int:
        """The last epoch that was ended."""
        return int(self.epochs[-1]["epoch"]) if self.epochs else 0

    @property
    def seconds(self) -> float:
        """Of training, over all of its sessions."""
        return float(self.epochs[-1]["seconds"]) if self.epochs else 0.0

    def has_reached(self, until: int | None) -> bool:
        """Whether there is nothing to do up to there."""
        if self.finished:
            return True
        return until is not None and any(event["epoch"] >= until for event in self._judged)

    def best(self, until: int | None = None) -> Event | None:
        """The best validation, of those that a run which pauses there would have seen."""
        seen: list[Event] = []
        for event in self._judged:
            seen.append(event)
            if until is not None and event["epoch"] >= until:
                break
        return max(seen, key=lambda event: float(event["dice"]), default=None)

    @property
    def _judged(self) -> list[Event]:
        return [event for event in self.validations if event.get("dice") is not None]


def require_same_run(folder: RunFolder, recipe: Recipe, cases: Mapping[str, Case]) -> None:
    """Refuse a finished run of another recipe, or of data that have changed since.

    Raises:
        RunError: naming what differs.
    """
    folder.require_same(recipe)
    before = from_plain(folder.facts()["data"])
    changed = changed_parts([cases[name] for name in before if name in cases], before)
    if changed:
        raise RunError(
            f"the data have changed since it was trained: {'; '.join(changed[:3])}"
            + (f"; and {len(changed) - 3} more" if len(changed) > 3 else ""),
            where=folder.path,
            mend="begin anew in another folder, or bring back the data as they were",
        )


def dice_by_case(event: Event) -> dict[str, dict[str, float]]:
    """Dice by case and structure of a validation; null, which is JSON's word for it, is not a number."""
    return {
        str(case): {str(name): math.nan if dice is None else float(dice) for name, dice in told.items()}
        for case, told in event["cases"].items()
    }
