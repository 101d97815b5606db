"""A bundle looked at from outside: what it says of itself, and what running it would execute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from volseg.bundle.about import About, about
from volseg.bundle.audit import Audit, Verdict, Weight, audit
from volseg.bundle.storage.files import StrPath, open_bundle


@dataclass(frozen=True)
class Inspection:
    """The claims and the findings."""

    where: str
    about: About
    audit: Audit

    @property
    def doors(self) -> dict[str, str]:
        """What each way of running the bundle executes."""
        if self.audit.verdict is Verdict.REFUSE:
            ours = "closed: the bundle is refused"
        elif self.about.runs_in_volseg:
            ours = "open: reads the recipe and the safetensors, runs nothing of the bundle's"
        else:
            ours = "closed: it takes a recipe and weights as safetensors"
        runs = self.audit.count(Weight.RUNS)
        other = self.audit.count(Weight.RUNS, known=False)
        theirs = f"runs {runs} pieces of code, {other} of them of no common kind" if runs else "runs nothing found here"
        if self.audit.verdict is Verdict.REFUSE:
            theirs = f"do not: {self.audit.count(Weight.REFUSE)} findings are hostile or cannot be judged"
        return {"volseg": ours, "python -m monai.bundle": theirs}

    @property
    def verdict(self) -> str:
        """The audit's, and which door it is about."""
        runs_elsewhere = self.about.runs_in_volseg and self.audit.verdict is Verdict.RUNS
        return self.audit.verdict.value + (" (MONAI's door alone; volseg's runs none)" if runs_elsewhere else "")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"where": self.where, "about": self.about.to_dict(), "doors": self.doors, **self.audit.to_dict()}


def inspect_bundle(path: StrPath) -> Inspection:
    """Look at a bundle: a zip, a folder, or a folder of the Hugging Face hub's cache.

    Raises:
        BundleError: if there is nothing that could be a bundle.
    """
    with open_bundle(path) as files:
        return Inspection(files.where, about(files), audit(files))
