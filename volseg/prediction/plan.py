"""What a prediction run will do, known before its first case."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from volseg.data.cohort import Case, find_cases, output_names
from volseg.data.cohort.naming import counted
from volseg.data.content import Content
from volseg.errors import UsageError, VolsegError, WriteError
from volseg.io.formats import identify
from volseg.prediction.summary import Record, read_records, summary_name

ENDINGS = {"nii.gz": ".nii.gz", "nii": ".nii", "nrrd": ".nrrd", "mha": ".mha", "dicom-seg": ".dcm", "png": ".png"}
# below this a mask may not fit, and every further case would fail the same way
_LEAST_FREE = 16 << 20


@dataclass(frozen=True)
class Request:
    """What a person asked for.

    Attributes:
        inputs: a file, a folder, a tree, a CSV or a DICOM series.
        output: the folder for masks and ``summary.json``.
        format: one of :data:`ENDINGS`.
        frames: which frame of time series, or all of them.
        again: ``resume`` leaves finished cases, ``overwrite`` does every case anew, ``refuse`` stops where there are
            results already.
        part: which part of the cases, of how many.
        reading: options of :func:`volseg.io.read_volume`.
        keep_probabilities: whether probabilities are written too.
        show_names: whether errors name the folders above input and output too, where people put patients' names.
    """

    inputs: Path
    output: Path
    format: str = "nii.gz"
    frames: int | Literal["all"] | None = None
    again: Literal["resume", "overwrite", "refuse"] = "resume"
    part: tuple[int, int] = (0, 1)
    reading: Mapping[str, Any] = field(default_factory=dict)
    keep_probabilities: bool = False
    show_names: bool = False

    def __post_init__(self) -> None:
        if self.format not in ENDINGS:
            raise UsageError(f"no format is called {self.format!r}", mend=f"one of {', '.join(ENDINGS)}")
        index, count = self.part
        if count < 1 or not 0 <= index < count:
            raise UsageError(f"part {index} of {count} does not exist", mend="parts count from 0")
        if self.keep_probabilities and self.format not in ("nii.gz", "nii"):
            raise UsageError("probabilities are written to NIfTI only", mend="--format nii.gz")

    def line(self, error: VolsegError, case: Case) -> str:
        """An error in one line that names a file by its place below the input or the output folder."""
        where = case.name if error.where is None else error.where
        if not self.show_names:
            for root in (self.inputs, self.output):
                where = where.removeprefix(f"{root}{os.sep}")
            if where == str(self.inputs):
                where = self.inputs.name or case.name
        return str(type(error)(error.what, where=where, mend=error.mend))


@dataclass(frozen=True)
class Job:
    """One case to predict, where its mask goes below the output folder, and what the mask is known by."""

    case: Case
    mask: PurePosixPath
    key: str


@dataclass(frozen=True)
class Plan:
    """The jobs of a run, what was finished before and what was made in its place, and what is worth telling."""

    request: Request
    jobs: tuple[Job, ...]
    finished: tuple[Record, ...] = ()
    failed: tuple[Record, ...] = ()
    earlier: Mapping[str, Record] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    identity: Mapping[str, Any] = field(default_factory=dict)


def plan(request: Request, identity: Mapping[str, Any], found: Sequence[Case] | None = None) -> Plan:
    """Find the cases, name their masks, and know which are finished.

    Args:
        request: what was asked for.
        identity: what a mask depends on beside its image: the bundle's digest, the settings of inference.
        found: the cases of this part, where they were found already.

    Raises:
        CohortError: if cases cannot be told apart or would share a mask.
        WriteError: if masks could not be written.
    """
    cases: Sequence[Case] = found or ()
    notes: tuple[str, ...] = ()
    if found is None:
        cohort = find_cases(request.inputs, labels="none", frames=request.frames)
        cases, notes = cohort.cases, cohort.notes
        if _below(request.output, request.inputs):  # the masks of an earlier run are no images of this one
            own = [case for case in cases if any(_below(image, request.output) for image in case.images)]
            cases = [case for case in cases if case not in own]
            notes = (*notes, f"{counted(len(own), 'image')} in the output folder left out") if own else notes
    names = output_names(cases, ENDINGS[request.format])
    if found is None:
        index, count = request.part
        cases = cases[index::count]
    require_writeable(request.output)
    settings = _digest(
        {**identity, **request.reading, "format": request.format, "probabilities": request.keep_probabilities}
    )
    before = read_records(request.output / summary_name(request.part))
    jobs, finished, failed = [], [], []
    for case in cases:
        output = request.output / names[case.name]
        _require_apart(case, output)
        try:
            _require_format(case, request.format)
            key = _key(case, settings)
        except VolsegError as error:
            failed.append(Record(case.name, "failed", error=request.line(error, case)))
            continue
        known = before.get(case.name)
        if request.again == "resume" and known is not None and known.key == key and known.stands(request.output):
            finished.append(known)
            continue
        if request.again == "refuse" and output.exists():
            raise WriteError("is there already", where=output, mend="--resume leaves finished cases, --overwrite none")
        jobs.append(Job(case, names[case.name], key))
    return Plan(request, tuple(jobs), tuple(finished), tuple(failed), before, notes, dict(identity))


def require_writeable(folder: Path) -> None:
    """Make the folder and write to it, now rather than after an hour of computing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise WriteError(
            f"cannot be written to ({(error.strerror or str(error)).lower()})",
            where=folder,
            mend="choose another folder",
        ) from error
    if free < _LEAST_FREE:
        raise WriteError(f"only {free >> 20} MiB are free there", where=folder, mend="free some space first")


def _below(path: Path, folder: Path) -> bool:
    return folder.resolve() in path.resolve().parents


def _require_apart(case: Case, output: Path) -> None:
    for image in case.images:
        if output.exists() and image.exists() and output.samefile(image):
            raise WriteError("the mask would overwrite its image", where=image, mend="choose another output folder")


def _require_format(case: Case, form: str) -> None:
    """Refuse what its first bytes tell is no image, unread: reading a pipe or a device to its end never ends."""
    kinds = {identify(image).kind for image in case.images}
    if form == "dicom-seg" and kinds != {"dicom"}:
        raise UsageError(
            "is no DICOM series, and a DICOM-SEG is written beside one", where=case.image, mend="--format nii.gz"
        )


def _key(case: Case, settings: str) -> str:
    contents = [Content.of(image).sha256 for image in case.images]
    return _digest({"images": contents, "frame": case.frame, "settings": settings})


def _digest(data: Mapping[str, Any] | Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()
