"""The masks of hearts by patient, and which of them are the ends of diastole and of systole."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from volseg.data.cohort.acdc import read_info
from volseg.data.cohort.naming import counted, listed, natural
from volseg.errors import CohortError, LabelError, VolsegError
from volseg.evaluation.masks import Mask, Moment, StrPath, find_masks, moment_of
from volseg.io import frame_count
from volseg.labels import Labels

# in ACDC's values
_ACDC = Labels.of({"right ventricle": 1, "myocardium": 2, "left ventricle": 3})

MOMENTS: tuple[Moment, ...] = ("ED", "ES")


@dataclass(frozen=True)
class Roles:
    """Which structures of a mask are the two cavities and the muscle; as in ACDC unless told otherwise."""

    labels: Labels = _ACDC
    left: str = "left ventricle"
    right: str = "right ventricle"
    myocardium: str = "myocardium"

    def __post_init__(self) -> None:
        names = (self.left, self.right, self.myocardium)
        for name in names:
            self.labels[name]  # raises for a name that is no label
        if len(set(names)) < len(names):
            raise LabelError("the two cavities and the muscle are three different structures", where=", ".join(names))

    @classmethod
    def of(cls, left: str, right: str, myocardium: str, labels: Labels | None = None) -> Roles:
        """Roles by the names or by the values of the labels; without labels by values alone.

        >>> Roles.of("1", "3", "2").labels["left ventricle"].value
        1
        """
        words = {"left ventricle": left, "right ventricle": right, "myocardium": myocardium}
        if labels is None:
            unknown = [word for word in words.values() if not word.isdecimal()]
            if unknown:
                raise LabelError(f"{unknown[0]!r} is no label value", mend="give a recipe to name its labels")
            return cls(Labels.of({name: int(word) for name, word in words.items()}))
        names = {str(structure.value): structure.name for structure in labels.structures}
        return cls(labels, *(names.get(word, word) for word in words.values()))


@dataclass(frozen=True)
class Beat:
    """The masks of one patient, of which two are the ends of diastole and systole."""

    masks: tuple[Mask, ...]
    #: both ends, where they are told; else they are found by volume among the masks
    told: tuple[Mask, Mask] | None = None


@dataclass(frozen=True)
class Heart:
    """One patient: predicted, and true where there is a truth."""

    patient: str
    group: str | None
    predicted: Beat | None
    true: Beat | None
    #: why it cannot be measured
    error: str | None = None

    @property
    def masks(self) -> tuple[tuple[str, Mask], ...]:
        """Every mask that has to be read, each with its side."""
        if self.error is not None:
            return ()
        sides = (("prediction", self.predicted), ("truth", self.true))
        return tuple((side, mask) for side, beat in sides if beat is not None for mask in beat.told or beat.masks)


@dataclass(frozen=True)
class Hearts:
    """Every patient in natural order, and what is worth telling."""

    roots: Mapping[str, Path]
    hearts: tuple[Heart, ...]
    notes: tuple[str, ...] = ()

    @property
    def masks(self) -> int:
        """How many masks have to be read."""
        return sum(len(heart.masks) for heart in self.hearts)


def find_hearts(predictions: StrPath, truths: StrPath | None = None, info: StrPath | None = None) -> Hearts:
    """Find the masks of every patient, and both ends of the beat.

    Which frames they are is told by ``Info.cfg`` (beside the masks, beside the truths, or below ``info``) or by names
    that end with ``_ED`` and ``_ES``. Where nothing tells, all of a patient's frames are kept: the largest and the
    smallest left ventricle will decide. A 4-D mask counts as all of its frames.
    """
    made = find_masks(predictions)
    true = None if truths is None else find_masks(truths)
    sides = {"prediction": made.masks, "truth": () if true is None else true.masks}
    told = _infos([mask for masks in sides.values() for mask in masks], info)
    beats = {side: _by_patient(masks) for side, masks in sides.items()}
    patients = sorted({*beats["prediction"], *beats["truth"]}, key=natural)
    hearts = tuple(_heart(patient, beats, told.get(patient, {})) for patient in patients)
    notes = [f"predictions: {note}" for note in made.notes]
    roots = {"prediction": made.root}
    if true is not None:
        roots["truth"] = true.root
        notes += [f"truths: {note}" for note in true.notes]
        if not any(heart.predicted and heart.true for heart in hearts):
            raise CohortError(
                f"no patient is in both: {listed(beats['prediction'], 3)} here, "
                f"{listed(beats['truth'], 3)} in {true.root}",
                where=made.root,
            )
        extra = [heart.patient for heart in hearts if heart.true is None]
        if extra:
            notes.append(f"{counted(len(extra), 'patient')} without a truth: {listed(extra)}")
    return Hearts(roots, hearts, tuple(notes))


def _heart(patient: str, beats: Mapping[str, Mapping[str, Sequence[Mask]]], info: Mapping[str, str]) -> Heart:
    group = info.get("Group") or None
    if patient not in beats["prediction"]:
        return Heart(patient, group, None, None, f"{patient}: has no prediction")
    found: dict[str, Beat | None] = {}
    try:
        for side, patients in beats.items():
            found[side] = _beat(patients[patient], info) if patient in patients else None
    except VolsegError as error:
        return Heart(patient, group, None, None, f"{patient}: {side}: {error}")
    return Heart(patient, group, found["prediction"], found["truth"])


def _beat(masks: Sequence[Mask], info: Mapping[str, str]) -> Beat:
    ends: dict[Moment, list[Mask]] = {moment: [] for moment in MOMENTS}
    for mask in masks:
        moment = mask.moment or moment_of(mask.number, info)
        if moment is not None:
            ends[moment].append(mask)
    known = [moment for moment in MOMENTS if ends[moment] or info.get(moment, "").isdecimal()]
    if not known:
        if len(masks) < 2:
            raise CohortError("one mask only: the beat has two ends", mend="segment both frames, or all of the cine")
        return Beat(tuple(masks))
    for moment in MOMENTS:
        if len(ends[moment]) > 1:
            raise CohortError(
                f"{listed(mask.name for mask in ends[moment])} are both {moment}", mend="keep one of them"
            )
        if not ends[moment]:
            frame = f" (frame {info[moment]} by Info.cfg)" if moment in info else ""
            raise CohortError(f"no mask is {moment}{frame}", mend="segment that frame")
    return Beat(tuple(masks), (ends["ED"][0], ends["ES"][0]))


def _by_patient(masks: Sequence[Mask]) -> dict[str, list[Mask]]:
    found: dict[str, list[Mask]] = defaultdict(list)
    for mask in masks:
        found[mask.patient].extend(_frames(mask))
    return dict(found)


def _frames(mask: Mask) -> list[Mask]:
    """A mask of a whole cine as one for each frame."""
    try:
        count = 1 if mask.frame is not None else frame_count(mask.path)
    except VolsegError:
        count = 1  # a damaged file says so when it is read
    if count == 1:
        return [mask]
    return [replace(mask, name=f"{mask.name}_t{k:03d}", frame=k, number=k + 1) for k in range(count)]


def _infos(masks: Sequence[Mask], below: StrPath | None) -> dict[str, Mapping[str, str]]:
    """What ``Info.cfg`` says of each patient."""
    folders = {mask.path.parent: mask.patient for mask in masks}
    if below is not None:
        listed_below = [Path(folder) for folder, _, files in os.walk(below) if "Info.cfg" in files]
        if not listed_below:
            raise CohortError("holds no patient's folder with an Info.cfg", where=below)
        folders |= {folder: folder.name for folder in listed_below}
    told: dict[str, Mapping[str, str]] = {}
    for folder, patient in folders.items():
        if info := read_info(folder):
            told[patient] = info
    return told
