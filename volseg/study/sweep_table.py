"""The table of a sweep: a row for each recipe, the best first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volseg.evaluation.strict_json import plain
from volseg.evaluation.tables import csv_text, figure_text, interval_text
from volseg.metrics import Interval, bootstrap_mean
from volseg.study.arms import Arm
from volseg.study.costs import Cost
from volseg.study.history import History, dice_by_case
from volseg.study.trial import outcome_of


@dataclass(frozen=True)
class Row:
    """What a recipe of a sweep came to.

    Attributes:
        arm: the recipe.
        state: ``done``, ``stopped early`` at a rung, ``interrupted``, or ``failed``.
        error: the one line of what went wrong.
        dice, iou: means over validation cases of the seeds' best validations, their intervals over patients.
        seeds: how many trainings it is of.
        spread: the standard deviation of Dice between seeds.
        cost: parameters and operations.
        epochs: that were trained, at most.
        seconds: of training, mean of the seeds.
        memory: bytes at the worst moment.
        best: the run's folder of the best seed.
    """

    arm: Arm
    state: str
    error: str | None
    dice: Interval
    iou: Interval
    seeds: int
    spread: float
    cost: Cost
    epochs: int
    seconds: float
    memory: int | None
    best: Path | None


def make_row(
    arm: Arm,
    runs: Sequence[Path],
    cost: Cost,
    patients: Mapping[str, str],
    *,
    epoch: int | None,
    interrupted: bool = False,
) -> Row:
    """The row of a recipe.

    Args:
        arm: the recipe.
        runs: the folders of its seeds.
        cost: of its network.
        patients: whose each case is.
        epoch: where it was stopped early; none if it was not.
        interrupted: whether the sweep itself was cut off.
    """
    histories = [History.of(run) for run in runs]
    ended = [(how, history) for run, history in zip(runs, histories, strict=True) if (how := outcome_of(run))]
    bests = [history.best(epoch) for history in histories]
    scores = [dice_by_case(best) for best in bests if best is not None]
    told = [float(best["dice"]) for best in bests if best is not None]
    failed = [how.error for how, _ in ended if how.state == "failed"]
    lost = [how.error for how, history in ended if how.state == "lost" and not history.finished]
    state, error = "done", None
    if failed:
        state, error = "failed", failed[0]
    elif epoch is not None:
        state = "stopped early"
    elif interrupted and not all(history.finished for history in histories):
        state = "interrupted"
    elif lost:
        state, error = "failed", lost[0]
    dice, iou = (_mean(scores, patients, measure) for measure in (_same, _iou))
    chosen = max(range(len(bests)), key=lambda k: -1.0 if bests[k] is None else float((bests[k] or {})["dice"]))
    return Row(
        arm,
        state,
        error,
        dice,
        iou,
        len(scores),
        float(np.std(told, ddof=1)) if len(told) > 1 else math.nan,
        cost,
        max((history.epoch for history in histories), default=0),
        float(np.mean([history.seconds for history in histories])) if histories else 0.0,
        max((how.memory for how, _ in ended if how.memory is not None), default=None),
        runs[chosen] if bests[chosen] is not None else None,
    )


def best_first(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Rows by Dice, then by IoU; those without a validation come last."""

    def worth(row: Row) -> tuple[float, float]:
        return tuple(math.inf if math.isnan(x) else -x for x in (row.dice.mean, row.iou.mean))  # type: ignore[return-value]

    return tuple(sorted(rows, key=worth))


def sweep_csv(rows: Sequence[Row]) -> str:
    """The table with a column for each key that was varied."""
    keys = list(dict.fromkeys(key for row in rows for key in row.arm.changes))
    variants = ["variant"] if any(row.arm.variant is not None for row in rows) else []
    columns = ["rank", "name", *variants, *keys, *_FIGURES, "state", "error"]
    table: list[Mapping[str, object]] = []
    for rank, row in enumerate(rows, start=1):
        own = {"rank": rank, "name": row.arm.name, "variant": row.arm.variant, **row.arm.changes}
        cells = {**own, **_figures(row), "state": row.state, "error": row.error}
        table.append({key: "" if cells.get(key) is None else cells[key] for key in columns})
    return csv_text(columns, table)


def sweep_json(rows: Sequence[Row], out: Path) -> list[dict[str, Any]]:
    """The table as plain data; what does not apply is null."""
    return [
        dict(
            plain(
                {
                    "rank": rank,
                    "name": row.arm.name,
                    "variant": row.arm.variant,
                    "changes": dict(row.arm.changes),
                    "state": row.state,
                    "error": row.error,
                    "dice": asdict(row.dice),
                    "iou": asdict(row.iou),
                    **{key: value for key, value in _figures(row).items() if key in _COSTS},
                    "seeds": row.seeds,
                    "seed_spread": row.spread,
                    "run": None if row.best is None else row.best.relative_to(out).as_posix(),
                }
            )
        )
        for rank, row in enumerate(rows, start=1)
    ]


def sweep_text(rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """The table as a terminal shows it: its head and its cells."""
    head = ["", "recipe", "Dice", "IoU", "seeds", "± seeds", "parameters", "GFLOP", "time", "memory", "epochs", "state"]
    cells = [
        [
            str(rank),
            row.arm.name,
            interval_text(row.dice, 4),
            interval_text(row.iou, 4),
            str(row.seeds),
            figure_text(row.spread, 4),
            f"{row.cost.parameters:,}",
            f"{row.cost.operations / 1e9:.3g}",
            f"{row.seconds:.1f} s",
            "-" if row.memory is None else f"{row.memory / 2**20:.0f} MiB",
            str(row.epochs),
            row.error or row.state,
        ]
        for rank, row in enumerate(rows, start=1)
    ]
    return head, cells


_COSTS = ("parameters", "operations", "epochs", "seconds", "memory_bytes")
_FIGURES = ("dice", "dice_low", "dice_high", "iou", "iou_low", "iou_high", "seeds", "seed_spread", *_COSTS)


def _figures(row: Row) -> dict[str, object]:
    return {
        "dice": row.dice.mean,
        "dice_low": row.dice.low,
        "dice_high": row.dice.high,
        "iou": row.iou.mean,
        "iou_low": row.iou.low,
        "iou_high": row.iou.high,
        "seeds": row.seeds,
        "seed_spread": row.spread,
        "parameters": row.cost.parameters,
        "operations": row.cost.operations,
        "epochs": row.epochs,
        "seconds": round(row.seconds, 3),
        "memory_bytes": row.memory,
    }


def _mean(scores: Sequence[Mapping[str, Mapping[str, float]]], patients: Mapping[str, str], measure: Any) -> Interval:
    """The mean over cases of the mean over structures, seeds averaged, with its interval over patients."""
    values = []
    cases = list(dict.fromkeys(case for told in scores for case in told))
    for case in cases:
        of_case = [measure(dice) for told in scores for dice in told.get(case, {}).values() if not math.isnan(dice)]
        values.append(float(np.mean(of_case)) if of_case else math.nan)
    return bootstrap_mean(values, [patients.get(case, case) for case in cases])


def _same(dice: float) -> float:
    return dice


def _iou(dice: float) -> float:
    """Two overlaps of the same two sets: each tells the other."""
    return dice / (2 - dice)
