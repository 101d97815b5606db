"""Instances against instances: the cell tracking challenge's SEG and average precision at IoU thresholds.

Everything follows from one sparse table of which objects share how many voxels; no object is ever looked at over the
whole image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from volseg.errors import UsageError
from volseg.labels import smallest_unsigned
from volseg.metrics.masks import require_same_shape

Counts = npt.NDArray[np.int64]
LabelImage = npt.NDArray[np.integer]

# 0.50, 0.55, … 0.90: quotients of integers, so that 0.6 is 3/5 and not a sum's 0.6000000000000001
THRESHOLDS = tuple(k / 20 for k in range(10, 19))

# dense counting of pairs up to this many cells (32 MB), sorting beyond
_DENSE = 1 << 22


@dataclass(frozen=True, eq=False)
class OverlapTable:
    """The objects of two label images and how many voxels each touching pair shares."""

    truth_ids: Counts
    prediction_ids: Counts
    truth_sizes: Counts
    prediction_sizes: Counts
    #: of each touching pair: the place in ``truth_ids``, the place in ``prediction_ids``, the shared voxels
    truth_index: Counts
    prediction_index: Counts
    shared: Counts

    @property
    def iou(self) -> npt.NDArray[np.float64]:
        """Intersection over union of each touching pair."""
        union = self.truth_sizes[self.truth_index] + self.prediction_sizes[self.prediction_index] - self.shared
        quotient: npt.NDArray[np.float64] = self.shared / union
        return quotient


@dataclass(frozen=True)
class Detection:
    """Objects found, invented and missed at one IoU threshold.

    >>> Detection(0.5, found=3, invented=1, missed=2).average_precision
    0.5
    """

    threshold: float
    found: int
    invented: int
    missed: int

    @property
    def average_precision(self) -> float:
        """TP / (TP + FP + FN), as the nuclei challenges call it; NaN where there are no objects at all."""
        whole = self.found + self.invented + self.missed
        return self.found / whole if whole else float("nan")

    @property
    def f1(self) -> float:
        """2TP / (2TP + FP + FN)."""
        whole = 2 * self.found + self.invented + self.missed
        return 2 * self.found / whole if whole else float("nan")


def relabel(labels: LabelImage) -> npt.NDArray[np.unsignedinteger]:
    """The same objects numbered 1, 2, 3, … in the order of their old numbers, in the smallest type that holds them.

    >>> relabel(np.array([0, 900, 7, 7]))
    array([0, 2, 1, 1], dtype=uint8)
    """
    ids, places = _ranked(labels)
    return places.astype(smallest_unsigned(len(ids)))


def overlap_table(truth: LabelImage, prediction: LabelImage, *, ignore: int | None = None) -> OverlapTable:
    """Which objects share how many voxels.

    Voxels of value 0 belong to no object; voxels whose truth is ``ignore`` do not count.
    """
    require_same_shape(prediction, truth)
    if ignore is not None:
        kept = truth != ignore
        truth, prediction = truth[kept], prediction[kept]
    truth_ids, t = _ranked(truth)
    prediction_ids, p = _ranked(prediction)
    rows, columns = len(truth_ids) + 1, len(prediction_ids) + 1
    codes = t.reshape(-1) * np.int64(columns) + p.reshape(-1)
    if rows * columns <= _DENSE:
        dense = np.bincount(codes, minlength=rows * columns)
        pairs = np.flatnonzero(dense)
        shared = dense[pairs]
    else:
        pairs, shared = np.unique(codes, return_counts=True)
    row, column = np.divmod(pairs, columns)
    truth_sizes, prediction_sizes = (
        np.bincount(index, weights=shared, minlength=count).astype(np.int64)[1:]
        for index, count in ((row, rows), (column, columns))
    )
    inside = (row > 0) & (column > 0)
    return OverlapTable(
        truth_ids=truth_ids,
        prediction_ids=prediction_ids,
        truth_sizes=truth_sizes,
        prediction_sizes=prediction_sizes,
        truth_index=row[inside] - 1,
        prediction_index=column[inside] - 1,
        shared=shared[inside].astype(np.int64),
    )


def seg_score(truth: LabelImage, prediction: LabelImage, *, ignore: int | None = None) -> float:
    """SEG of the cell tracking challenge, in 2-D or 3-D.

    For every true object the Jaccard index with the predicted object that covers more than half of it, 0 where none
    does; the mean over the true objects. Invented objects cost nothing; NaN where there is no true object.

    >>> seg_score(np.array([1, 1, 1, 2, 2]), np.array([4, 4, 0, 0, 5]))  # 2/3, and just half is not enough
    0.3333333333333333
    """
    table = overlap_table(truth, prediction, ignore=ignore)
    if not len(table.truth_ids):
        return float("nan")
    covered = 2 * table.shared > table.truth_sizes[table.truth_index]
    return float(table.iou[covered].sum() / len(table.truth_ids))


def match(table: OverlapTable, threshold: float = 0.5) -> npt.NDArray[np.int64]:
    """The matched pairs, one row (true object's number, predicted object's number) each.

    Objects match when their IoU is above the threshold; from 0.5 on, no object can match twice.
    """
    if not 0.5 <= threshold < 1:
        raise UsageError(f"matching is unique for thresholds from 0.5 up to below 1, not {threshold}")
    chosen = table.iou > threshold
    pairs = [table.truth_ids[table.truth_index[chosen]], table.prediction_ids[table.prediction_index[chosen]]]
    return np.stack(pairs, axis=1)


def detections(
    truth: LabelImage, prediction: LabelImage, thresholds: Sequence[float] = THRESHOLDS, *, ignore: int | None = None
) -> tuple[Detection, ...]:
    """Objects found, invented and missed at each IoU threshold."""
    table = overlap_table(truth, prediction, ignore=ignore)
    objects, guesses = len(table.truth_ids), len(table.prediction_ids)
    found = [(threshold, len(match(table, threshold))) for threshold in thresholds]
    return tuple(Detection(threshold, n, guesses - n, objects - n) for threshold, n in found)


def average_precision(
    truth: LabelImage, prediction: LabelImage, thresholds: Sequence[float] = THRESHOLDS, *, ignore: int | None = None
) -> float:
    """The mean over the thresholds of :attr:`Detection.average_precision`; NaN where there are no objects at all.

    >>> average_precision(np.array([1, 1, 1, 1, 0]), np.array([1, 1, 1, 0, 0]))  # IoU 0.75: above 5 of 9 thresholds
    0.5555555555555556
    """
    return float(np.mean([d.average_precision for d in detections(truth, prediction, thresholds, ignore=ignore)]))


def _ranked(labels: LabelImage) -> tuple[Counts, Counts]:
    """The numbers of the objects, ascending, and for each voxel its object's place among them from 1 on, 0 for none."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise UsageError(f"a label image is of an integer type, not {labels.dtype}")
    if labels.size and labels.min() < 0:
        raise UsageError("a label image has no negative numbers", mend="name the value to ignore")
    largest = int(labels.max(initial=0))
    if largest > max(_DENSE, labels.size):
        ids, places = np.unique(labels, return_inverse=True)
        start = 0 if ids[0] == 0 else 1
        return ids[ids > 0].astype(np.int64), places.reshape(labels.shape).astype(np.int64) + start
    present = np.bincount(labels.reshape(-1), minlength=largest + 1) > 0
    present[0] = False
    return np.flatnonzero(present), np.where(present, np.cumsum(present), 0)[labels]
