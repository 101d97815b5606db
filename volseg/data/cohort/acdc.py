"""The ACDC challenge's layout: a folder for each patient, both moments of the beat, ``Info.cfg``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from volseg.data.cohort.case import Case, Cohort, Split, split_named
from volseg.data.cohort.listing import folders, list_images
from volseg.data.cohort.naming import counted, listed, natural
from volseg.data.cohort.pairing import by_suffix, require_single
from volseg.errors import CohortError

_FRAME = re.compile(r"(?P<patient>.+)_frame(?P<number>[0-9]+)$")


def is_acdc(root: Path) -> bool:
    """Whether a folder is a patient's, or holds patients', or ``training/`` or ``testing/`` with patients'."""
    return bool(_patients(root)[0])


def find_acdc(root: Path, *, pair: bool) -> Cohort:
    """Both moments of each patient; the group and which frame is which moment come from ``Info.cfg``."""
    cases: list[Case] = []
    notes: list[str] = []
    patients, others = _patients(root)
    parts = {split for _, split in patients}
    for folder, split in patients:
        listing = list_images(folder)
        pairs, said = by_suffix(folder, listing.items, pair=pair)
        require_single(folder, [image for image, _ in pairs])
        info = read_info(folder)
        below = "" if folder == root else folder.relative_to(root).as_posix()
        for image, label in pairs:
            cases.append(
                Case(
                    image.name,
                    (image.path,),
                    None if label is None else label.path,
                    folder.name or folder.resolve().name,
                    group=info.get("Group"),
                    moment=_moment(image.base, info),
                    split=split if len(parts) > 1 else None,  # one part alone is no split
                    folder=below,
                )
            )
        notes += [*listing.notes(), *said]
    if others:
        notes.append(f"{counted(len(others), 'folder')} of no patient left out: {listed(path.name for path in others)}")
    return Cohort(root, "ACDC", tuple(sorted(cases, key=lambda c: natural(f"{c.folder}/{c.name}"))), _summed(notes))


def read_info(folder: Path) -> Mapping[str, str]:
    """``Info.cfg`` of a patient's folder; empty where there is none."""
    path = folder / "Info.cfg"
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise CohortError(f"cannot be read: {error}", where=path) from error
    entries = (line.split(":", 1) for line in lines if ":" in line)
    return {key.strip(): value.strip() for key, value in entries}


def _moment(name: str, info: Mapping[str, str]) -> Literal["ED", "ES"] | None:
    found = _FRAME.match(name)
    moments: tuple[Literal["ED", "ES"], ...] = ("ED", "ES")
    for moment in moments if found else ():
        if info.get(moment, "").isdecimal() and found is not None and int(info[moment]) == int(found["number"]):
            return moment
    return None


def _patients(root: Path) -> tuple[list[tuple[Path, Split | None]], list[Path]]:
    """The patients' folders with the part of a split that they are in, and folders beside them that are nobody's."""
    if _is_patient(root):
        return [(root, None)], []
    below = folders(root)
    parts = [part for part in below if split_named(part.name)]
    inside = [(folder, split_named(part.name)) for part in parts for folder in folders(part)]
    candidates = [*((folder, None) for folder in below if folder not in parts), *inside]
    found = [(folder, split) for folder, split in candidates if _is_patient(folder)]
    return found, [folder for folder, split in candidates if (folder, split) not in found]


def _is_patient(folder: Path) -> bool:
    try:
        if (folder / "Info.cfg").is_file():
            return True
    except OSError:  # a folder that may not be entered is nobody's
        return False
    # the layout survives without Info.cfg: patient007/patient007_frame01.nii.gz
    return any(folder.glob(f"{_escaped(folder.name)}_frame[0-9]*.nii*"))


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _summed(notes: list[str]) -> tuple[str, ...]:
    """Equal notes of many patients as one with a count."""
    kinds = {note: notes.count(note) for note in notes}
    return tuple(note if count == 1 else f"{note} (in each of {count} patients)" for note, count in kinds.items())
