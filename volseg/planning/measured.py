"""What a few steps of a training cost, as somebody measured it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from volseg.recipe import Recipe


@dataclass(frozen=True)
class Measured:
    """The cost of a training, from a rehearsal of it.

    Attributes:
        step: seconds of one step, its patches included.
        peak: bytes that the steps took at most, above what the process held before.
        validation: seconds to predict and judge one case.
        preparation: seconds to read and prepare one case.
        kept: bytes that one prepared case takes.
        arithmetic: the precision and layout that were fastest.
    """

    step: float
    peak: int
    validation: float = 0.0
    preparation: float = 0.0
    kept: int = 0
    arithmetic: str = ""


#: measures a recipe on the machine that is to train it; None where the memory did not suffice
Measure = Callable[[Recipe], Measured | None]
