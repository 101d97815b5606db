"""Phantoms can be learned: where a threshold fails a small network does not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from volseg.data.phantom import Phantom, cells
from volseg.networks import UNet

_STEPS = 120


@pytest.mark.slow
def test_a_small_network_learns_cells() -> None:
    """A U-Net of three narrow levels finds the cells of unseen images with a mean Dice above 0.9."""
    torch.manual_seed(0)
    choose = np.random.default_rng(0)
    images, truths = _batch([cells(1, case, size=96, count=9) for case in range(24)])
    network = UNet(2, 1, 2, channels=(16, 32, 64))
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0.02, _STEPS)
    for _ in range(_STEPS):
        picked = torch.from_numpy(choose.choice(len(images), 8, replace=False))
        loss = torch.nn.functional.cross_entropy(network(images[picked]), truths[picked])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    unseen, expected = _batch([cells(1, case, size=96, count=9) for case in range(100, 108)])
    with torch.no_grad():
        found = network.eval()(unseen).argmax(1)
    shared = (found * expected).sum((1, 2))
    dice = 2 * shared / (found.sum((1, 2)) + expected.sum((1, 2)))
    assert float(dice.mean()) > 0.9


def _batch(phantoms: Sequence[Phantom]) -> tuple[torch.Tensor, torch.Tensor]:
    images = np.stack([p.image for p in phantoms]).astype(np.float32)
    images = (images - images.mean((1, 2), keepdims=True)) / images.std((1, 2), keepdims=True)
    truths = np.stack([p.label > 0 for p in phantoms]).astype(np.int64)
    return torch.from_numpy(images)[:, None], torch.from_numpy(truths)
