"""The run over many cases: one is read and one written while the network works on a third."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from volseg.errors import VolsegError
from volseg.inference.predictor import Prediction, Predictor
from volseg.inference.stream import Decided
from volseg.io import Volume, read_volume, write_labels, write_volume
from volseg.labels import Labels
from volseg.prediction import hints
from volseg.prediction.label_tables import write_label_tables
from volseg.prediction.plan import Job, Plan, Request
from volseg.prediction.summary import Record, sha256, summary_name, write_summary
from volseg.recipe import Recipe
from volseg.transforms.preparation import Prepared


@dataclass(frozen=True, eq=False)
class Outcome:
    """A case's record, and how far the run is."""

    record: Record
    done: int
    total: int


def run(work: Plan, predictor: Predictor, recipe: Recipe) -> Iterator[Outcome]:
    """Predict every job of a plan; the summary is whole after each.

    A case that fails is told and the others go on. Whoever stops listening leaves a summary of what was done.
    """
    records = {record.case: record for record in (*work.finished, *work.failed)}
    total = len(records) + len(work.jobs)
    about = {"identity": dict(work.identity), "notes": list(work.notes), "labels": recipe.labels.to_dict()}
    summary = work.request.output / summary_name(work.request.part)

    def note(record: Record) -> Outcome:
        records[record.case] = record
        write_summary(summary, records.values(), about)
        return Outcome(record, len(records), total)

    write_label_tables(work.request.output, recipe.labels)
    write_summary(summary, records.values(), about)
    if not work.jobs:
        return
    steps = _Steps(work.request, predictor, recipe)
    # one case is read ahead and one is being written: memory for three, whatever their number
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:
        ahead = reader.submit(steps.read, work.jobs[0])
        writing: Future[Record] | None = None
        for job, following in zip(work.jobs, (*work.jobs[1:], None), strict=True):
            ready = ahead.result()
            if following is not None:
                ahead = reader.submit(steps.read, following)
            decided = steps.decide(job, ready)
            if writing is not None:
                yield note(writing.result())
            writing = writer.submit(steps.write, job, decided)
        if writing is not None:
            yield note(writing.result())


def write_mask(path: Path, prediction: Prediction, image: Volume, labels: Labels) -> None:
    """Write a mask in the format its name says, and its probabilities beside it where there are some."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".dcm"):
        from volseg.io.dicom_seg import write_dicom_seg

        write_dicom_seg(path, prediction.labels, image, labels)
    else:
        write_labels(path, prediction.labels, prediction.grid, labels, like=image)
    if prediction.probabilities is not None:
        ending = ".nii.gz" if path.name.endswith(".nii.gz") else ".nii"
        beside = path.with_name(path.name.removesuffix(ending) + "_probabilities" + ending)
        channels_last = prediction.probabilities.transpose(*range(1, prediction.grid.ndim + 1), 0)
        write_volume(beside, channels_last, prediction.grid, like=image)


@dataclass(frozen=True, eq=False)
class _Ready:
    volumes: tuple[Volume, ...]
    prepared: Prepared
    hints: tuple[str, ...]
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class _Decided:
    ready: _Ready
    decided: Decided
    seconds: float


class _Steps:
    """What is done for a case; a step that is given a failure passes it on."""

    def __init__(self, request: Request, predictor: Predictor, recipe: Recipe) -> None:
        self.request = request
        self.predictor = predictor
        self.recipe = recipe

    def read(self, job: Job) -> _Ready | Record:
        started = perf_counter()
        options = {**self.request.reading, "spacing_range": tuple(self.recipe.image.allowed_spacing)}
        try:
            volumes = tuple(read_volume(path, frame=job.case.frame, **options) for path in job.case.images)
            read = perf_counter()
            prepared = self.predictor.prepare(volumes)
        except VolsegError as error:
            return _failed(job, error)
        found = tuple(hint for volume in volumes for hint in hints.of_image(volume, self.recipe.image))
        return _Ready(volumes, prepared, found, {"read": read - started, "prepare": perf_counter() - read})

    def decide(self, job: Job, ready: _Ready | Record) -> _Decided | Record:
        if isinstance(ready, Record):
            return ready
        started = perf_counter()
        try:
            decided = self.predictor.decide(ready.prepared, keep_probabilities=self.request.keep_probabilities)
        except VolsegError as error:
            return _failed(job, error)
        return _Decided(ready, decided, perf_counter() - started)

    def write(self, job: Job, done: _Decided | Record) -> Record:
        if isinstance(done, Record):
            return done
        started = perf_counter()
        path = self.request.output / job.mask
        ready, labels = done.ready, self.recipe.labels
        try:
            prediction = self.predictor.finish(ready.prepared, done.decided)
            write_mask(path, prediction, ready.volumes[0], labels)
        except VolsegError as error:
            return _failed(job, error)
        grid = prediction.grid
        seconds = {**ready.seconds, "network": done.seconds, "write": perf_counter() - started}
        return Record(
            job.case.name,
            "done",
            mask=str(job.mask),
            key=job.key,
            mask_sha256=sha256(path),
            notes=tuple(note for volume in ready.volumes for note in volume.notes),
            hints=(*ready.hints, *hints.of_mask(prediction.labels, grid, labels, self.recipe.image.seen)),
            shape=grid.shape,
            spacing=grid.spacing,
            axcodes=grid.axcodes,
            volumes=hints.volumes(prediction.labels, grid, labels),
            seconds={step: round(taken, 4) for step, taken in seconds.items()},
            peak_memory=_peak_memory(),
        )


def _failed(job: Job, error: VolsegError) -> Record:
    return Record(job.case.name, "failed", key=job.key, error=str(error))


def _peak_memory() -> int | None:
    try:
        import resource
    except ImportError:  # not on this system
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
