"""One patient under two names: folds that keep names apart do not keep this patient on one side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from volseg.data.cohort import Case
from volseg.data.content import Content
from volseg.data.folds import Split
from volseg.errors import CohortError
from volseg.io.dicom.files import is_dicom, plain_files
from volseg.io.dicom.patients import patients_of

MEND = "put them into one patient's folder, or list the cases in a CSV with a column patient"


@dataclass(frozen=True)
class Alias:
    """Two cases of different patients, says their naming, that are of one."""

    one: Case
    other: Case
    why: str

    def __str__(self) -> str:
        one, other = self.one, self.other
        return f"{one.name!r} and {other.name!r} {self.why} and count as patients {one.patient!r} and {other.patient!r}"


def find_aliases(cases: Iterable[Case], contents: Mapping[str, Mapping[str, Content]] | None = None) -> Iterator[Alias]:
    """Cases of different patients with the same image, or the same patient's ID in DICOM; the ID is never told.

    Args:
        cases: all of them.
        contents: of the cases' files, where they are known already.
    """
    images: dict[str, Case] = {}
    numbers: dict[str, Case] = {}
    cases = list(cases)
    number_of = _patient_numbers(cases)
    for case in cases:
        for channel, path in enumerate(case.images):
            content = Content.of(path) if contents is None else contents[case.name][f"image {channel}"]
            # frames of a time series are different images in one file
            first = images.setdefault(f"{content.sha256} {case.frame}", case)
            if first.patient != case.patient:
                yield Alias(first, case, "hold the same image")
                continue
            number = number_of.get(path)
            first = case if number is None else numbers.setdefault(number, case)
            if first.patient != case.patient:
                yield Alias(first, case, "are of one patient, says DICOM's PatientID,")


def refuse_aliases(
    cases: Sequence[Case], contents: Mapping[str, Mapping[str, Content]] | None = None, split: Split | None = None
) -> None:
    """Refuse a patient under two names; with a split, one whom it has on two sides.

    Raises:
        CohortError: naming the two cases.
    """
    side = {} if split is None else split.sides
    for alias in find_aliases(cases, contents):
        if split is None or side.get(alias.one.name) != side.get(alias.other.name):
            torn = "" if split is None else ", on two sides of the split"
            raise CohortError(f"{alias}{torn}", mend=MEND)


def _patient_numbers(cases: Iterable[Case]) -> dict[Path, str | None]:
    """The hash of who each DICOM file or the first of each folder is of; nothing where none is told."""
    files = {path: _first(path) for case in cases for path in case.images if is_dicom(path)}
    return dict(zip(files, patients_of(list(files.values())), strict=True))


def _first(path: Path) -> Path:
    return next(inside for inside in plain_files(path) if is_dicom(inside)) if path.is_dir() else path
