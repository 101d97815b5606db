"""One loss at several levels."""

from __future__ import annotations

import pytest
import torch

from volseg.errors import SizeError, UsageError
from volseg.losses import DeepSupervisionLoss, DiceEnergyLoss, EnergyLoss
from volseg.losses.deep_supervision import nearest
from volseg.networks import UNet


def test_weights_halve(case):
    """Each level counts half of the one before, and the weights sum to 1."""
    fine, target, weight = case((8, 4))
    coarse, coarsest = fine[..., ::2, ::2] + 1, fine[..., ::4, ::4] - 1
    loss = EnergyLoss()
    parts = [
        loss(x, target[..., s // 2 :: s, s // 2 :: s], weight[..., s // 2 :: s, s // 2 :: s])
        for x, s in ((fine, 1), (coarse, 2), (coarsest, 4))
    ]
    together = DeepSupervisionLoss(loss)([fine, coarse, coarsest], target, weight)
    torch.testing.assert_close(together, (4 * parts[0] + 2 * parts[1] + parts[2]) / 7)


def test_single_tensor(case):
    """A single output, as in evaluation, is the plain loss."""
    logits, target, weight = case()
    expected = EnergyLoss()(logits, target, weight)
    assert DeepSupervisionLoss(EnergyLoss())(logits, target, weight).item() == expected.item()


def test_unpadded_levels(case):
    """With strides each level meets the centre of the target that it covers, whatever margin it lost."""
    fine, _, _ = case((4, 4))
    coarse, target, weight = case((6, 6))[0], *case((20, 20), seed=1)[1:]
    loss = EnergyLoss()
    together = DeepSupervisionLoss(loss, strides=[1, (2, 2)], weights=[1, 3])([fine, coarse], target, weight)
    centre, wider = slice(8, 12), slice(4 + 1, 16, 2)  # 12 of 20 pixels, every second one
    parts = [loss(x, target[..., s, s], weight[..., s, s]) for x, s in ((fine, centre), (coarse, wider))]
    torch.testing.assert_close(together, (parts[0] + 3 * parts[1]) / 4)


def test_strides_wanted(case):
    """Levels of an unpadded network without strides are refused: their fields of view are unknown."""
    logits, _, _ = case((4, 4))
    target = torch.zeros(2, 1, 8, 8, dtype=torch.long)
    with pytest.raises(UsageError, match="needs the strides"):
        DeepSupervisionLoss(EnergyLoss())([logits, logits[..., ::2, ::2]], target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1.0]}, "weights for 1 levels"),
        ({"weights": [0.0, 0.0, 1.0]}, "are all 0"),
        ({"strides": [1]}, "strides for 1 levels"),
        ({"strides": [1, (2, 2, 2)]}, "3 strides for 2 axes"),
    ],
)
def test_mistakes(case, options, message):
    """Settings that do not fit the network's outputs are named."""
    logits, target, _ = case((4, 4))
    with pytest.raises(UsageError, match=message):
        DeepSupervisionLoss(EnergyLoss(), **options)([logits, logits[..., ::2, ::2]], target)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float16, torch.bool])
def test_nearest_keeps_values(dtype):
    """Nearest sampling works for every type and is torch's nearest-exact."""
    tensor = torch.randint(0, 9, (2, 1, 7, 12)).to(dtype)
    peer = torch.nn.functional.interpolate(tensor.double(), size=(3, 4), mode="nearest-exact")
    assert torch.equal(nearest(tensor, (3, 4)).double(), peer)
    with pytest.raises(SizeError, match="finer than its target"):
        nearest(tensor, (8, 4))


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_network(padding):
    """The outputs of a network, padded or not, meet a target of its input's size, and every level learns."""
    torch.manual_seed(0)
    net = UNet(2, 1, 2, channels=(2, 4, 4, 8), padding=padding, deep_supervision=True, norm=None)
    size = tuple(axis.next_valid(100) for axis in net.shape.axes)
    image = torch.rand(1, 1, *size)
    target = (image > 0.5).long()
    loss = DeepSupervisionLoss(DiceEnergyLoss(), strides=[1, 2, 4] if padding == "valid" else None)
    loss(net(image), target).backward()
    assert all(p.grad is not None and p.grad.any() for p in net.parameters() if p.ndim > 1)
