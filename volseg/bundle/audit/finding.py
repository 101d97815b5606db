"""One thing that a bundle holds and that a careful person would want to know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from volseg.errors import printable


class Weight(Enum):
    """What a finding comes to."""

    #: worth knowing; nothing runs
    DATA = "data"
    #: code that runs when somebody opens the door it belongs to
    RUNS = "runs"
    #: hostile, or hidden from judgement
    REFUSE = "refuse"


class Verdict(Enum):
    """What all findings come to."""

    DATA = "data only"
    RUNS = "runs listed code"
    REFUSE = "refuses"


@dataclass(frozen=True)
class Finding:
    """A finding, with its place and the words as they stand there."""

    file: str
    #: expression, target, import, macro, mode, script, program, pickle, torchscript, logging, onnx, entry, unreadable …
    kind: str
    weight: Weight
    #: the words in full, on one line
    text: str
    why: str
    line: int | None = None
    #: MONAI's id of the place, such as ``train::trainer::_target_``
    key: str = ""
    #: of a kind that many honest bundles hold: a network of MONAI's, arithmetic on references
    known: bool = False
    #: who would run it
    door: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", printable(self.text))

    @property
    def place(self) -> str:
        """File, line and key, as far as they are known."""
        line = "" if self.line is None else f":{self.line}"
        return printable(f"{self.file}{line}{' ' if self.key else ''}{self.key}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "file": self.file,
            "line": self.line,
            "key": self.key,
            "kind": self.kind,
            "weight": self.weight.value,
            "known": self.known,
            "text": self.text,
            "why": self.why,
            "door": self.door,
        }


MONAI_DOOR = "python -m monai.bundle"
"""Who runs what stands in a config."""


def verdict_of(findings: list[Finding]) -> Verdict:
    """The heaviest finding decides."""
    weights = {finding.weight for finding in findings}
    if Weight.REFUSE in weights:
        return Verdict.REFUSE
    return Verdict.RUNS if Weight.RUNS in weights else Verdict.DATA
