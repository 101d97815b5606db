"""The audit of a whole bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from volseg.bundle.audit.budget import Budget
from volseg.bundle.audit.contents import audit_file
from volseg.bundle.audit.finding import Finding, Verdict, Weight, verdict_of
from volseg.bundle.storage.files import BundleFiles
from volseg.errors import VolsegError


@dataclass(frozen=True)
class Audit:
    """Everything that was found, heaviest first, and what it comes to."""

    verdict: Verdict
    findings: tuple[Finding, ...]

    @property
    def first(self) -> Finding | None:
        """The finding that decided."""
        return self.findings[0] if self.findings and self.findings[0].weight is not Weight.DATA else None

    def count(self, weight: Weight, *, known: bool | None = None) -> int:
        """How many findings are of a weight."""
        return sum(f.weight is weight and (known is None or f.known is known) for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"verdict": self.verdict.value, "findings": [finding.to_dict() for finding in self.findings]}


def audit(files: BundleFiles) -> Audit:
    """What running a bundle would execute, without running, unpickling or importing any of it.

    The judgement of code is a list of known dangers: what is not found hostile is listed as code that runs, and is for
    the reader to judge. What cannot be read, or hides, is refused.
    """
    found = [
        Finding(p.name or files.where, "entry", Weight.REFUSE, p.name, f"{'this entry' if p.name else 'it'} {p.what}")
        for p in files.problems
    ]
    budget = Budget()
    unreadable = {problem.name.rstrip("/") for problem in files.problems}
    for path in files.sizes:
        if any(name == path or name.endswith(f"/{path}") for name in unreadable):
            continue
        try:
            found += audit_file(path, files, budget)
        except VolsegError as error:
            found.append(Finding(path, "unreadable", Weight.REFUSE, error.what, "cannot be judged"))
            if budget.spent:
                break
        except OSError as error:
            why = f"cannot be read ({error.strerror or error})"
            found.append(Finding(path, "unreadable", Weight.REFUSE, "", why))
    order = [Weight.REFUSE, Weight.RUNS, Weight.DATA]
    found.sort(key=lambda f: (order.index(f.weight), f.known, f.file, f.line or 0))
    return Audit(verdict_of(found), tuple(found))
