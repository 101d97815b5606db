"""The structures' names: as the data declare them, as somebody gave them, or by their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from volseg.data.fingerprint import Fingerprint
from volseg.errors import UsageError
from volseg.planning.choice import Choice

# SNOMED CT, as DICOM writes a structure
_CODES = {
    "right ventricle": ("SCT", "53085002", "Right ventricle"),
    "myocardium": ("SCT", "74281007", "Myocardium"),
    "left ventricle": ("SCT", "87878005", "Left ventricle"),
    "liver": ("SCT", "10200004", "Liver"),
    "spleen": ("SCT", "78961009", "Spleen"),
    "kidneys": ("SCT", "64033007", "Kidney"),
    "aorta": ("SCT", "15825003", "Aorta"),
    "gallbladder": ("SCT", "28231008", "Gallbladder"),
}
_HEART = {"right ventricle", "myocardium", "left ventricle"}


def parse_names(text: str) -> dict[str, int]:
    """Names and values from what a person writes.

    >>> parse_names("right ventricle=1, myocardium=2")
    {'right ventricle': 1, 'myocardium': 2}
    """
    found: dict[str, int] = {}
    for part in text.split(","):
        name, equals, value = (piece.strip() for piece in part.rpartition("="))
        if not equals or not name or not (value.isascii() and value.isdigit()) or int(value) == 0 or "." in name:
            raise UsageError(f"{part.strip()!r} is no label", mend="--labels 'right ventricle=1,myocardium=2'")
        if name in found or int(value) in found.values():
            raise UsageError(f"--labels gives {name if name in found else value} twice")
        found[name] = int(value)
    return found


def renamed(found: Fingerprint, names: Mapping[str, int]) -> Fingerprint:
    """The fingerprint with the names that somebody gave."""
    declared = replace(found.declared, labels=dict(names), regions={}, source="--labels names them")
    return replace(found, declared=declared)


def label_choices(found: Fingerprint) -> Iterator[Choice]:
    """Values, regions, codes, what is ignored, and whether objects are told apart."""
    declared = found.declared
    if found.instances:
        name = next(iter(declared.labels), "object")
        objects = [case.objects for case in found.labelled if case.objects is not None]
        touching = sum(o.touching for o in objects) / len(objects)
        yield Choice("labels.values", {name: 1}, "label maps number the objects of one structure")
        yield Choice("labels.instances", True, f"{touching:.0%} of the objects touch another in the label maps")
        return
    values = [value for value in found.values if value != declared.ignore]
    names = dict(declared.labels)
    known = set(names.values())
    names |= {f"label {value}": value for value in values if value not in known}
    absent = [name for name, value in names.items() if value not in values]
    reason = declared.source if declared.labels else "nothing names the structures: rename them here as you like"
    yield Choice("labels.values", names, reason + (f"; no case holds {', '.join(absent)}" if absent else ""))
    if declared.ignore is not None:
        yield Choice("labels.ignore", declared.ignore, "voxels that the data declare to be without truth")
    if declared.regions:
        by_value = {value: name for name, value in names.items()}
        regions = {name: [by_value[v] for v in values] for name, values in declared.regions.items()}
        yield Choice("labels.regions", regions, "dataset.json declares regions that overlap")
        yield Choice("labels.output", "regions", "they are learnt each for itself, as dataset.json asks")
    elif set(names) >= _HEART:
        yield Choice(
            "labels.regions", {"whole heart": sorted(_HEART, key=list(names).index)}, "measured as a whole too"
        )
    codes = {name: list(_CODES[name]) for name in names if name in _CODES}
    if codes:
        yield Choice("labels.codes", codes, "SNOMED CT codes for DICOM-SEG")


def structure_names(labels: Mapping[str, int]) -> dict[int, str]:
    """Each value's name."""
    return {value: name for name, value in labels.items()}
