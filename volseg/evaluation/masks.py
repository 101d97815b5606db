"""The masks of a folder: predictions, or truths in any of the layouts that cohorts come in."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from volseg.data.cohort import Case, find_cases
from volseg.data.cohort.acdc import read_info
from volseg.data.cohort.dataset_json import is_decathlon, nnunet_images
from volseg.data.cohort.listing import Item, list_images
from volseg.data.cohort.naming import counted, labelled_stem, listed, natural, patient_of, stem
from volseg.data.cohort.parallel import is_parallel
from volseg.data.cohort.tree import tree_patient
from volseg.errors import CohortError
from volseg.io.dicom import is_dicom
from volseg.io.dicom.files import is_segmentation, plain_files

StrPath = str | os.PathLike[str]
Moment = Literal["ED", "ES"]

# Folders that say what their files are, not whose.
_SORTING = {
    *("labels", "label", "masks", "mask", "segmentations", "segmentation", "annotations", "truth", "truths", "gt"),
    *("labelstr", "labelsts", "labelsval", "predictions", "prediction", "pred", "preds"),
}

# ACDC counts frames from 1, the frames that a cine was divided into count from 0.
_FROM_ONE, _FROM_ZERO = re.compile(r"_frame(?P<number>[0-9]+)$"), re.compile(r"_t(?P<number>[0-9]{3,})$")
_MOMENT = re.compile(r"[_-](?P<moment>ED|ES)$", re.IGNORECASE)


@dataclass(frozen=True)
class Mask:
    """A label map, and whose it is.

    Attributes:
        name: the case's: the path below the folder, without a label map's suffix; in ACDC's layout the file's own.
        path: the file.
        patient: cases of one patient are not independent.
        group: the patient's group, where ``Info.cfg`` tells.
        number: which frame of the beat, counted from 1.
        moment: ``ED`` or ``ES``, where ``Info.cfg`` or the name tells.
        instances: whether every object has a value of its own.
        frame: which frame of a 4-D file, counted from 0; ``None`` for the only one.
    """

    name: str
    path: Path
    patient: str
    group: str | None = None
    number: int | None = None
    moment: Moment | None = None
    instances: bool = False
    frame: int | None = None


@dataclass(frozen=True)
class Masks:
    """The masks of a folder in natural order, and what was left out."""

    root: Path
    masks: tuple[Mask, ...]
    notes: tuple[str, ...] = ()


def find_masks(path: StrPath) -> Masks:
    """Find the label maps of a file, a folder, a tree or a CSV.

    nnU-Net's raw data, the Decathlon, ``images/`` with ``labels/`` beside it and CSVs give the label maps that they
    pair. Anywhere else, ACDC included, files with a label map's suffix (``_gt``, ``_seg``, …) are the label maps and
    files without one are images; where no file has a suffix, all are label maps.

    Raises:
        CohortError: if there are none, or two would be one case.
    """
    root = Path(path)
    try:
        if not root.exists():
            raise CohortError("does not exist", where=root)
        folder = root.is_dir()
    except OSError as error:
        raise CohortError(f"cannot be opened: {error.strerror}", where=root) from error
    notes: tuple[str, ...] = ()
    if not folder and root.suffix.lower() != ".csv":
        masks = [_mask(Item(root, stem(root)), read_info(root.parent))]
    elif not folder or nnunet_images(root) is not None or is_decathlon(root) or is_parallel(root):
        masks, notes = _paired(root)
    else:
        masks, notes = _listed(root)
    _require_names(root, masks)
    return Masks(root, tuple(sorted(masks, key=lambda mask: natural(mask.name))), notes)


def _paired(root: Path) -> tuple[list[Mask], tuple[str, ...]]:
    cohort = find_cases(root)
    if not cohort.labelled and root.suffix.lower() != ".csv":
        raise CohortError("holds images but no label maps", where=root)
    return [_of_case(case) for case in cohort.labelled or cohort.cases], cohort.notes


def _of_case(case: Case) -> Mask:
    base = case.name.rsplit("/", 1)[-1]
    return Mask(
        case.name,
        case.label or case.image,
        case.patient,
        case.group,
        number=frame_number(base) if case.frame is None else case.frame + 1,
        moment=case.moment or named_moment(base),
        instances=case.instances,
        frame=case.frame if case.label is None else None,  # a label map has the one frame that it is of
    )


def _listed(root: Path) -> tuple[list[Mask], tuple[str, ...]]:
    listing = list_images(root)
    folders = [item for item in listing.items if item.dicom]
    objects = {item: _segmentations(item, root) for item in folders}
    items = [item for item in listing.items if not item.dicom]
    suffixed = [item for item in items if labelled_stem(item.name)]
    segmented = [found for each in objects.values() for found in each]
    chosen = [*suffixed, *segmented] or items
    if not chosen:
        raise CohortError(
            "holds no label map" + "".join(f"; {note}" for note in listing.notes()),
            where=root,
            mend="label maps are .nii.gz, .nii, .nrrd, .mha, .mgz, .png, .tif, DICOM-SEG",
        )
    notes = [*listing.notes()]
    if empty := sum(not found for found in objects.values()):
        notes.append(f"{counted(empty, 'DICOM folder')} left out")
    infos = {folder: read_info(folder) for folder in {item.path.parent for item in chosen}}
    return [_mask(item, infos[item.path.parent]) for item in chosen], tuple(notes)


def _segmentations(folder: Item, root: Path) -> list[Item]:
    """The DICOM-SEG objects of a folder; one beside the series that it segments has the folder's name."""
    files = [file for file in plain_files(folder.path) if is_dicom(file)]
    found = [file for file in files if is_segmentation(file)]
    if len(found) == 1 < len(files) and folder.path != root:
        return [Item(found[0], folder.name)]
    above = "" if folder.path == root else f"{folder.name}/"
    return [Item(file, above + stem(file)) for file in found]


