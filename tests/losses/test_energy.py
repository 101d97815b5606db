"""The weighted energy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from volseg.losses import EnergyLoss


def by_hand(logits, target, weight, class_weights=None):
    """The paper's sum and the sum of weights, voxel by voxel, in Python's own arithmetic."""
    total = amount = 0.0
    for place in np.ndindex(*(target.shape[:1] + target.shape[2:])):
        sample, where = place[0], place[1:]
        scores = [float(logits[(sample, c, *where)]) for c in range(logits.shape[1])]
        label = int(target[(sample, 0, *where)])
        w = float(weight[(sample, 0, *where)]) * (class_weights[label] if class_weights else 1.0)
        highest = max(scores)
        log_sum = highest + math.log(math.fsum(math.exp(s - highest) for s in scores))
        total -= w * (scores[label] - log_sum)
        amount += w
    return total, amount


@pytest.mark.parametrize("shape", [(5, 7), (3, 4, 2)])
@pytest.mark.parametrize("class_weights", [None, [0.2, 1.0, 5.0]])
def test_by_hand(case, shape, class_weights):
    """The energy is the paper's formula, in 2-D and 3-D, with every way to normalise it."""
    logits, target, weight = case(shape)
    total, amount = by_hand(logits, target, weight, class_weights)
    labelled = int((weight > 0).sum())
    for normalise, expected in (("sum", total), ("weights", total / amount), ("voxels", total / labelled)):
        loss = EnergyLoss(class_weights, normalise=normalise)(logits, target, weight)
        assert loss.item() == pytest.approx(expected, rel=1e-6)  # class weights are kept in float32


def test_torch_cross_entropy(case):
    """Without voxel weights it is torch's cross-entropy, class weights and ignored voxels included."""
    logits, target, _ = case(classes=4)
    factors = [1.0, 0.5, 2.0, 3.0]
    peer = torch.nn.CrossEntropyLoss(torch.tensor(factors, dtype=torch.float64), ignore_index=3)
    torch.testing.assert_close(EnergyLoss(factors, ignore=3)(logits, target), peer(logits, target[:, 0]))


def test_torch_binary_cross_entropy(case):
    """With independent channels it is torch's binary cross-entropy, also for soft targets."""
    logits, _, weight = case()
    target = torch.rand_like(logits)
    peer = torch.nn.BCEWithLogitsLoss()
    torch.testing.assert_close(EnergyLoss(sigmoid=True)(logits, target), peer(logits, target))
    weighted = torch.nn.BCEWithLogitsLoss(weight=weight, reduction="sum")(logits, target) / (3 * weight.sum())
    torch.testing.assert_close(EnergyLoss(sigmoid=True)(logits, target, weight), weighted)


def test_regions_overlap(case):
    """Regions of label values are their channels: a voxel of the inner structure is in the outer one too."""
    logits, target, weight = case()
    channels = torch.cat([(target > 0), (target == 2), (target == 1)], dim=1)
    regions = EnergyLoss(regions=[[1, 2], [2], [1]])(logits, target, weight)
    torch.testing.assert_close(regions, EnergyLoss(sigmoid=True)(logits, channels, weight))


def test_ignored_in_any_channel(case):
    """In a target of channels a voxel that is ignored in one of them carries no truth in any."""
    logits, target, _ = case()
    channels = torch.cat([(target > 0), (target == 2), (target == 1)], dim=1).to(torch.uint8)
    hidden = torch.zeros_like(target, dtype=torch.bool)
    hidden[:, :, 1:3] = True
    marked = channels.clone()
    marked[:, 1:2][hidden] = 255
    expected = EnergyLoss(sigmoid=True)(logits, channels, (~hidden).double())
    torch.testing.assert_close(EnergyLoss(sigmoid=True, ignore=255)(logits, marked), expected)


def test_scale_of_the_weight_map(case):
    """Doubling all weights doubles the sum and the mean over voxels, and leaves the weighted mean."""
    logits, target, weight = case()
    for normalise, factor in (("sum", 2), ("voxels", 2), ("weights", 1)):
        loss = EnergyLoss(normalise=normalise)
        torch.testing.assert_close(loss(logits, target, 2 * weight), factor * loss(logits, target, weight))


def test_class_weights_stay_out_of_the_state(case):
    """The class weights are settings: a checkpoint does not hold them, and they follow the module's device."""
    loss = EnergyLoss([1.0, 2.0, 3.0])
    assert not loss.state_dict()
    assert dict(loss.named_buffers()).keys() == {"class_weights"}


@pytest.mark.parametrize("sigmoid", [False, True])
def test_scribbles_train(sigmoid):
    """A tiny network learns discs from a few labelled pixels per image, the rest of weight 0."""
    torch.manual_seed(0)
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    discs = torch.stack([((rows - 8 - k) ** 2 + (columns - 10 - k) ** 2 < 36) for k in range(4)])[:, None]
    image = discs.float() + 0.2 * torch.randn(4, 1, 24, 24)
    scribbles = torch.zeros(4, 1, 24, 24)
    scribbles[:, :, 10, :] = scribbles[..., 12] = 1  # two lines across each image: 8 % of it
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 5, padding=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 1 if sigmoid else 2, 3, padding=1)
    )
    loss, optimiser = EnergyLoss(sigmoid=sigmoid), torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        loss(net(image), discs.long(), scribbles).backward()
        optimiser.step()
    logits = net(image).detach()
    found = logits > 0 if sigmoid else logits.argmax(1, keepdim=True).bool()
    unseen = scribbles == 0
    both = (found & discs & unseen).sum()
    assert 2 * both / ((found & unseen).sum() + (discs & unseen).sum()) > 0.9
