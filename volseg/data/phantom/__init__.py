"""Synthetic patients and cells: deterministic by seed, hard to threshold, and of known volume."""

from volseg.data.phantom.abdomen import CT_LABELS, PADDING, ct
from volseg.data.phantom.culture import CELL_LABELS, cells
from volseg.data.phantom.model import Phantom
from volseg.data.phantom.short_axis import HEART_LABELS, HeartPatient, heart, patient
from volseg.data.phantom.writing import KINDS, write_cohort

__all__ = [
    "CELL_LABELS",
    "CT_LABELS",
    "HEART_LABELS",
    "KINDS",
    "PADDING",
    "HeartPatient",
    "Phantom",
    "cells",
    "ct",
    "heart",
    "patient",
    "write_cohort",
]
