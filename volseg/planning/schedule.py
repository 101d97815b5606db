"""How long to train: epochs and steps that fill the time there is, and what follows from their number."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from volseg.planning.choice import Choice
from volseg.planning.measured import Measured
from volseg.recipe.units import format_seconds

#: without a budget: so many steps train a network well, by the network's dimensions
UNHURRIED = {2: 8000, 3: 4000}
#: shares of the budget: kept for the unforeseen, and spent on validation
_RESERVE, _VALIDATION = 0.12, 0.1
_MOST_VALIDATIONS = 12
_MOST_EPOCHS = 100


@dataclass(frozen=True)
class Schedule:
    """Epochs, steps, and validations."""

    epochs: int
    steps: int
    validate_every: int

    @property
    def total(self) -> int:
        """Steps altogether."""
        return self.epochs * self.steps


def affordable_steps(budget: float, cost: Measured, *, training: int, validation: int) -> int:
    """The steps that fit a budget beside reading the cases and validating them.

    >>> affordable_steps(1000, Measured(step=0.5, peak=0), training=10, validation=2)
    1560
    """
    fixed = (training + validation) * cost.preparation
    # the last epoch is always validated, however little time there is
    judged = max(
        validation * cost.validation, min(_VALIDATION * budget, _MOST_VALIDATIONS * validation * cost.validation)
    )
    left = (1 - _RESERVE) * budget - fixed - (judged if cost.validation else _VALIDATION * budget)
    return max(0, int(left / cost.step))


def make_schedule(steps: int, budget: float | None, cost: Measured, validation: int) -> Schedule:
    """Epochs of equal length for about so many steps.

    >>> make_schedule(2400, None, Measured(step=1.0, peak=0), 8)
    Schedule(epochs=80, steps=30, validate_every=7)
    """
    epochs = max(4, min(_MOST_EPOCHS, steps // 30))
    within = max(1, steps // epochs)
    validations = _MOST_VALIDATIONS
    judged = validation * cost.validation
    if budget is not None and judged > 0:
        validations = max(1, min(_MOST_VALIDATIONS, int(_VALIDATION * budget / judged)))
    return Schedule(epochs, within, min(epochs, max(1, ceil(epochs / (validations + 1)))))


def schedule_choices(schedule: Schedule, budget: float | None, cost: Measured) -> Iterator[Choice]:
    """The keys of the schedule."""
    took = f"a step takes {cost.step:.2g} s here ({cost.arithmetic})"
    if budget is None:
        spent = format_seconds(max(60, round(schedule.total * cost.step / 60) * 60))
        why = f"{schedule.total} steps train such a network well, about {spent} on this machine: {took}"
    else:
        why = f"{schedule.total} steps fill {format_seconds(round(budget))}: {took}"
    yield Choice("training.epochs", schedule.epochs, why)
    yield Choice("training.steps_per_epoch", schedule.steps, "epochs of one length, whatever the number of cases")
    judged = f"judging the held-out cases takes {cost.validation:.2g} s for each"
    yield Choice("training.validate_every", schedule.validate_every, judged)
    if budget is not None:
        yield Choice("training.time_limit", format_seconds(round(budget)), "the time given; what is planned is less")
    yield Choice("optimiser.kind", "adamw", "converges in few steps, with no tuning of its rate to the batch")
    yield Choice("optimiser.lr", 0.002, "with batch normalisation and a warm-up")
    yield Choice("optimiser.schedule", "cosine", "ends at 0, where the average of the weights is steadiest")
    warmup = 2 if schedule.epochs >= 20 else 1
    yield Choice("optimiser.warmup", warmup, "the first steps are the roughest")
    decay = 0.999 if schedule.total >= 2000 else 0.995 if schedule.total >= 500 else 0.98
    yield Choice("optimiser.ema", decay, f"averages the last {round(1 / (1 - decay))} of {schedule.total} steps")
