"""The U-Net's energy: pixel-wise softmax and cross-entropy, weighted voxel by voxel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volseg.errors import UsageError
from volseg.losses.truth import Reading, Truth, accumulating

Normalise = Literal["weights", "voxels", "sum"]


class EnergyLoss(nn.Module):
    """The weighted energy, -sum of w(x) log p_l(x)(x), and how it is normalised.

    It is computed in float32 whatever the logits' type (float64 stays float64), so half-precision logits up to the
    end of their range give finite values and gradients. A voxel weight of 0 means unlabelled: a few scribbles are
    enough to train on. Where nothing at all is labelled, loss and gradient are 0.

    Args:
        class_weights: a factor per class (per channel with ``sigmoid``), on top of the voxel weights.
        ignore: the target value that carries no truth.
        normalise: ``weights`` divides by the sum of all weights, the weighted mean, as ``torch.nn.CrossEntropyLoss``
            does; a tile full of borders then counts as much as any other. ``voxels`` divides by the number of
            labelled voxels, so the weight map keeps its absolute scale. ``sum`` is the paper's energy itself.
        sigmoid: independent channels: binary cross-entropy against a target of one 0/1 channel each.
        regions: the label values that make up each channel; implies ``sigmoid`` and an integer target.

    >>> loss = EnergyLoss()
    >>> logits, target = torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.long)
    >>> round(loss(logits, target).item(), 4)  # log 2: two classes, told apart by nothing
    0.6931
    """

    class_weights: Tensor | None

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        *,
        ignore: int | None = None,
        normalise: Normalise = "weights",
        sigmoid: bool = False,
        regions: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        if normalise not in ("weights", "voxels", "sum"):
            raise UsageError(f"normalise is 'weights', 'voxels' or 'sum', not {normalise!r}")
        if class_weights is not None and not all(0 <= w < float("inf") for w in class_weights):
            raise UsageError("class weights must be finite and at least 0")
        self.reading = Reading.of(ignore, sigmoid, regions)
        self.normalise = normalise
        weights = None if class_weights is None else torch.tensor([float(w) for w in class_weights])
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The energy of logits [B, C, *S] against a target [B, 1, *S] and voxel weights [B, 1, *S].

        Target and weight may be larger than the logits, as they are for an unpadded network: their centre counts.
        """
        if self.class_weights is not None and len(self.class_weights) != logits.shape[1]:
            raise UsageError(f"{len(self.class_weights)} class weights for {logits.shape[1]} output channels")
        truth = self.reading.read(logits, target, weight)
        return energy(logits, truth, self.class_weights, self.normalise)


def energy(logits: Tensor, truth: Truth, class_weights: Tensor | None, normalise: Normalise) -> Tensor:
    """The energy of logits against a truth on the same grid."""
    logits = logits.as_subclass(torch.Tensor).to(accumulating(logits.dtype))
    if truth.classes is not None:
        terms = F.cross_entropy(logits, truth.classes, reduction="none").unsqueeze(1)
        factor = None if class_weights is None else class_weights.to(logits.dtype)[truth.classes].unsqueeze(1)
    else:
        assert truth.regions is not None
        terms = F.binary_cross_entropy_with_logits(logits, truth.regions.to(logits), reduction="none")
        spread = [1, -1, *[1] * (logits.ndim - 2)]
        factor = None if class_weights is None else class_weights.to(logits.dtype).view(spread)
    weight = truth.weight if factor is None else truth.weight * factor
    total = (terms * weight).sum()
    if normalise == "sum":
        return total
    counted = weight if normalise == "weights" else truth.weight > 0
    amount = counted.expand_as(terms).sum(dtype=logits.dtype)
    return total / torch.where(amount > 0, amount, 1)
