"""Judging a cohort: every case read to the end, its label map held against its image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from volseg.data.apart import each_apart
from volseg.data.cohort import Case
from volseg.errors import VolsegError
from volseg.io import PLAUSIBLE_SPACING, options_of_labels, read_labels, read_volume, require_pair
from volseg.labels import Labels


@dataclass(frozen=True)
class Judgement:
    """What reading a case showed; ``error`` is the one line of what is wrong with it."""

    case: str
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    axcodes: str = ""
    labels: tuple[int, ...] | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None

    @property
    def good(self) -> bool:
        return self.error is None

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def judge(
    case: Case,
    declared: Labels | None = None,
    reading: Mapping[str, Any] | None = None,
    instances: bool = False,
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING,
) -> Judgement:
    """Read a case whole and hold its parts against each other.

    Args:
        case: the case.
        declared: what its labels may be, where the case does not say that its label map tells objects apart.
        reading: options of :func:`volseg.io.read_volume` for its images; those about place hold for its label map too.
        instances: whether label maps give every object a value of its own, so that none is foreign.
        spacing_range: voxel sizes in millimetres outside this range are refused, of images and of the label map.
    """
    options = {"spacing_range": spacing_range, **(reading or {})}
    known = None if case.instances or instances else declared
    try:
        channels = [read_volume(path, frame=case.frame, **options) for path in case.images]
        first = channels[0]
        for path, channel in zip(case.images[1:], channels[1:], strict=True):
            first.grid.require_same(channel.grid, where=path, what=f"this channel and {case.images[0].name}")
        notes = tuple(note for channel in channels for note in channel.notes)
        values = None
        if case.label is not None:
            truth = read_labels(case.label, known, spacing_range=spacing_range, **options_of_labels(options))
            require_pair(first, truth)
            notes += truth.notes
            values = tuple(int(v) for v in np.unique(truth.array))
            if values == (0,):
                notes += ("the label map is all background",)
    except VolsegError as error:
        return Judgement(case.name, error=str(error))
    grid = first.grid
    # what holds for image and label map alike is told once
    return Judgement(case.name, grid.shape, grid.spacing, grid.axcodes, values, tuple(dict.fromkeys(notes)))


def judge_all(
    cases: Sequence[Case],
    declared: Labels | None = None,
    *,
    reading: Mapping[str, Any] | None = None,
    instances: bool = False,
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING,
    processes: int = 2,
) -> Iterator[Judgement]:
    """Judge cases in processes of their own, in order; one that kills its process costs only itself."""
    judging = partial(judge, declared=declared, reading=reading, instances=instances, spacing_range=spacing_range)
    return each_apart(judging, cases, processes=processes, lost=_lost)


def _lost(case: Case) -> Judgement:
    return Judgement(case.name, error=f"{case.name}: reading it ended the process; leave it out")
