"""The fingerprint of one case: what reading it once tells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from volseg.data.cohort import Case
from volseg.data.fingerprint_intensity import ChannelFingerprint
from volseg.data.fingerprint_structure import (
    MOST_STRUCTURES,
    Objects,
    StructureFingerprint,
    objects_of,
    structures_of,
)
from volseg.errors import LabelError, VolsegError
from volseg.io import PLAUSIBLE_SPACING, Volume, options_of_labels, read_labels, read_volume, require_pair
from volseg.io.formats import ENDINGS, ending

#: pictures say little about their scale: a pixel of a microscope is far below what any scanner has
PICTURE_SPACING = (1e-6, 1000.0)


@dataclass(frozen=True)
class CaseFingerprint:
    """What one case is like; lengths are in millimetres, axes are turned to RAS in 3-D.

    Attributes:
        case: its name.
        patient: who it is of.
        group: the patient's group.
        split: the part of a given split.
        shape: voxels along each axis.
        spacing: of each axis.
        axcodes: the orientation its file has.
        channels: one after the other.
        labelled: whether it has a label map.
        structures: those that are in its label map.
        objects: of an instance map.
        picture: whether it is a picture, which has no scale of its own.
        told: the modality that its header states.
        error: the one line of what is wrong with it; everything else is empty then.
    """

    case: str
    patient: str = ""
    group: str | None = None
    split: str | None = None
    shape: tuple[int, ...] = ()
    spacing: tuple[float, ...] = ()
    axcodes: str = ""
    channels: tuple[ChannelFingerprint, ...] = ()
    labelled: bool = False
    structures: tuple[StructureFingerprint, ...] = ()
    objects: Objects | None = None
    picture: bool = False
    told: str | None = None
    error: str | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def extent(self) -> tuple[float, ...]:
        """The field of view."""
        return tuple(n * mm for n, mm in zip(self.shape, self.spacing, strict=True))

    @property
    def values(self) -> tuple[int, ...]:
        """The label values that are there."""
        return tuple(structure.value for structure in self.structures)

    def structure(self, value: int) -> StructureFingerprint | None:
        """The structure of a value, if it is there."""
        return next((s for s in self.structures if s.value == value), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            **asdict(self),
            "channels": [channel.to_dict() for channel in self.channels],
            "structures": [structure.to_dict() for structure in self.structures],
        }


def fingerprint_case(case: Case, reading: Mapping[str, Any] | None = None) -> CaseFingerprint:
    """Read a case once, and tell what it is like; what is wrong with it becomes its ``error``.

    Args:
        case: the case.
        reading: options of :func:`volseg.io.read_volume` for its images.
    """
    try:
        return _read(case, reading or {})
    except VolsegError as error:
        return CaseFingerprint(case.name, case.patient, case.group, case.split, error=str(error))


def lost(case: Case) -> CaseFingerprint:
    """Of a case whose reading ended its process."""
    return CaseFingerprint(
        case.name,
        case.patient,
        case.group,
        case.split,
        error=f"{case.name}: reading it ended the process; leave it out",
    )


def _read(case: Case, reading: Mapping[str, Any]) -> CaseFingerprint:
    known = ENDINGS.get(ending(case.image) or "")
    picture = known is not None and known.kind == "picture"
    scale = PICTURE_SPACING if picture else PLAUSIBLE_SPACING
    channels = [read_volume(path, frame=case.frame, spacing_range=scale, **reading) for path in case.images]
    first = channels[0]
    for path, channel in zip(case.images[1:], channels[1:], strict=True):
        first.grid.require_same(channel.grid, where=path, what=f"this channel and {case.images[0].name}")
    turn = first.grid.reoriented("RAS") if first.grid.ndim == 3 else first.grid.reoriented(first.grid.axcodes)
    spacing = turn.target.spacing
    images = [turn.apply(channel.array) for channel in channels]
    mask, objects = None, None
    structures: tuple[StructureFingerprint, ...] = ()
    if case.label is not None:
        truth = read_labels(case.label, spacing_range=scale, **options_of_labels(reading))
        require_pair(first, truth)
        mask = turn.apply(truth.array)
        if case.instances:
            objects, mask = objects_of(mask), (mask != 0).astype(np.uint8)
        elif len(found := np.unique(mask)) > MOST_STRUCTURES:
            raise LabelError(
                f"holds {len(found)} different values, more than structures have names",
                where=case.label,
                mend="if it numbers objects, put such maps in a folder called instances",
            )
        structures = structures_of(mask, images[0], spacing)
    inside = None if mask is None else mask != 0
    return CaseFingerprint(
        case.name,
        case.patient,
        case.group,
        case.split,
        turn.target.shape,
        spacing,
        first.grid.axcodes,
        tuple(
            ChannelFingerprint.of(image, inside, volume.padding) for image, volume in zip(images, channels, strict=True)
        ),
        mask is not None,
        structures,
        objects,
        picture,
        _told(first),
        notes=tuple(note for channel in channels for note in channel.notes),
    )


def _told(volume: Volume) -> str | None:
    told = str(volume.header.get("modality", "") or "").upper()
    return {"PT": "PET", "CT": "CT", "MR": "MR", "US": "US", "DX": "XR", "CR": "XR", "SM": "microscopy"}.get(told)
