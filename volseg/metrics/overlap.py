"""Overlap of two masks: Dice, intersection over union, precision, recall, from exact voxel counts.

Counted in integers: MONAI's counts in float32 are no longer exact beyond 16.7 million voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from volseg.labels import Labels
from volseg.metrics.empty import DEFAULT, EmptyPolicy
from volseg.metrics.masks import pair, require_same_shape

# voxels counted at a time: bincount wants 8 bytes for each
_CHUNK = 1 << 21


@dataclass(frozen=True)
class Overlap:
    """How many voxels two masks share, and how many each has alone.

    >>> Overlap(both=6, prediction_only=2, truth_only=4).dice
    0.6666666666666666
    >>> Overlap(both=0, prediction_only=0, truth_only=0).dice
    nan
    """

    both: int
    prediction_only: int
    truth_only: int
    policy: EmptyPolicy = DEFAULT

    @property
    def prediction(self) -> int:
        """Voxels of the prediction."""
        return self.both + self.prediction_only

    @property
    def truth(self) -> int:
        """Voxels of the truth."""
        return self.both + self.truth_only

    @property
    def dice(self) -> float:
        """2TP / (2TP + FP + FN)."""
        return self._share(2 * self.both, self.prediction + self.truth)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN), the Jaccard index."""
        return self._share(self.both, self.prediction + self.truth_only)

    @property
    def precision(self) -> float:
        """The share of the prediction that is true; 0 where there is no prediction for a structure."""
        return self._share(self.both, self.prediction)

    @property
    def recall(self) -> float:
        """The share of the truth that is predicted; 0 where there is a prediction for no structure."""
        return self._share(self.both, self.truth)

    def _share(self, part: int, whole: int) -> float:
        if self.prediction + self.truth == 0:
            return self.policy.nothing(1.0)
        return part / whole if whole else 0.0


def count_overlap(
    prediction: npt.ArrayLike,
    truth: npt.ArrayLike,
    *,
    valid: npt.ArrayLike | None = None,
    policy: EmptyPolicy = DEFAULT,
) -> Overlap:
    """The overlap of two boolean masks, over the valid voxels.

    >>> count_overlap(np.array([True, True, False]), np.array([False, True, True])).iou
    0.3333333333333333
    """
    first, second = pair(prediction, truth, valid)
    both = int(np.count_nonzero(first & second))
    sizes = int(np.count_nonzero(first)), int(np.count_nonzero(second))
    return Overlap(both, sizes[0] - both, sizes[1] - both, policy)


def count_overlaps(
    prediction: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer],
    labels: Labels,
    *,
    policy: EmptyPolicy = DEFAULT,
    where: object = None,
) -> dict[str, Overlap]:
    """The overlap of every structure and region of two label images, counted in one pass.

    Voxels whose truth is the ignore value do not count. A value that was not declared is an error.

    >>> found = count_overlaps(np.array([1, 1, 2, 0]), np.array([1, 2, 2, 0]), Labels.of({"a": 1, "b": 2}))
    >>> found["a"].dice, found["b"].iou
    (0.6666666666666666, 0.5)
    """
    require_same_shape(prediction, truth)
    values = [0, *labels.values] + ([] if labels.ignore is None else [labels.ignore])
    table = confusion(prediction, truth, values, labels, where)
    if labels.ignore is not None:
        table[:, -1] = 0
    found = {}
    for name in (*labels.names, *labels.regions):
        inside = np.isin(values, [labels[part].value for part in labels.regions.get(name, (name,))])
        both = int(table[np.ix_(inside, inside)].sum())
        found[name] = Overlap(both, int(table[inside].sum()) - both, int(table[:, inside].sum()) - both, policy)
    return found


def confusion(
    prediction: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer],
    values: list[int],
    labels: Labels,
    where: object = None,
) -> npt.NDArray[np.int64]:
    """How many voxels have each pair of values: rows are the prediction's, columns the truth's."""
    order = np.argsort(values)
    ranked = np.asarray(values)[order]
    count = len(values)
    table = np.zeros(count * count, dtype=np.int64)
    flat = prediction.reshape(-1), truth.reshape(-1)
    for start in range(0, flat[0].size, _CHUNK):
        places = []
        for part in (array[start : start + _CHUNK] for array in flat):
            rank = np.searchsorted(ranked, part).clip(max=count - 1)
            if (ranked[rank] != part).any():
                labels.check(np.unique(part).tolist(), where=where)
            places.append(order[rank])
        table += np.bincount(places[0] * count + places[1], minlength=count * count)
    return table.reshape(count, count)
