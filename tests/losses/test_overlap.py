"""Soft Dice and intersection over union."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceCELoss
from monai.losses import DiceLoss as MonaiDice

from volseg.losses import DiceEnergyLoss, DiceLoss, IoULoss


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("include_background", [False, True])
@pytest.mark.parametrize(("ours", "jaccard"), [(DiceLoss, False), (IoULoss, True)])
def test_monai(case, ours, jaccard, include_background, batch):
    """Where every voxel is labelled, Dice and IoU are MONAI's."""
    logits, target, _ = case((3, 4, 5))
    options = {"include_background": include_background, "batch": batch}
    peer = MonaiDice(softmax=True, to_onehot_y=True, jaccard=jaccard, **options)
    torch.testing.assert_close(ours(**options)(logits, target), peer(logits, target))


def test_monai_sigmoid(case):
    """Independent channels as well."""
    logits, _, _ = case()
    channels = (torch.rand_like(logits) < 0.4).double()
    torch.testing.assert_close(DiceLoss(sigmoid=True)(logits, channels), MonaiDice(sigmoid=True)(logits, channels))


def test_monai_dice_with_cross_entropy(case):
    """Dice and energy together are MONAI's DiceCELoss where every voxel weighs the same."""
    logits, target, _ = case()
    peer = DiceCELoss(softmax=True, to_onehot_y=True, lambda_dice=0.4, lambda_ce=1.5)
    torch.testing.assert_close(DiceEnergyLoss(0.4, 1.5)(logits, target), peer(logits, target))


def test_masked_is_cut_away(case):
    """Leaving voxels out is the same as never having had them."""
    logits, target, _ = case((6, 8))
    weight = torch.zeros(2, 1, 6, 8)
    weight[..., :5] = 3.0
    cut = DiceLoss()(logits[..., :5], target[..., :5])
    torch.testing.assert_close(DiceLoss()(logits, target, weight), cut)


def test_perfect_and_opposite():
    """Sure and right is 0, sure and wrong is 1."""
    target = torch.tensor([[[0, 0, 1, 1]]])
    logits = torch.nn.functional.one_hot(target[:, 0]).movedim(-1, 1) * 100.0
    for loss in (DiceLoss(), IoULoss()):
        assert loss(logits, target).item() == pytest.approx(0, abs=1e-6)
        assert loss(-logits, target).item() == pytest.approx(1, abs=1e-4)


def test_by_hand():
    """Probabilities 0.8, 0.4 and 0.1 for a truth of 1, 1 and 0: intersection 1.2, sizes 1.3 and 2."""
    logits = torch.logit(torch.tensor([[[0.8, 0.4, 0.1]]], dtype=torch.float64))
    target = torch.tensor([[[1, 1, 0]]])
    tiny = {"sigmoid": True, "smooth": 1e-12}
    assert DiceLoss(**tiny)(logits, target).item() == pytest.approx(1 - 2.4 / 3.3)
    assert IoULoss(**tiny)(logits, target).item() == pytest.approx(1 - 1.2 / 2.1)


def test_dice_sees_no_emphasis(case):
    """Dice takes a voxel weight as labelled or not, however large it is; the energy takes it in full."""
    logits, target, weight = case()
    mask = (weight > 0).double()
    assert DiceLoss()(logits, target, weight).item() == DiceLoss()(logits, target, mask).item()
    assert DiceEnergyLoss()(logits, target, weight).item() != DiceEnergyLoss()(logits, target, mask).item()
