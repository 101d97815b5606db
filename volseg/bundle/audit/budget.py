"""How much work the audit of one bundle may be, over all its files: each is bounded, and there may be thousands."""

from __future__ import annotations

from dataclasses import dataclass

from volseg.errors import BundleError


@dataclass
class Budget:
    """Steps that are left; one is about the work of an instruction of a pickle, some microseconds.

    >>> budget = Budget(3)
    >>> budget.spend(2)
    >>> budget.spent
    False
    """

    left: int = 2_000_000

    @property
    def spent(self) -> bool:
        """Whether there was more to do than may be done."""
        return self.left < 0

    def spend(self, steps: int) -> None:
        """Count work that is done.

        Raises:
            BundleError: if it is more than may be done.
        """
        self.left -= steps
        if self.spent:
            raise BundleError("more than can be judged: the rest was not read")
