"""What a prediction run will do, known before its first case."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from volseg.data.cohort import Case, find_cases, output_names
from volseg.data.cohort.naming import counted, listed
from volseg.data.cohort.outputs import require_apart, without_outputs
from volseg.data.content import Content
from volseg.errors import MemoryLimitError, UsageError, VolsegError, WriteError, below
from volseg.io.formats import identify
from volseg.prediction.foresight import Expected
from volseg.prediction.summary import Record, read_records, summary_name
from volseg.recipe.units import readable_bytes

ENDINGS = {"nii.gz": ".nii.gz", "nii": ".nii", "nrrd": ".nrrd", "mha": ".mha", "dicom-seg": ".dcm", "png": ".png"}
# below this a mask may not fit, and every further case would fail the same way
_LEAST_FREE = 16 << 20
# files that are looked at together: their headers wait for the disk, and those of DICOM for a process each
_AT_ONCE = 4

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What a person asked for.

    Attributes:
        inputs: a file, a folder, a tree, a CSV or a DICOM series.
        output: the folder for masks and ``summary.json``.
        format: one of :data:`ENDINGS`.
        frames: which frame of time series, or all of them.
        overwrite: whether finished cases are done anew.
        part: which part of the cases, of how many.
        reading: options of :func:`volseg.io.read_volume`.
        keep_probabilities: whether probabilities are written too.
        show_names: whether errors name the folders above input and output too, where people put patients' names.
    """

    inputs: Path
    output: Path
    format: str = "nii.gz"
    frames: int | Literal["all"] | None = None
    overwrite: bool = False
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

    def line(self, error: Exception, case: Case) -> str:
        """Whatever went wrong in one line that names a file by its place below the input or the output folder."""
        told = _told(error)
        what, where = told.what, case.name if told.where is None else told.where
        if not self.show_names:
            for root in (self.inputs, self.output):
                folder = root.parent if root.is_file() else root
                for given in (folder.absolute(), folder):
                    what = re.sub(rf"(?<![\w/.]){re.escape(f'{given}{os.sep}')}", "", what)
            where = below(where, self.inputs, self.output)
        return str(type(told)(what, where=where, mend=told.mend))


@dataclass(frozen=True)
class Job:
    """One case to predict, where its mask goes below the output folder, what the mask is known by, what it takes."""

    case: Case
    mask: PurePosixPath
    key: str
    expected: Expected | None = None


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


def plan(
    request: Request,
    identity: Mapping[str, Any],
    found: Sequence[Case] | None = None,
    foresee: Callable[[Case], Expected] | None = None,
) -> Plan:
    """Find the cases, name their masks, know which are finished, and which of the others cannot be done.

    Nothing is written.

    Args:
        request: what was asked for.
        identity: what a mask depends on beside its image: the bundle's digest, the settings of inference.
        found: the cases of this part, where they were found already.
        foresee: what a case will take, or why it cannot be done, before its voxels are read.

    Raises:
        CohortError: if cases cannot be told apart or would share a mask.
        WriteError: if masks could not be written.
    """
    cases: Sequence[Case] = found or ()
    notes: tuple[str, ...] = ()
    if found is None:
        cohort = without_outputs(find_cases(request.inputs, labels="none", frames=request.frames), request.output)
        cases, notes = cohort.cases, cohort.notes
    names = output_names(cases, ENDINGS[request.format])
    if found is None:
        index, count = request.part
        cases = cases[index::count]
    require_writeable(request.output)
    settings = _digest(
        {**identity, **request.reading, "format": request.format, "probabilities": request.keep_probabilities}
    )
    before = read_records(request.output / summary_name(request.part))
    for case in cases:
        require_apart(case, request.output / names[case.name])
    changed: list[str] = []
    digest = cache(_content)  # a cine is one file, however many cases its frames are

    def left(case: Case, known: Record, *, same: bool) -> Record:
        """A mask that somebody changed is not replaced; but it is no result of another image, bundle or setting."""
        if same:
            changed.append(case.name)
            return replace(known, verdict="done", error=None)
        where = request.output / (known.mask or "")
        error = WriteError("was changed since it was predicted", where=where, mend="move it; --overwrite replaces it")
        return replace(known, verdict="failed", error=request.line(error, case))

    def settle(case: Case) -> Job | Record:
        """The job of a case, its record where it is finished, or the reason why it cannot be done."""
        try:
            _require_format(case, request.format)
            key = _digest({"images": [digest(p) for p in case.images], "frame": case.frame, "settings": settings})
            known = before.get(case.name)
            if not request.overwrite and known is not None:
                if known.key == key and known.stands(request.output):
                    return known
                if known.was_changed(request.output):
                    return left(case, known, same=known.key == key)
            return Job(case, names[case.name], key, None if foresee is None else foresee(case))
        except Exception as error:  # whatever it is, the other cases do not suffer for it
            return Record(case.name, "failed", error=request.line(error, case))

    with ThreadPoolExecutor(_AT_ONCE) as threads:
        settled = list(threads.map(settle, cases))
    jobs = tuple(one for one in settled if isinstance(one, Job))
    records = [one for one in settled if isinstance(one, Record)]
    finished, failed = (tuple(r for r in records if r.verdict == verdict) for verdict in ("done", "failed"))
    _require_space(request, jobs)
    others = sum(job.case.name in before and before[job.case.name].stands(request.output) for job in jobs)
    notes = (*notes, *_of_earlier_masks(changed, 0 if request.overwrite else others))
    return Plan(request, jobs, finished, failed, before, notes, dict(identity))


