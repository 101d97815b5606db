"""Remarks about cases: each in full at the first case it holds for, and in the end of how many more it does."""

from __future__ import annotations

from collections import Counter

from volseg.cli import console
from volseg.errors import printable


class Remarks:
    """What is told of the cases of one run."""

    def __init__(self) -> None:
        self._cases: Counter[str] = Counter()

    def tell(self, case: str, text: str) -> None:
        """A remark about a case; one that was heard before is said again only with ``-v``."""
        line = printable(f"{case}: {text}")
        (console.detail if self._cases[text] else console.say)(line)
        self._cases[text] += 1

    def tell_repeated(self) -> None:
        """How many more cases each remark holds for."""
        for text, cases in self._cases.items():
            if cases > 1:
                console.say(printable(f"{cases - 1} more {'case' if cases == 2 else 'cases'}: {text}"))
