"""The fingerprint of a cohort: what its images and label maps are like, each file read once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import prod
from statistics import median
from typing import Any

from volseg.data.apart import each_apart
from volseg.data.cohort import Cohort
from volseg.data.fingerprint_case import CaseFingerprint, fingerprint_case, lost
from volseg.data.fingerprint_intensity import Intensities, pooled
from volseg.data.fingerprint_modality import Guess, guess_modality
from volseg.data.fingerprint_names import Declared, declared_by


@dataclass(frozen=True)
class ClassFingerprint:
    """One structure over the whole cohort.

    Attributes:
        value: in the label maps.
        cases: how many hold it.
        missing: names of the labelled cases that do not.
        volumes: smallest, median and largest volume, in millilitres (2-D: square centimetres).
        share: median share of the image, where it is there.
        components: median and largest number of connected parts.
        single: share of the cases where it is one part.
        whole: share of the cases where it encloses nothing else.
        smallest: voxels of the smallest part in any case.
    """

    value: int
    cases: int
    missing: tuple[str, ...]
    volumes: tuple[float, float, float]
    share: float
    components: tuple[float, int]
    single: float
    whole: float
    smallest: int


@dataclass(frozen=True)
class Fingerprint:
    """What a cohort is like.

    Attributes:
        layout: how its folder is laid out.
        cases: every case, damaged ones with their error.
        modality: what made the images.
        declared: what the data say of their labels and channels.
    """

    layout: str
    cases: tuple[CaseFingerprint, ...]
    modality: Guess
    declared: Declared = field(default_factory=Declared)

    @cached_property
    def good(self) -> tuple[CaseFingerprint, ...]:
        """The cases that could be read."""
        return tuple(case for case in self.cases if case.error is None)

    @cached_property
    def labelled(self) -> tuple[CaseFingerprint, ...]:
        """The cases that can be learnt from."""
        return tuple(case for case in self.good if case.labelled)

    @property
    def failed(self) -> tuple[CaseFingerprint, ...]:
        """The cases that could not be read."""
        return tuple(case for case in self.cases if case.error is not None)

    @property
    def patients(self) -> tuple[str, ...]:
        """Every patient once."""
        return tuple(dict.fromkeys(case.patient for case in self.cases))

    @property
    def groups(self) -> dict[str, int]:
        """Patients in each group, where the data have groups."""
        groups = {case.patient: case.group for case in self.cases}
        return dict(sorted(Counter(group for group in groups.values() if group is not None).items()))

    @property
    def instances(self) -> bool:
        """Whether label maps tell objects apart."""
        return any(case.objects is not None for case in self.labelled)

    @property
    def values(self) -> tuple[int, ...]:
        """Every label value that is anywhere."""
        return tuple(sorted({value for case in self.labelled for value in case.values}))

    @cached_property
    def classes(self) -> tuple[ClassFingerprint, ...]:
        """Every structure, in the order of the values."""
        return tuple(_class(value, self.labelled) for value in self.values)

    def foreground(self, channel: int = 0) -> Intensities | None:
        """The intensities inside the structures, each case counting the same."""
        return pooled([c.foreground for case in self.labelled if (c := case.channels[channel]).foreground is not None])

    def whole(self, channel: int = 0) -> Intensities | None:
        """The intensities of the images."""
        return pooled([case.channels[channel].whole for case in self.good])

    def to_dict(self) -> dict[str, Any]:
        """Plain data: a summary of the cohort, then every case."""
        channels = range(max((len(case.channels) for case in self.good), default=0))
        return {
            "layout": self.layout,
            "modality": self.modality.to_dict(),
            "declared": self.declared.to_dict(),
            "patients": len(self.patients),
            "groups": self.groups,
            "instances": self.instances,
            "classes": [vars(found) for found in self.classes],
            "intensities": [
                {"foreground": _plain(self.foreground(c)), "whole": _plain(self.whole(c))} for c in channels
            ],
            "cases": [case.to_dict() for case in self.cases],
        }


def fingerprint(
    cohort: Cohort,
    *,
    reading: Mapping[str, Any] | None = None,
    processes: int = 2,
    step: Callable[[str], None] | None = None,
) -> Fingerprint:
    """The fingerprint of a cohort; cases are read in processes of their own, each file once.

    Args:
        cohort: the cases.
        reading: options of :func:`volseg.io.read_volume` for images.
        processes: how many at the same time; 0 reads in this process.
        step: called with each case's name once it is read.

    Raises:
        CohortError: if modalities are mixed, or if what the data declare contradicts itself.
    """
    declared = declared_by(cohort)
    work = partial(fingerprint_case, reading=reading)
    cases = tuple(_told(each_apart(work, cohort.cases, processes=processes, lost=lost), step))
    good = [case for case in cases if case.error is None]
    return Fingerprint(cohort.layout, cases, guess_modality(good, declared.channels), declared)


def _told(cases: Iterable[CaseFingerprint], step: Callable[[str], None] | None) -> Iterable[CaseFingerprint]:
    for case in cases:
        if step is not None:
            step(case.case)
        yield case


def _class(value: int, cases: tuple[CaseFingerprint, ...]) -> ClassFingerprint:
    there = [(case, found) for case in cases if (found := case.structure(value)) is not None]
    volumes = [found.volume for _, found in there]
    parts = [found.components for _, found in there]
    return ClassFingerprint(
        value,
        len(there),
        tuple(case.case for case in cases if case.structure(value) is None),
        (min(volumes), median(volumes), max(volumes)),
        median(found.voxels / prod(case.shape) for case, found in there),
        (median(parts), max(parts)),
        sum(n == 1 for n in parts) / len(parts),
        sum(not found.holes for _, found in there) / len(there),
        min(found.smallest for _, found in there),
    )


def _plain(found: Intensities | None) -> dict[str, float] | None:
    if found is None:
        return None
    return {"mean": found.mean, "std": found.std, "0.5 percentile": found.low, "99.5 percentile": found.high}
