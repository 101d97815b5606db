"""One patient under two names: folds that keep names apart do not keep this patient on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from volseg.data.cohort import Case
from volseg.data.content import Content
from volseg.errors import CohortError
from volseg.io.dicom.files import is_dicom, plain_files
from volseg.io.dicom.headers import read_header


def refuse_aliases(cases: Sequence[Case]) -> None:
    """Refuse cases of different patients that are of one: the same image, or the same patient's ID in DICOM.

    Raises:
        CohortError: naming the two cases; never the ID.
    """
    images: dict[str, Case] = {}
    numbers: dict[str, Case] = {}
    for case in cases:
        for path in case.images:
            # frames of a time series are different images in one file
            _held(images, f"{Content.of(path).sha256} {case.frame}", case, "hold the same image")
            number = _patient_number(path)
            if number is not None:
                _held(numbers, number, case, "are of one patient, says DICOM's PatientID,")


def _held(known: dict[str, Case], key: str, case: Case, what: str) -> None:
    other = known.setdefault(key, case)
    if other.patient != case.patient:
        raise CohortError(
            f"{other.name!r} and {case.name!r} {what} and count as patients {other.patient!r} and {case.patient!r}",
            mend="put them into one patient's folder, or list the cases in a CSV with a column patient",
        )


def _patient_number(path: Path) -> str | None:
    """The hash of who a DICOM file or the first of a folder is of; nothing where none is told."""
    if not is_dicom(path):
        return None
    file = next((inside for inside in plain_files(path) if is_dicom(inside)), path) if path.is_dir() else path
    header = read_header(file, ["PatientID", "IssuerOfPatientID"])
    told = str(getattr(header, "PatientID", "") or "").strip()
    issuer = str(getattr(header, "IssuerOfPatientID", "") or "").strip()
    return hashlib.sha256(f"{issuer}\0{told}".encode()).hexdigest() if told else None
