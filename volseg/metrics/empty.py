"""What a measure says where a mask is empty: said once, so that no table can flatter by leaving cases out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from volseg.errors import UsageError


@dataclass(frozen=True)
class EmptyPolicy:
    """What empty masks are worth.

    One mask empty, the other not: always the worst value. Overlap and surface Dice are 0, distances what ``missed``
    says. MONAI and others give NaN for a missed structure and leave it out of the mean, which flatters.

    Args:
        both: both masks empty, so nothing to find and nothing found: ``not-applicable`` gives NaN, which cohort
            statistics leave out and count; ``perfect`` gives the best value (the ACDC challenge's reading).
        missed: a distance to a structure that is not there: ``diagonal`` is the length of the field of view's
            diagonal, more than any distance inside it; ``infinite`` is infinity.
    """

    both: Literal["not-applicable", "perfect"] = "not-applicable"
    missed: Literal["diagonal", "infinite"] = "diagonal"

    def __post_init__(self) -> None:
        if self.both not in ("not-applicable", "perfect"):
            raise UsageError(f"two empty masks are 'not-applicable' or 'perfect', not {self.both!r}")
        if self.missed not in ("diagonal", "infinite"):
            raise UsageError(f"a missed structure lies 'diagonal' or 'infinite' away, not {self.missed!r}")

    def nothing(self, best: float) -> float:
        """The value where both masks are empty, for a measure with this best value."""
        return best if self.both == "perfect" else float("nan")

    def far(self, diagonal: float) -> float:
        """The distance to a structure that is not there."""
        return diagonal if self.missed == "diagonal" else float("inf")


DEFAULT = EmptyPolicy()
