"""Logits, targets and weights to measure losses on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

Case = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@pytest.fixture
def case() -> Callable[..., Case]:
    """Random logits, classes and voxel weights (a third of them 0), from a seed."""

    def make(shape: tuple[int, ...] = (5, 7), classes: int = 3, batch: int = 2, seed: int = 0) -> Case:
        random = torch.Generator().manual_seed(seed)
        logits = 3 * torch.randn(batch, classes, *shape, generator=random, dtype=torch.float64)
        target = torch.randint(classes, (batch, 1, *shape), generator=random)
        weight = torch.rand(batch, 1, *shape, generator=random, dtype=torch.float64) * 11
        weight[torch.rand(weight.shape, generator=random) < 1 / 3] = 0
        return logits, target, weight

    return make
