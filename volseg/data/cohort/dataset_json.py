"""Layouts that ``dataset.json`` describes: the Medical Segmentation Decathlon's, and nnU-Net's raw data."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from volseg.data.cohort.case import Case, Cohort
from volseg.data.cohort.listing import Item, Listing, is_there, list_images
from volseg.data.cohort.naming import counted, listed, patient_of, stem
from volseg.data.cohort.pairing import by_folder, require_single
from volseg.errors import CohortError

_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>[0-9]{4})$")
_MEND = "copy the missing files there, or mend dataset.json"


def nnunet_images(root: Path) -> Path | None:
    """Where nnU-Net's images lie: ``imagesTr`` with ``CASE_0000`` in it, or the folder itself if that is its name."""
    here = root if root.name in ("imagesTr", "imagesTs", "imagesVal") else root / "imagesTr"
    if here.is_dir() and any(_CHANNEL.match(item.name) for item in list_images(here).items):
        return here
    return None


def is_decathlon(root: Path) -> bool:
    """Whether ``dataset.json`` lists training pairs."""
    return (root / "dataset.json").is_file() and isinstance(read_description(root).get("training"), list)


def find_decathlon(root: Path, *, pair: bool) -> Cohort:
    """The pairs of the training list; images of the test list, which have no truth, are counted in the notes."""
    told = read_description(root)
    cases, missing = [], []
    for number, entry in enumerate(told["training"], 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
            raise CohortError(f"entry {number} of training names no image", where=root / "dataset.json")
        image, label = root / entry["image"], entry.get("label")
        truth = root / label if isinstance(label, str) and pair else None
        missing += [path.relative_to(root) for path in (image, truth) if path is not None and not is_there(path)]
        cases.append(Case(stem(image), (image,), truth, patient_of(stem(image))))
    if missing:
        raise CohortError(
            f"dataset.json names {counted(len(missing), 'file')} that cannot be found: {listed(missing)}",
            where=root,
            mend=_MEND,
        )
    tests = told.get("test")
    notes = (
        [f"{counted(len(tests), 'test image')} without a truth left out"] if isinstance(tests, list) and tests else []
    )
    return Cohort(root, "Decathlon", tuple(cases), tuple(notes))


def find_nnunet(root: Path, folder: Path, *, pair: bool) -> Cohort:
    """Cases of one or more channels, ``CASE_0000``, ``CASE_0001``, …, with ``labelsTr/CASE``."""
    told = read_description(root) if (root / "dataset.json").is_file() else {}
    images = list_images(folder)
    channels = _channels(folder, images.items, told)
    labels_folder = root / "labelsTr"
    labels = list_images(labels_folder) if pair and labels_folder.is_dir() else Listing(labels_folder, (), ())
    singles = [Item(files[0].path, name) for name, files in channels.items()]
    pairs = by_folder(root, singles, labels.items, where="labelsTr/")
    cases = tuple(
        Case(
            image.name,
            tuple(item.path for item in channels[image.name]),
            None if label is None else label.path,
            patient_of(image.name),
        )
        for image, label in pairs
    )
    tests = [
        item for part in ("imagesTs", "imagesVal") if (root / part).is_dir() for item in list_images(root / part).items
    ]
    notes = [f"{counted(len(tests), 'file')} of imagesTs left out: name the folder to take them"] if tests else []
    return Cohort(root, "nnU-Net", cases, (*images.notes(), *labels.notes(), *notes))


def read_description(root: Path) -> Mapping[str, Any]:
    """``dataset.json`` of a folder."""
    path = root / "dataset.json"
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise CohortError(f"cannot be read as JSON: {error}", where=path) from error
    if not isinstance(told, dict):
        raise CohortError("holds no JSON object", where=path)
    return told


def _channels(folder: Path, items: Sequence[Item], told: Mapping[str, Any]) -> dict[str, list[Item]]:
    """Every case's channels in order; a case that lacks one, or has one too many, is refused."""
    require_single(folder, items)
    found: dict[str, dict[int, Item]] = defaultdict(dict)
    plain = []
    for item in items:
        match = _CHANNEL.match(item.name)
        if match is None:
            plain.append(item.path.name)
        else:
            found[match["case"]][int(match["channel"])] = item
    if plain:
        raise CohortError(f"without a channel number such as _0000: {listed(plain)}", where=folder)
    declared = told.get("channel_names") or told.get("modality")
    count = len(declared) if isinstance(declared, (dict, list)) else max(max(c) for c in found.values()) + 1
    for case, there in found.items():
        if sorted(there) != list(range(count)):
            raise CohortError(
                f"{listed([case])} has the channels {listed(f'{c:04d}' for c in sorted(there))}, not the"
                f" {counted(count, 'channel')} from 0000 on",
                where=folder,
                mend="copy the missing channels there",
            )
    return {case: [there[c] for c in range(count)] for case, there in found.items()}
