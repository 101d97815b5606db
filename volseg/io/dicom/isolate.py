"""DICOM is parsed in a child process, so that a crash, a memory bomb or an endless loop costs one case, not the run.

The child gets its request as JSON on standard input and answers in JSON; voxels travel as raw bytes in memory that both
sides map. Nothing from the child is ever unpickled or evaluated.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import volseg
from volseg.errors import GridMismatch, MissingExtra, UsageError, VolsegError, VolumeError

#: how the child is started; it must not pick up modules from the folder it happens to run in (-P)
COMMAND: tuple[str, ...] = (sys.executable, "-P", "-m", "volseg.io.dicom.worker")

MEBIBYTE = 1 << 20
# Address space, not memory in use: Python, numpy and the libraries reserve about a gigabyte before any file is read.
BASE_MEMORY = 3072 * MEBIBYTE
MEMORY_PER_FILE_BYTE = 6
BASE_SECONDS = 60
SECONDS_PER_MEBIBYTE = 1.0
# The clock on the wall also counts slow disks; processor time is the limit that a loop meets first.
WALL_PER_CPU_SECOND = 5
LONGEST_ANSWER = 64 * MEBIBYTE

# Only these can come back from the child, by name.
_ERRORS: dict[str, type[VolsegError]] = {
    kind.__name__: kind for kind in (VolumeError, UsageError, GridMismatch, MissingExtra, VolsegError)
}


@dataclass(frozen=True)
class Budget:
    """What the child may use: bytes of address space, seconds of processor time."""

    memory: int
    seconds: int

    @classmethod
    def for_files(cls, total_bytes: int) -> Budget:
        """Room for files of this total size.

        >>> Budget.for_files(100 * MEBIBYTE).seconds
        160
        """
        return cls(
            memory=BASE_MEMORY + MEMORY_PER_FILE_BYTE * total_bytes,
            seconds=BASE_SECONDS + int(SECONDS_PER_MEBIBYTE * total_bytes / MEBIBYTE),
        )


@dataclass(frozen=True)
class Answer:
    """What the child found: facts, and the raw bytes it left in the shared memory."""

    facts: dict[str, Any]
    voxels: mmap.mmap | bytes


def run_isolated(
    request: Mapping[str, object], *, where: object, budget: Budget, voxels: bytes | memoryview = b""
) -> Answer:
    """Let the child do ``request``; every way in which it can fail is one :class:`VolsegError` about ``where``."""
    try:
        return _isolated(request, where, budget, voxels)
    except OSError as error:  # no room for temporary files, no further process
        if isinstance(error, VolsegError):
            raise
        raise VolumeError(f"the DICOM reader could not be started: {error.strerror or error}", where=where) from error


def _isolated(request: Mapping[str, object], where: object, budget: Budget, voxels: bytes | memoryview) -> Answer:
    with (
        _shared_memory() as shared,
        tempfile.TemporaryFile() as answer,
        tempfile.TemporaryDirectory(prefix="volseg-dicom-") as scratch,
    ):
        shared.write(voxels)
        shared.flush()
        whole = {
            **request,
            "shared": shared.fileno(),
            "scratch": scratch,
            "memory": budget.memory,
            "seconds": budget.seconds,
        }
        status = _run(json.dumps(whole).encode(), shared, answer, budget, where)
        if status:
            raise _died(status, budget, where)
        facts = _parse(answer, where)
        size = os.fstat(shared.fileno()).st_size
        # the mapping outlives the descriptor; the child is gone, so nobody else writes
        return Answer(facts, mmap.mmap(shared.fileno(), size) if size else b"")


def _run(request: bytes, shared: BinaryIO, answer: BinaryIO, budget: Budget, where: object) -> int:
    environment = dict(os.environ)
    home = str(Path(volseg.__file__).parent.parent)
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (home, environment.get("PYTHONPATH"))))
    # one core per series: threads would only reserve address space here
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        environment[name] = "1"
    child = subprocess.Popen(
        COMMAND,
        stdin=subprocess.PIPE,
        stdout=answer,
        stderr=subprocess.DEVNULL,  # what C libraries say there is for their developers; facts come in the answer
        pass_fds=(shared.fileno(),),
        env=environment,
    )
    try:
        child.communicate(request, timeout=budget.seconds * WALL_PER_CPU_SECOND)
    except subprocess.TimeoutExpired:
        raise _slow(budget.seconds * WALL_PER_CPU_SECOND, where) from None
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
    return child.returncode


def _parse(answer: BinaryIO, where: object) -> dict[str, Any]:
    answer.seek(0)
    text = answer.read(LONGEST_ANSWER + 1)
    try:
        if len(text) > LONGEST_ANSWER:
            raise ValueError("too long")
        facts = json.loads(text)
        if not isinstance(facts, dict):
            raise ValueError("not an object")
    except ValueError:
        raise VolumeError("the DICOM reader gave no answer", where=where, mend="export the series again") from None
    if "error" in facts:
        raise rebuilt(facts["error"], where)
    return facts


def rebuilt(error: Mapping[str, Any], where: object) -> VolsegError:
    """The error the child described, as one of ours; about ``where``, what was asked for, if it names no file."""
    kind = _ERRORS.get(str(error.get("kind")), VolumeError)
    mend = error.get("mend")
    return kind(
        str(error.get("what", "cannot be read")),
        where=error.get("where") or where,
        mend=None if mend is None else str(mend),
    )


def _died(status: int, budget: Budget, where: object) -> VolsegError:
    """Why a child ended without an answer."""
    if status < 0:
        number = -status
        if number == getattr(signal, "SIGXCPU", None):
            return _slow(budget.seconds, where)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return VolumeError(
            f"the DICOM reader crashed on it ({name})",
            where=where,
            mend="a file in it is damaged or hostile: export the series again",
        )
    return VolumeError(
        f"the DICOM reader ended early (exit code {status})", where=where, mend="export the series again"
    )


def _slow(seconds: float, where: object) -> VolumeError:
    return VolumeError(
        f"took more than {seconds:.0f} s to read, far beyond its size",
        where=where,
        mend="a file in it is damaged or hostile: export the series again",
    )


@contextmanager
def _shared_memory() -> Iterator[BinaryIO]:
    """An open file without a name: in memory where the system can, else a temporary file."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("volseg-dicom"), "w+b") as stream:
            yield stream
    else:
        with tempfile.TemporaryFile() as stream:
            yield stream
