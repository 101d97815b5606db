"""Strict volumes: reading and writing that are never silently wrong."""

from volseg.io.reading import (
    frame_count,
    options_of_labels,
    read_frames,
    read_labels,
    read_outline,
    read_volume,
    require_pair,
)
from volseg.io.volume import PLAUSIBLE_SPACING, Outline, ReadOptions, Volume
from volseg.io.writing import write_labels, write_volume

__all__ = [
    "PLAUSIBLE_SPACING",
    "Outline",
    "ReadOptions",
    "Volume",
    "frame_count",
    "options_of_labels",
    "read_frames",
    "read_labels",
    "read_outline",
    "read_volume",
    "require_pair",
    "write_labels",
    "write_volume",
]
