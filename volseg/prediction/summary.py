"""``summary.json``: one record per case, written whole after each of them."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from volseg import __version__
from volseg.io.atomic import write_text

Verdict = Literal["done", "failed"]


@dataclass(frozen=True)
class Record:
    """What became of a case.

    Attributes:
        case: its name.
        verdict: ``done``, or ``failed`` with an ``error``.
        mask: where the mask is, below the output folder.
        key: what it was made from: image, bundle and settings.
        mask_sha256: the mask's own hash.
        error: the one line of what went wrong.
        notes: what reading told.
        hints: what looks unlike the training data, or implausible.
        shape, spacing, axcodes: of the image.
        volumes: millilitres (2-D: square centimetres) of each structure.
        signs: of how far each structure can be trusted, where they were counted.
        trust: of each structure the Dice that it probably has, its interval, and whether somebody should look at it.
        seconds: of each step.
        peak_memory: bytes resident at the worst moment of the process so far.
    """

    case: str
    verdict: Verdict
    mask: str | None = None
    key: str | None = None
    mask_sha256: str | None = None
    error: str | None = None
    notes: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    axcodes: str = ""
    volumes: Mapping[str, float] = field(default_factory=dict)
    signs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    trust: Mapping[str, Mapping[str, float | bool]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory: int | None = None

    def stands(self, output: Path) -> bool:
        """Whether the mask is there, with the very bytes that were written."""
        return self.verdict == "done" and self._found(output) == self.mask_sha256 is not None

    def was_changed(self, output: Path) -> bool:
        """Whether the mask is there, but not as it was written: somebody may have corrected it."""
        return self._found(output) not in (None, self.mask_sha256)

    def _found(self, output: Path) -> str | None:
        """The hash of what lies where the mask was written."""
        file = None if self.mask is None else output / self.mask
        return sha256(file) if file is not None and file.is_file() else None

    def withdraw(self, output: Path) -> None:
        """Remove the mask if it is the very one that was written; a file that somebody else put there stays."""
        if self.stands(output) and self.mask is not None:
            (output / self.mask).unlink()

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Record:
        lists = {name: tuple(stored[name]) for name in ("notes", "hints", "shape", "spacing") if name in stored}
        return cls(**{**stored, **lists})


def summary_name(part: tuple[int, int]) -> str:
    """The file of a run's summary; parts of a run on several machines have one each.

    >>> summary_name((0, 1)), summary_name((2, 8))
    ('summary.json', 'summary-2-of-8.json')
    """
    index, count = part
    return "summary.json" if count == 1 else f"summary-{index}-of-{count}.json"


def read_records(path: Path) -> dict[str, Record]:
    """The records of an earlier run; none where there is no summary or it is not one of ours."""
    try:
        stored = json.loads(path.read_text())["cases"]
        return {entry["case"]: Record.from_dict(entry) for entry in stored}
    except (OSError, ValueError, KeyError, TypeError):
        # nothing is lost by not knowing: the cases are computed again
        return {}


def write_summary(path: Path, records: Iterable[Record], about: Mapping[str, Any]) -> None:
    """Write a summary, whole or not at all."""
    cases = [asdict(record) for record in records]
    count = {verdict: sum(case["verdict"] == verdict for case in cases) for verdict in ("done", "failed")}
    write_text(path, json.dumps({**about, **count, "cases": cases}, indent=1, ensure_ascii=False) + "\n")


def versions() -> dict[str, str]:
    """What was at work: masks may differ in their last voxels between versions of these."""
    found = {"volseg": __version__, "python": platform.python_version()}
    return found | {package: version(package) for package in ("torch", "monai", "numpy")}


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
