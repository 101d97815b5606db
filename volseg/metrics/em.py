"""The errors of the electron microscopy segmentation challenge: pixel, Rand and warping error.

The foreground is the cells, connected across faces; the background is the membranes between them. Each error of a
probability map is the smallest over the thresholds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from volseg.errors import UsageError
from volseg.metrics.instances import LabelImage, overlap_table
from volseg.metrics.masks import Mask, pair
from volseg.metrics.topology import thin_background, warp

#: a mask of the cells, or a label image of them
Segmentation = Mask | LabelImage

THRESHOLDS = tuple(k / 10 for k in range(1, 10))


@dataclass(frozen=True)
class RandScore:
    """How two segmentations agree on which pairs of different pixels belong together."""

    #: pairs together in both, in the proposal, in the truth
    both: int
    proposal: int
    truth: int

    @property
    def merge_precision(self) -> float:
        """The share of the proposal's pairs that is true: low where cells were merged."""
        return self.both / self.proposal if self.proposal else float("nan")

    @property
    def split_recall(self) -> float:
        """The share of the true pairs that is in the proposal: low where cells were split."""
        return self.both / self.truth if self.truth else float("nan")

    @property
    def error(self) -> float:
        """One minus the F-score of both; NaN where neither has a pair.

        >>> RandScore(both=6, proposal=10, truth=6).error
        0.25
        """
        whole = self.proposal + self.truth
        return 1 - 2 * self.both / whole if whole else float("nan")


@dataclass(frozen=True)
class BestError:
    """The smallest error over the thresholds, and the first threshold that gives it."""

    error: float
    threshold: float


@dataclass(frozen=True)
class EmErrors:
    """The challenge's errors of a stack of sections, each at its own best threshold."""

    pixel: BestError
    rand: BestError
    rand_thin: BestError
    warping: BestError


def pixel_error(proposal: Mask, truth: Mask) -> float:
    """The fraction of pixels that differ.

    >>> pixel_error(np.array([True, True, False, False]), np.array([True, False, False, False]))
    0.25
    """
    first, second = pair(proposal, truth)
    return float((first != second).mean())


def rand_score(proposal: Segmentation, truth: Segmentation) -> RandScore:
    """The foreground-restricted Rand score of two segmentations.

    Boolean masks are split into their components, label images are taken as they are. Only pixels of the truth's
    foreground count. A proposal's background pixel belongs together with no other, as in the SNEMI challenge's script,
    so membranes that are too thick cost recall. With a proposal without background this is scikit-image's
    ``adapted_rand_error``.
    """
    table = overlap_table(_objects(truth), _objects(proposal))
    inside = np.bincount(table.prediction_index, weights=table.shared, minlength=len(table.prediction_ids))
    return RandScore(_pairs(table.shared), _pairs(inside.astype(np.int64)), _pairs(table.truth_sizes))


def rand_error(proposal: Segmentation, truth: Segmentation, *, thin: bool = False) -> float:
    """The Rand error: one minus the foreground-restricted Rand F-score.

    With ``thin`` the proposal's membranes are first thinned to lines of one pixel, keeping the cells apart, so that
    their thickness costs nothing.
    """
    if thin:
        if proposal.dtype != np.bool_:
            raise UsageError(f"thinning is for a boolean proposal, not {proposal.dtype}")
        proposal = thin_background(proposal.astype(bool, copy=False))
    return rand_score(proposal, truth).error


def warping_error(proposal: Mask, truth: Mask) -> float:
    """Topological disagreements per pixel: cells split, merged, lost or invented, however their borders wander.

    The truth is warped onto the proposal through simple points only (:func:`volseg.metrics.topology.warp`); the pixels
    that still differ, as a share of all.
    """
    first, second = pair(proposal, truth)
    return float((warp(second, first) != first).mean())


def em_errors(
    probabilities: Sequence[npt.NDArray[np.floating]],
    truths: Sequence[Segmentation],
    *,
    thresholds: Sequence[float] = THRESHOLDS,
) -> EmErrors:
    """The errors of a stack: for each threshold the mean over the sections, then the smallest.

    A section without a cell in its truth has no Rand error and is left out of that mean.

    Args:
        probabilities: for each section the probability of being inside a cell.
        truths: for each section the mask of the cells, or a label image of them with background in between.
        thresholds: a pixel is proposed as cell where its probability is above the threshold.
    """
    if not thresholds or not probabilities or len(probabilities) != len(truths):
        raise UsageError(
            f"{len(probabilities)} probability maps for {len(truths)} truths, {len(thresholds)} thresholds"
        )

    def mean(errors: Sequence[float]) -> float:
        known = [error for error in errors if not np.isnan(error)]
        return float(np.mean(known)) if known else float("nan")

    def best(measure: Callable[[Mask, Segmentation], float]) -> BestError:
        means = [
            mean([measure(p > threshold, truth) for p, truth in zip(probabilities, truths, strict=True)])
            for threshold in thresholds
        ]
        if np.isnan(means).all():  # no foreground at all, on either side
            return BestError(float("nan"), float("nan"))
        place = int(np.nanargmin(means))
        return BestError(means[place], thresholds[place])

    return EmErrors(
        pixel=best(lambda proposal, truth: pixel_error(proposal, truth > 0)),
        rand=best(rand_error),
        rand_thin=best(lambda proposal, truth: rand_error(proposal, truth, thin=True)),
        warping=best(lambda proposal, truth: warping_error(proposal, truth > 0)),
    )


def _objects(segmentation: Segmentation) -> LabelImage:
    if np.issubdtype(segmentation.dtype, np.integer):
        return segmentation.astype(np.int64, copy=False)
    if segmentation.dtype != np.bool_:
        raise UsageError(f"a segmentation is boolean or of an integer type, not {segmentation.dtype}")
    labelled: LabelImage = ndimage.label(segmentation)[0]
    return labelled


def _pairs(sizes: npt.NDArray[np.int64]) -> int:
    """How many ordered pairs of different members groups of these sizes have."""
    return int((sizes * (sizes - 1)).sum())
