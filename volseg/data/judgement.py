"""Judging a cohort: every case read to the end, its label map held against its image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context

import numpy as np

from volseg.data.cohort import Case
from volseg.errors import VolsegError
from volseg.io import read_labels, read_volume, require_pair
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


def judge(case: Case, declared: Labels | None = None) -> Judgement:
    """Read a case whole and hold its parts against each other."""
    try:
        channels = [read_volume(path, frame=case.frame) for path in case.images]
        first = channels[0]
        for path, channel in zip(case.images[1:], channels[1:], strict=True):
            first.grid.require_same(channel.grid, where=path, what=f"this channel and {case.images[0].name}")
        notes = tuple(note for channel in channels for note in channel.notes)
        values = None
        if case.label is not None:
            truth = read_labels(case.label, declared)
            require_pair(first, truth)
            notes += truth.notes
            values = tuple(int(v) for v in np.unique(truth.array))
            if values == (0,):
                notes += ("the label map is all background",)
    except VolsegError as error:
        return Judgement(case.name, error=str(error))
    grid = first.grid
    return Judgement(case.name, grid.shape, grid.spacing, grid.axcodes, values, notes)


def judge_all(cases: Sequence[Case], declared: Labels | None = None, *, processes: int = 2) -> Iterator[Judgement]:
    """Judge cases in processes of their own, in order; one that kills its process costs only itself."""
    workers = max(1, min(processes, len(cases), os.cpu_count() or 1))
    waiting = list(cases)
    while waiting:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            futures = [pool.submit(judge, case, declared) for case in waiting]
            for index, (case, future) in enumerate(zip(waiting, futures, strict=True)):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    # which of the cases in flight it was is not known: the first gets a process to itself
                    yield _judge_alone(case, declared)
                    waiting = waiting[index + 1 :]
                    break
            else:
                return


def _judge_alone(case: Case, declared: Labels | None) -> Judgement:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(judge, case, declared).result()
        except BrokenProcessPool:
            return Judgement(case.name, error=f"{case.name}: reading it ended the process; leave it out")
