"""Dice together with the energy."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from volseg.errors import UsageError
from volseg.losses.energy import EnergyLoss, Normalise
from volseg.losses.overlap import DiceLoss


class DiceEnergyLoss(nn.Module):
    """A weighted sum of :class:`DiceLoss` and :class:`EnergyLoss`.

    The energy uses the voxel weights as they are, Dice only whether they are above 0.

    Args:
        dice: the factor of the Dice loss.
        energy: the factor of the energy.
        class_weights: as in :class:`EnergyLoss`, for the energy alone.
        ignore, normalise, include_background, batch, smooth, sigmoid, regions: as in the two losses.

    >>> import torch
    >>> logits, target = torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.long)
    >>> round(DiceEnergyLoss(energy=0.0)(logits, target).item(), 4)
    0.6667
    """

    def __init__(
        self,
        dice: float = 1.0,
        energy: float = 1.0,
        *,
        class_weights: Sequence[float] | None = None,
        ignore: int | None = None,
        normalise: Normalise = "weights",
        include_background: bool = True,
        batch: bool = False,
        smooth: float = 1e-5,
        sigmoid: bool = False,
        regions: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        if not (0 <= dice < float("inf") and 0 <= energy < float("inf") and dice + energy > 0):
            raise UsageError("the factors of Dice and energy must be at least 0, and one of them above")
        self.factors = (float(dice), float(energy))
        self.dice = DiceLoss(
            include_background=include_background,
            batch=batch,
            smooth=smooth,
            ignore=ignore,
            sigmoid=sigmoid,
            regions=regions,
        )
        self.energy = EnergyLoss(class_weights, ignore=ignore, normalise=normalise, sigmoid=sigmoid, regions=regions)

    def forward(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The sum for logits [B, C, *S], a target [B, 1, *S] and voxel weights [B, 1, *S]."""
        dice, energy = self.factors
        total: Tensor = dice * self.dice(logits, target, weight) + energy * self.energy(logits, target, weight)
        return total
