"""How the learning rate goes: up during the warm-up, then down to nothing at the last step."""

from __future__ import annotations

from functools import partial
from math import cos, pi
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from volseg.errors import UsageError

Schedule = Literal["poly", "cosine", "constant"]


def rate(step: int, *, total: int, schedule: Schedule = "poly", power: float = 0.9, warmup: int = 0) -> float:
    """The share of the full learning rate at a step, counted from 0.

    >>> [round(rate(step, total=4, schedule="cosine"), 2) for step in range(5)]
    [1.0, 0.85, 0.5, 0.15, 0.0]
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1 + cos(pi * done))
    if schedule == "poly":
        return float((1 - done) ** power)
    raise UsageError(f"no schedule is called {schedule!r}", mend="poly, cosine or constant")


def scheduler(
    optimizer: Optimizer, *, total: int, schedule: Schedule = "poly", power: float = 0.9, warmup: int = 0
) -> LambdaLR:
    """A scheduler to be stepped once for every step of the optimiser, ``total`` in all."""
    return LambdaLR(optimizer, partial(rate, total=total, schedule=schedule, power=power, warmup=warmup))
