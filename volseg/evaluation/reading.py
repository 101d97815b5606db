"""Masks of a pair as volumes on one grid, where they lie on one; a DICOM-SEG leaves out the slices that are empty."""

from __future__ import annotations

import numpy as np

from volseg.errors import GridMismatch
from volseg.evaluation.masks import Mask
from volseg.geometry import SAME_GRID, Grid
from volseg.io import Volume, read_labels
from volseg.io.dicom.files import is_segmentation
from volseg.labels import Labels


def read_mask(mask: Mask, labels: Labels | None, grid: Grid | None = None) -> Volume:
    """A mask; one in DICOM-SEG on ``grid`` or, without, on the smallest grid that holds its segments.

    With ``labels`` segments get the values of the labels with their names, without they keep their numbers.

    Raises:
        GridMismatch: if a DICOM-SEG does not lie on ``grid``.
    """
    if not is_segmentation(mask.path):
        return read_labels(mask.path, labels, frame=mask.frame)
    from volseg.io.dicom_seg import read_dicom_seg

    return read_dicom_seg(mask.path, grid=grid, labels=labels)[0]


def read_masks(prediction: Mask, truth: Mask, labels: Labels | None) -> tuple[Volume, Volume]:
    """Both masks of a pair; a DICOM-SEG is laid on the grid of the other where it lies in it."""
    if is_segmentation(truth.path):
        made = read_mask(prediction, labels)
        true = read_mask(truth, labels)
        if is_segmentation(prediction.path):
            both = _around(made.grid, true.grid)
            return (
                (made, true) if both is None else (read_mask(prediction, labels, both), read_mask(truth, labels, both))
            )
        return made, _laid(truth, true, labels, made.grid)
    true = read_mask(truth, labels)
    made = read_mask(prediction, labels)
    return (_laid(prediction, made, labels, true.grid) if is_segmentation(prediction.path) else made), true


def _laid(mask: Mask, own: Volume, labels: Labels | None, grid: Grid) -> Volume:
    """A DICOM-SEG on the other's grid, or as it is: whoever compares the grids tells that they differ."""
    try:
        return read_mask(mask, labels, grid)
    except GridMismatch:
        return own


def _around(one: Grid, other: Grid) -> Grid | None:
    """The smallest grid that holds two cut out of one; none if they were not."""
    if one.ndim != other.ndim:
        return None
    turned = other.reoriented(one.axcodes).target
    places = one.to_index(turned.corners())
    whole = np.rint(places)
    if np.abs(places - whole).max() > SAME_GRID or (np.ptp(whole, axis=0) + 1 != turned.shape).any():
        return None
    low = np.minimum(whole.min(axis=0), 0)
    high = np.maximum(whole.max(axis=0) + 1, one.shape)
    affine = one.affine.copy()
    affine[:-1, -1] = one.to_world(low)
    return Grid(tuple((high - low).astype(int)), affine)
