"""What a data folder says of its own labels and channels, and what its layout is known to mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from volseg.data.cohort import Cohort
from volseg.data.cohort.dataset_json import read_description
from volseg.data.phantom.writing import SUMMARY
from volseg.errors import CohortError

#: ACDC's values; notes in circulation swap them
ACDC = {"right ventricle": 1, "myocardium": 2, "left ventricle": 3}


@dataclass(frozen=True)
class Declared:
    """Names as the data give them.

    Attributes:
        labels: structure names and their values; empty where nothing is declared.
        regions: unions of values that are to be learnt instead of the structures (nnU-Net's region-based training):
            the values, the one first that the region is decoded to.
        ignore: the value of voxels without truth.
        channels: names of the channels.
        source: what says so, in words.
    """

    labels: Mapping[str, int] = field(default_factory=dict)
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ignore: int | None = None
    channels: tuple[str, ...] = ()
    source: str = "nothing names them"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def declared_by(cohort: Cohort) -> Declared:
    """What ``dataset.json``, ``phantom.json`` or the layout say.

    Raises:
        CohortError: if what they say contradicts itself.
    """
    root = cohort.root if cohort.root.is_dir() else cohort.root.parent
    if cohort.root.is_dir() and (root / "dataset.json").is_file():
        return _described(root)
    if (root / SUMMARY).is_file():
        told = _phantom(root / SUMMARY)
        if told is not None:
            return told
    if cohort.layout == "ACDC":
        return Declared(ACDC, source="ACDC's layout has these structures")
    return Declared()


def _described(root: Path) -> Declared:
    told, where = read_description(root), root / "dataset.json"
    labels: dict[str, int] = {}
    unions: dict[str, tuple[int, ...]] = {}
    ignore = None
    entries = told.get("labels")
    for key, value in entries.items() if isinstance(entries, dict) else ():
        name, found = _entry(str(key), value, where)
        if name.lower() == "ignore" and len(found) == 1:
            ignore = found[0]
        elif len(found) > 1:
            unions[name] = found
        elif found[0] != 0:
            if name in labels:
                raise CohortError(f"names {name!r} twice, with the values {labels[name]} and {found[0]}", where=where)
            labels[name] = found[0]
    _require_different(labels, where)
    channels = told.get("channel_names") or told.get("modality")
    names = list(channels.values()) if isinstance(channels, dict) else channels if isinstance(channels, list) else []
    known = tuple(" ".join(str(name).split()) or f"channel {i}" for i, name in enumerate(names))
    regions = _regions(labels, unions, told.get("regions_class_order"), where) if unions else {}
    if unions:
        values = sorted({value for part in regions.values() for value in part})
        labels = {f"label {value}": value for value in values}
    return Declared(labels, regions, ignore, known, "dataset.json names them")


def _entry(key: str, value: Any, where: Path) -> tuple[str, tuple[int, ...]]:
    """Decathlon writes value: name, nnU-Net name: value, or name: [values]."""
    if isinstance(value, str) and key.lstrip("-").isdigit():
        return " ".join(value.replace(".", " ").split()) or f"label {key}", (int(key),)
    many = value if isinstance(value, list) else [value]
    if not many or not all(str(v).isascii() and str(v).isdigit() for v in many):
        raise CohortError(f"the label {key!r} has no value that is a whole number", where=where)
    return " ".join(key.replace(".", " ").split()), tuple(int(v) for v in many)


def _require_different(labels: Mapping[str, int], where: Path) -> None:
    by_value: dict[int, str] = {}
    for name, value in labels.items():
        if value in by_value:
            raise CohortError(f"calls the value {value} both {by_value[value]!r} and {name!r}", where=where)
        by_value[value] = name


def _regions(
    labels: Mapping[str, int], unions: Mapping[str, tuple[int, ...]], order: Any, where: Path
) -> dict[str, tuple[int, ...]]:
    parts = {**unions, **{name: (value,) for name, value in labels.items()}}
    parts = dict(sorted(parts.items(), key=lambda item: -len(item[1])))
    if not isinstance(order, list) or sorted(order) != sorted({v for values in parts.values() for v in values}):
        raise CohortError(
            "has regions but no regions_class_order that names each value once", where=where, mend="as nnU-Net asks"
        )
    if len(order) != len(parts):
        raise CohortError(f"{len(parts)} regions cannot be decoded to {len(order)} values", where=where)
    return {
        name: (int(first), *(v for v in values if v != first))
        for (name, values), first in zip(parts.items(), order, strict=True)
    }


def _phantom(path: Path) -> Declared | None:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        labels = {str(name): int(value) for name, value in told["labels"].items() if int(value) != 0}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # somebody else's file of this name says nothing about labels
    return Declared(labels, source=f"{path.name} names them")
