"""Soft overlap losses: Dice and intersection over union, with voxels left out where there is no truth.

The formulas are MONAI's (``DiceLoss``, also with ``jaccard=True``), and agree with it wherever every voxel is labelled.
MONAI's takes no mask per voxel, which sparse annotation needs, and averages samples without any truth as if perfect.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from volseg.errors import UsageError
from volseg.losses.truth import Reading, Truth, accumulating


class DiceLoss(nn.Module):
    """One minus the soft Dice coefficient, mean over channels and samples.

    A voxel weight says only whether a voxel is labelled (above 0) or not: overlap has no use for a border's emphasis.
    Computed in float32 or wider. Where nothing is labelled, loss and gradient are 0.

    Args:
        include_background: whether channel 0 counts (it never leaves with ``sigmoid``, where there is no background).
        batch: sum over the batch before dividing, steadier where structures are missing from many tiles.
        smooth: added above and below the fraction; an absent and unpredicted class has loss 0.
        ignore: the target value that carries no truth.
        sigmoid: independent channels and a target of one 0/1 channel each.
        regions: the label values that make up each channel; implies ``sigmoid`` and an integer target.

    >>> logits = torch.tensor([[[9.0, -9.0], [-9.0, 9.0]]])
    >>> round(DiceLoss()(logits, torch.tensor([[[0, 1]]])).item(), 3)
    0.0
    """

    jaccard = False

    def __init__(
        self,
        *,
        include_background: bool = True,
        batch: bool = False,
        smooth: float = 1e-5,
        ignore: int | None = None,
        sigmoid: bool = False,
        regions: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        if not 0 < smooth < float("inf"):
            raise UsageError(f"smooth must be above 0, not {smooth}")
        self.reading = Reading.of(ignore, sigmoid, regions)
        self.include_background = include_background
        self.batch = batch
        self.smooth = smooth

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The loss of logits [B, C, *S] against a target [B, 1, *S]; voxels of weight 0 are left out."""
        truth = self.reading.read(logits, target, weight)
        logits = logits.as_subclass(torch.Tensor).to(accumulating(logits.dtype))
        probabilities = logits.sigmoid() if self.reading.sigmoid else logits.softmax(dim=1)
        first = 0 if self.include_background or self.reading.sigmoid else 1
        return soft_overlap(probabilities, truth, first, jaccard=self.jaccard, batch=self.batch, smooth=self.smooth)


class IoULoss(DiceLoss):
    """One minus the soft intersection over union (Jaccard index); arguments as in :class:`DiceLoss`.

    >>> logits = torch.zeros(1, 2, 4)
    >>> round(IoULoss()(logits, torch.tensor([[[0, 0, 1, 1]]])).item(), 3)  # half of each: 1 of a union of 3
    0.667
    """

    jaccard = True


def soft_overlap(
    probabilities: Tensor, truth: Truth, first: int, *, jaccard: bool, batch: bool, smooth: float
) -> Tensor:
    """One minus the soft overlap of the channels from ``first`` on, mean over channels and labelled samples."""
    labelled = (truth.weight > 0).to(probabilities)
    channels = truth.channels(probabilities.shape[1], labelled)[:, first:]
    predicted = probabilities[:, first:]
    axes = list(range(2, probabilities.ndim))
    both = (predicted * channels).sum(axes)
    either = (predicted if truth.complete else predicted * labelled).sum(axes) + channels.sum(axes)
    seen = labelled.sum(axes) > 0  # [B, 1]
    if batch:
        both, either, seen = (x.sum(0, keepdim=True) for x in (both, either, seen))
    if jaccard:
        either = 2 * (either - both)
    per_channel = 1 - (2 * both + smooth) / (either + smooth)
    counted = (seen > 0).to(per_channel).expand_as(per_channel)
    return (per_channel * counted).sum() / counted.sum().clamp(min=1)
