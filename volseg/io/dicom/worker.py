"""The child in which DICOM is parsed: limits first, then the job, then one JSON answer."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from volseg.errors import VolsegError

_JOBS = {
    "outline": "volseg.io.dicom.reading:outline_job",
    "list": "volseg.io.dicom.reading:list_job",
    "patients": "volseg.io.dicom.reading:patients_job",
    "read": "volseg.io.dicom.reading:read_job",
    "write_seg": "volseg.io.dicom.segmentation:write_job",
    "read_seg": "volseg.io.dicom.segmentation:read_job",
}


def main() -> None:
    """Do the one job that standard input asks for."""
    request: dict[str, Any] = json.loads(sys.stdin.buffer.read())
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not print into the answer
    limit(memory=int(request["memory"]), seconds=int(request["seconds"]))
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with answer:
        answer.write(json.dumps(_answer(request)).encode())


def limit(*, memory: int, seconds: int | None = None) -> None:
    """Hold this process to so much address space, file growth and processor time, where the system can.

    The soft limits alone are set: once headers are judged and the size of the voxels is known to be honest, the
    limit is moved to hold them.
    """
    try:
        import resource
    except ImportError:  # pragma: no cover - Windows has no such limits
        return
    wanted = [(resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, memory)]
    if seconds is not None:
        wanted.append((resource.RLIMIT_CPU, seconds))
        wanted.append((resource.RLIMIT_CORE, 0))
    for kind, value in wanted:
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    module, name = _JOBS[request["job"]].split(":")
    try:
        job: Callable[[Mapping[str, Any]], dict[str, Any]] = getattr(importlib.import_module(module), name)
        return job(request)
    except VolsegError as error:
        return described(type(error).__name__, error.what, error.where, error.mend)
    except MemoryError:
        megabytes = int(request["memory"]) >> 20
        return described(
            "VolumeError",
            f"needs more than the {megabytes} MiB that reading files of this size may take",
            None,
            "a file in it is damaged or hostile: export the series again",
        )
    except ImportError as error:
        return described("MissingExtra", f"reading DICOM needs {error.name}", None, "install volseg again")
    except Exception as error:  # a library met something it did not foresee; its words may quote the patient
        return described("VolumeError", f"cannot be parsed ({type(error).__name__})", None, "export the series again")


def described(kind: str, what: str, where: str | None, mend: str | None) -> dict[str, Any]:
    """An error as JSON can carry it."""
    return {"error": {"kind": kind, "what": what, "where": where, "mend": mend}}


if __name__ == "__main__":
    main()
