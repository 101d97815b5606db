"""Losses of (logits [B, C, *S], target [B, 1, *S], voxel weights [B, 1, *S] or None)."""

from volseg.losses.compound import DiceEnergyLoss
from volseg.losses.deep_supervision import DeepSupervisionLoss
from volseg.losses.energy import EnergyLoss
from volseg.losses.overlap import DiceLoss, IoULoss

__all__ = ["DeepSupervisionLoss", "DiceEnergyLoss", "DiceLoss", "EnergyLoss", "IoULoss"]
