"""Which DICOM files are of one patient, without telling who it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from volseg.errors import VolumeError
from volseg.io.dicom.isolate import run_isolated
from volseg.io.dicom.series import budget_of


def patients_of(files: Sequence[Path]) -> tuple[str | None, ...]:
    """For each file a hash of its patient's ID and who issued it, or nothing where none is told.

    All files are parsed in one child process; the IDs never leave it.
    """
    if not files:
        return ()
    where = os.path.commonpath([file.absolute() for file in files])
    request = {"job": "patients", "files": [str(file) for file in files], "where": where}
    found = run_isolated(request, where=where, budget=budget_of(request)).facts.get("patients")
    if not isinstance(found, list) or len(found) != len(files):
        raise VolumeError("the DICOM reader gave an answer that makes no sense", where=where)
    return tuple(None if number is None else str(number) for number in found)
