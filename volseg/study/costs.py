"""What a network costs before anything is trained: its parameters, and its operations on a patch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from volseg.engine import compose
from volseg.recipe import Recipe


@dataclass(frozen=True)
class Cost:
    """The size of a network.

    Attributes:
        parameters: numbers that are learnt.
        operations: floating-point operations of one pass over one training patch, multiplications and additions.
    """

    parameters: int
    operations: int


def cost(recipe: Recipe) -> Cost:
    """What a recipe's network costs; nothing is allocated and nothing is computed.

    >>> keys = {"labels.values": {"cell": 1}, "image.spatial_dims": 2, "training.patch": [32, 32]}
    >>> cost(Recipe.from_dict({**keys, "network.channels": [4, 8]})).parameters
    1714
    """
    with torch.device("meta"):
        network: nn.Module = compose.build(compose.network_part(recipe))
        patch = torch.empty(1, recipe.in_channels, *recipe.training.patch)
    network.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(patch)
    return Cost(sum(p.numel() for p in network.parameters()), int(counter.get_total_flops()))
