"""What another laboratory's bundle says of itself, as the recipe's names and its section ``bundle``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from volseg.bundle.about import About
from volseg.bundle.storage.files import BundleFiles, read_whole
from volseg.bundle.storage.json_text import read_json
from volseg.bundle.storage.manifest import METADATA
from volseg.errors import BundleError, printable

_MODALITIES = {"CT": "CT", "MR": "MR", "MRI": "MR", "PET": "PET", "PT": "PET", "US": "US", "XR": "XR"}
_LICENCES = (
    ("Apache-2.0", r"Apache License,?\s+Version 2\.0"),
    ("CC-BY-NC-SA-4.0", r"Attribution-NonCommercial-ShareAlike 4\.0"),
    ("CC-BY-NC-4.0", r"Attribution-NonCommercial 4\.0"),
    ("CC-BY-SA-4.0", r"Attribution-ShareAlike 4\.0"),
    ("CC-BY-4.0", r"Attribution 4\.0 International"),
    ("MIT", r"MIT License|Permission is hereby granted, free of charge"),
)
_REFERENCES = 20


def channel_names(files: BundleFiles, side: str, tensor: str, count: int, otherwise: str) -> list[str]:
    """The names of the network's channels, from the metadata; numbered where it has none that can be names.

    Args:
        files: of the bundle.
        side: ``inputs`` or ``outputs``.
        tensor: ``image`` or ``pred``.
        count: how many there are.
        otherwise: what the others are called, before their number.
    """
    found: Any = _metadata(files).get("network_data_format")
    for key in (side, tensor, "channel_def"):
        found = found.get(key) if isinstance(found, Mapping) else None
    names: list[str] = []
    for channel in range(count):
        told = found.get(str(channel)) if isinstance(found, Mapping) else None
        name = re.sub(r"\s+", " ", printable(str(told)).replace(".", " ")).strip()[:100] if told else ""
        names.append(name if name and name not in names else f"{otherwise} {channel}")
    return names


def modality(files: BundleFiles) -> str:
    """What made the images."""
    found: Any = _metadata(files).get("network_data_format")
    for key in ("inputs", "image", "modality"):
        found = found.get(key) if isinstance(found, Mapping) else None
    return _MODALITIES.get(str(found).upper().strip(), "other")


def card_section(files: BundleFiles, told: About, licence: str | None) -> dict[str, Any]:
    """The keys of ``bundle``: the maker's own words.

    Args:
        files: of the bundle.
        told: its claims.
        licence: of the weights, as an SPDX identifier, where a person says it.

    Raises:
        BundleError: if nothing tells the licence.
    """
    found: dict[str, Any] = {"name": _name(told.name)}
    for key, length in (("task", 500), ("authors", 500), ("copyright", 500)):
        line = printable(" ".join(str(getattr(told, key)).split()))[:length]
        found |= {key: line} if line else {}
    for key in ("description", "intended_use", "data_source"):
        text = str(getattr(told, key)).strip()[:4000]
        found |= {key: text} if text else {}
    if re.fullmatch(r"\d{1,6}\.\d{1,6}\.\d{1,6}", told.version, re.ASCII):
        found["version"] = told.version
    references = _metadata(files).get("references")
    if isinstance(references, list):
        texts = (printable(" ".join(one.split())) for one in references if isinstance(one, str))
        found["citations"] = [text[:4000] for text in texts if text][:_REFERENCES]
    found["license"] = licence or _licence(files, told)
    return found


def _licence(files: BundleFiles, told: About) -> str:
    known = [name for name, _ in _LICENCES]
    named = next((name for name in known if told.license.lower() == name.lower()), None)
    if named is not None:
        return named
    text = read_whole(files, "LICENSE").decode("utf-8", "replace") if "LICENSE" in files.sizes else ""
    for name, sign in _LICENCES:
        if re.search(sign, text):
            return name
    raise BundleError(
        "nothing tells the licence of the weights", where=files.where, mend="add --license with its SPDX identifier"
    )


def _name(told: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", told.lower()).strip("_")[:64]
    return name or "imported"


def _metadata(files: BundleFiles) -> Mapping[str, Any]:
    if METADATA not in files.sizes:
        return {}
    found = read_json(read_whole(files, METADATA), METADATA)
    return found if isinstance(found, Mapping) else {}
