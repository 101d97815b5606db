"""The optimiser of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from volseg.errors import UsageError


def optimiser(
    network: nn.Module,
    kind: str = "adamw",
    lr: float = 1e-3,
    weight_decay: float = 3e-5,
    *,
    momentum: float = 0.99,
    nesterov: bool = True,
    betas: Sequence[float] = (0.9, 0.999),
) -> Optimizer:
    """SGD, Adam or AdamW over all weights.

    Weight decay spares biases and the scales of norms: they have nothing that could overfit, and pulling a scale
    towards 0 only moves the learning rate.

    >>> made = optimiser(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), weight_decay=0.1)
    >>> [(len(group["params"]), group["weight_decay"]) for group in made.param_groups]
    [(1, 0.1), (3, 0.0)]
    """
    weights = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    # one kernel for all weights instead of ten per tensor
    fused = all(p.device.type in ("cpu", "cuda") and p.dtype == torch.float32 for p in weights)
    if kind == "sgd":
        return SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0, fused=fused)
    pair = (float(betas[0]), float(betas[1]))
    if kind == "adam":
        return Adam(groups, lr=lr, betas=pair, fused=fused)
    if kind == "adamw":
        return AdamW(groups, lr=lr, betas=pair, fused=fused)
    raise UsageError(f"no optimiser is called {kind!r}", mend="sgd, adam or adamw")