def _of_earlier_masks(changed: Sequence[str], others: int) -> Iterator[str]:
    """What becomes of masks in the output folder that are not this run's."""
    if changed:
        yield (
            f"{counted(len(changed), 'mask')} changed since prediction, corrected perhaps, and left as found:"
            f" {listed(sorted(changed))}; --overwrite predicts anew"
        )
    if others:
        yield f"{counted(others, 'mask')} from another bundle, image or setting replaced"


def require_writeable(folder: Path) -> None:
    """Write to the folder, or to the nearest one above it that is there: now rather than after an hour of computing."""
    try:
        with tempfile.TemporaryFile(dir=_there(folder)) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise WriteError(
            f"cannot be written to ({(error.strerror or str(error)).lower()})",
            where=folder,
            mend="choose another folder",
        ) from error
    free = free_bytes(folder)
    if free < _LEAST_FREE:
        raise WriteError(f"only {free >> 20} MiB are free there", where=folder, mend="free some space first")


def free_bytes(folder: Path) -> int:
    """How many bytes there are for a folder, whether it exists already or not."""
    return shutil.disk_usage(_there(folder)).free


def _there(folder: Path) -> Path:
    return next((place for place in (folder, *folder.parents) if place.exists()), Path())


def _require_space(request: Request, jobs: Sequence[Job]) -> None:
    """Refuse what certainly does not fit: how small a mask gets when it is packed is only known afterwards."""
    if request.format != "nii":
        return
    needed = sum(job.expected.mask_bytes for job in jobs if job.expected is not None)
    free = free_bytes(request.output)
    if needed > free:
        raise WriteError(
            f"{readable_bytes(free)} are free there, and the masks take {readable_bytes(needed)}",
            where=request.output,
            mend="free some space first, or --format nii.gz",
        )


def _require_format(case: Case, form: str) -> None:
    """Refuse what its first bytes tell is no image, unread: reading a pipe or a device to its end never ends."""
    kinds = {identify(image).kind for image in case.images}
    if form == "dicom-seg" and kinds != {"dicom"}:
        raise UsageError(
            "is no DICOM series, and a DICOM-SEG is written beside one", where=case.image, mend="--format nii.gz"
        )


def _told(error: Exception) -> VolsegError:
    """An error as its user is told of it."""
    if isinstance(error, VolsegError):
        return error
    if isinstance(error, MemoryError):
        return MemoryLimitError("does not fit into memory", mend="free some, or crop it")
    _log.debug("a case failed", exc_info=error)
    return VolsegError(f"failed with {type(error).__name__}: {error}")


def _content(path: Path) -> str:
    return Content.of(path).sha256


def _digest(data: Mapping[str, Any] | Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()
