"""The run over many cases: one is read and one written while the network works on a third."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TypeVar

from volseg.inference.predictor import Predictor
from volseg.io import read_volume
from volseg.io.atomic import refusal
from volseg.prediction.label_tables import write_label_tables
from volseg.prediction.plan import Job, Plan, Request
from volseg.prediction.segmentation import Done, Ready, decide, finish, prepare, require_channels
from volseg.prediction.summary import Record, sha256, summary_name, versions, write_summary
from volseg.prediction.trust import Trust
from volseg.recipe import Recipe

_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Outcome:
    """A case's record, and how far the run is."""

    record: Record
    done: int
    total: int


def run(work: Plan, predictor: Predictor, recipe: Recipe, trust: Trust | None = None) -> Iterator[Outcome]:
    """Predict every job of a plan; the summary is whole after each, with the trust score where there is one.

    A case that fails is told and the others go on. Whoever stops listening leaves a summary of what was done.
    """
    records = {record.case: record for record in (*work.finished, *work.failed)}
    total = len(records) + len(work.jobs)
    # what an earlier run made of cases that are to be done again stays told until that is done
    waiting = {job.case.name: work.earlier[job.case.name] for job in work.jobs if job.case.name in work.earlier}
    about = {
        "versions": versions(),
        "identity": dict(work.identity),
        "notes": list(work.notes),
        "labels": recipe.labels.to_dict(),
    }
    summary = work.request.output / summary_name(work.request.part)

    def withdraw(failed: Record) -> None:
        """A case that failed has no mask, not even the one that an earlier run made of it."""
        if failed.case in work.earlier:
            work.earlier[failed.case].withdraw(work.request.output)

    def note(record: Record) -> Outcome:
        if record.verdict == "failed":
            withdraw(record)
        records[record.case] = record
        waiting.pop(record.case, None)
        write_summary(summary, (*records.values(), *waiting.values()), about)
        return Outcome(record, len(records), total)

    try:
        work.request.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(error, work.request.output) from error
    for record in work.failed:
        withdraw(record)
    write_label_tables(work.request.output, recipe.labels)
    write_summary(summary, (*records.values(), *waiting.values()), about)
    if not work.jobs:
        return
    steps = _Steps(work.request, predictor, recipe, trust)
    # one case is read ahead and one is being written: memory for three, whatever their number
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        ahead = reader.submit(steps.read, work.jobs[0])
        writing: Future[Record] | None = None
        for job, following in zip(work.jobs, (*work.jobs[1:], None), strict=True):
            ready = ahead.result()
            ahead = reader.submit(steps.read, following) if following is not None else Future()
            decided = steps.decide(job, ready)
            del ready  # what the network saw is not needed any more, and may be large
            if writing is not None:
                yield note(writing.result())
            writing = writer.submit(steps.write, job, decided)
        if writing is not None:
            yield note(writing.result())


@dataclass(frozen=True, eq=False)
class _Failed:
    """What one step found wrong; the next ones pass it on."""

    record: Record


class _Steps:
    """What is done for a case, each step in a thread of its own; whatever goes wrong in one is that case's record."""

    def __init__(self, request: Request, predictor: Predictor, recipe: Recipe, trust: Trust | None) -> None:
        self.request = request
        self.predictor = predictor
        self.recipe = recipe
        self.trust = trust

    def read(self, job: Job) -> Ready | _Failed:
        return self._guarded(job, lambda: self._read(job))

    def decide(self, job: Job, ready: Ready | _Failed) -> Done | _Failed:
        if isinstance(ready, _Failed):
            return ready
        keep = self.request.keep_probabilities
        return self._guarded(job, lambda: decide(ready, self.predictor, keep_probabilities=keep))

    def write(self, job: Job, done: Done | _Failed) -> Record:
        if isinstance(done, _Failed):
            return done.record
        written = self._guarded(job, lambda: self._write(job, done))
        return written.record if isinstance(written, _Failed) else written

    def _read(self, job: Job) -> Ready:
        started = perf_counter()
        require_channels(len(job.case.images), self.recipe, job.case.name)
        options = {**self.request.reading, "spacing_range": self.recipe.image.spacing_range}
        volumes = [read_volume(path, frame=job.case.frame, **options) for path in job.case.images]
        seconds = perf_counter() - started
        ready = prepare(volumes, self.predictor, self.recipe)
        return replace(ready, seconds={"read": seconds, **ready.seconds})

    def _write(self, job: Job, done: Done) -> Record:
        found = finish(done, self.predictor, self.recipe, self.trust)
        started = perf_counter()
        path = found.save(self.request.output / job.mask)
        seconds = {**found.seconds, "write": perf_counter() - started}
        return Record(
            job.case.name,
            "done",
            mask=str(job.mask),
            key=job.key,
            mask_sha256=sha256(path),
            notes=found.notes,
            hints=found.hints,
            shape=found.grid.shape,
            spacing=found.grid.spacing,
            axcodes=found.grid.axcodes,
            volumes=found.volumes,
            signs=found.signs,
            trust={name: estimate.to_dict() for name, estimate in found.trust.items()},
            seconds={step: round(taken, 4) for step, taken in seconds.items()},
            peak_memory=_peak_memory(),
        )

    def _guarded(self, job: Job, step: Callable[[], _T]) -> _T | _Failed:
        try:
            return step()
        except Exception as error:  # whatever it is, the other cases do not suffer for it
            return _Failed(Record(job.case.name, "failed", key=job.key, error=self.request.line(error, job.case)))


def _peak_memory() -> int | None:
    try:
        import resource
    except ImportError:  # not on this system
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
