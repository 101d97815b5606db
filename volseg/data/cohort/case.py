"""One case, and the cohort that cases make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from volseg.errors import CohortError

Split = Literal["train", "validation", "test"]

_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "tr": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
    "ts": "test",
}


def split_named(word: str) -> Split | None:
    """The part of a split that a word or a folder's name stands for.

    >>> split_named("Val"), split_named("images")
    ('validation', None)
    """
    return _SPLITS.get(word.strip().lower())


@dataclass(frozen=True)
class Case:
    """One image to segment, and its truth where there is one.

    Attributes:
        name: unique in its cohort; in a tree it holds the folders, ``p1/ct``.
        images: one file per channel, or the folder of a DICOM series.
        label: the label map, or the instance map if ``instances``.
        patient: who it is of; cases of one patient never part in a split.
        group: the patient's group, for stratifying.
        frame: which frame of a time series, counted from 0; ``None`` for the only one.
        moment: ``ED`` or ``ES``, where the data say so.
        split: the part of a given split.
        folder: where the result goes below the output folder, if its name does not tell.
    """

    name: str
    images: tuple[Path, ...]
    label: Path | None = None
    patient: str = ""
    group: str | None = None
    frame: int | None = None
    moment: Literal["ED", "ES"] | None = None
    split: Split | None = None
    instances: bool = False
    folder: str = ""

    def __post_init__(self) -> None:
        if not self.name or not self.images:
            raise CohortError("a case needs a name and an image", where=self.name or None)
        if self.split is not None and self.split not in get_args(Split):
            raise CohortError(f"split {self.split!r} is none of {', '.join(get_args(Split))}", where=self.name)
        if not self.patient:
            object.__setattr__(self, "patient", self.name)

    @property
    def image(self) -> Path:
        """The image, or the first channel of it."""
        return self.images[0]


@dataclass(frozen=True)
class Cohort:
    """Cases in natural order, how they were laid out, and what was left out."""

    root: Path
    layout: str
    cases: tuple[Case, ...]
    #: one line each, for the person who started this
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __getitem__(self, name: str) -> Case:
        for case in self.cases:
            if case.name == name:
                return case
        raise CohortError(f"no case is named {name!r}", where=self.root)

    @property
    def labelled(self) -> tuple[Case, ...]:
        """The cases with a truth."""
        return tuple(case for case in self.cases if case.label is not None)

    @property
    def patients(self) -> tuple[str, ...]:
        """Every patient once, in the order of the cases."""
        return tuple(dict.fromkeys(case.patient for case in self.cases))
