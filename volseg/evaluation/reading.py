"""Masks of a pair as volumes on one grid, where they lie on one; a DICOM-SEG leaves out the slices that are empty."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from volseg.errors import GridMismatch
from volseg.evaluation.masks import Mask
from volseg.geometry import SAME_GRID, Grid
from volseg.io import PLAUSIBLE_SPACING, Volume, read_labels
from volseg.io.dicom.files import is_segmentation
from volseg.io.reading import options_of_labels
from volseg.io.voxel_check import present
from volseg.labels import Labels


def read_mask(
    mask: Mask,
    labels: Labels | None,
    grid: Grid | None = None,
    *,
    by_name: bool = True,
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING,
    reading: Mapping[str, Any] | None = None,
) -> Volume:
    """A mask; one in DICOM-SEG on ``grid`` or, without, on the smallest grid that holds its segments.

    With ``labels`` segments get the values of the labels with their names. Without, or not ``by_name`` because nobody
    named the labels, they keep their numbers. ``reading`` is what a header is to be taken for, options of
    :func:`volseg.io.read_volume`.

    Raises:
        GridMismatch: if a DICOM-SEG does not lie on ``grid``.
    """
    if not is_segmentation(mask.path):
        placed = options_of_labels(reading or {})
        return read_labels(mask.path, labels, frame=mask.frame, spacing_range=spacing_range, **placed)
    from volseg.io.dicom_seg import read_dicom_seg

    volume = read_dicom_seg(mask.path, grid=grid, labels=labels if by_name else None)[0]
    if labels is not None and not by_name:
        labels.check(present(volume.array), where=mask.path)
    return volume


def read_masks(
    prediction: Mask,
    truth: Mask,
    labels: Labels | None,
    *,
    by_name: bool = True,
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING,
    reading: Mapping[str, Any] | None = None,
) -> tuple[Volume, Volume]:
    """Both masks of a pair; a DICOM-SEG is laid on the grid of the other where it lies in it."""
    read = partial(read_mask, labels=labels, by_name=by_name, spacing_range=spacing_range)
    made, true = read(prediction), read(truth, reading=reading)
    segmented = is_segmentation(prediction.path), is_segmentation(truth.path)
    try:
        if all(segmented):
            both = _around(made.grid, true.grid)
            return (made, true) if both is None else (read(prediction, grid=both), read(truth, grid=both))
        if segmented[0]:
            made = read(prediction, grid=true.grid)
        elif segmented[1]:
            true = read(truth, grid=made.grid)
    except GridMismatch:
        pass  # whoever compares the two grids tells that they differ
    return made, true


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