def _mask(item: Item, info: Mapping[str, str]) -> Mask:
    name = labelled_stem(item.name) or item.name
    *folders, base = name.split("/")
    owner = item.path.parent
    if info or base.startswith(f"{owner.name}_frame"):  # a patient's folder as ACDC has it
        number = frame_number(base)
        moment = moment_of(number, info) or named_moment(base)
        return Mask(base, item.path, owner.name, info.get("Group"), number, moment)
    name = "/".join([*(folder for folder in folders if folder.lower() not in _SORTING), base])
    patient = tree_patient(Item(item.path, name)) if "/" in name else patient_of(name)
    return Mask(name, item.path, patient, number=frame_number(base), moment=named_moment(base))


def frame_number(base: str) -> int | None:
    """The frame of the beat that a name tells, counted from 1.

    >>> frame_number("patient001_frame12"), frame_number("patient001_4d_t000"), frame_number("ct_001")
    (12, 1, None)
    """
    if found := _FROM_ONE.search(base):
        return int(found["number"])
    return int(found["number"]) + 1 if (found := _FROM_ZERO.search(base)) else None


def named_moment(base: str) -> Moment | None:
    """The moment of the beat that a name ends with.

    >>> named_moment("patient001_ED"), named_moment("patient001_frame01")
    ('ED', None)
    """
    found = _MOMENT.search(base)
    return None if found is None else "ED" if found["moment"].upper() == "ED" else "ES"


def moment_of(number: int | None, info: Mapping[str, str]) -> Moment | None:
    """Whether ``Info.cfg`` calls this frame the end of diastole or of systole."""
    moments: tuple[Moment, ...] = ("ED", "ES")
    told = (moment for moment in moments if info.get(moment, "").isdecimal() and int(info[moment]) == number)
    return next(told, None)


def _require_names(root: Path, masks: Iterable[Mask]) -> None:
    seen: dict[str, list[Path]] = defaultdict(list)
    for mask in masks:
        seen[mask.name].append(mask.path)
    shared = {name: paths for name, paths in seen.items() if len(paths) > 1}
    for name, paths in shared.items():
        raise CohortError(
            f"{listed(path.relative_to(root) for path in paths)} would be one case, {listed([name])}"
            + (f" (and {counted(len(shared) - 1, 'more name')})" if len(shared) > 1 else ""),
            where=root,
            mend="keep one of them, or list the label maps in a CSV (image,label)",
        )
