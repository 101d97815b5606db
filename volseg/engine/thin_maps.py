"""Where PyTorch computes a gradient wrongly in bfloat16 on a CPU.

Measured with PyTorch 2.13 and its oneDNN: where a padded 3-D convolution meets a map with fewer planes along the first
axis than its kernel has, but more than one, the gradient of its weights is made of memory that nobody wrote: NaN,
infinity, or a number as wrong as it is large. The map that comes out and the gradient that goes on are right.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def thin_maps(network: nn.Module, shape: Sequence[int]) -> list[str]:
    """The convolutions that meet such a map when the network is given a batch of this shape.

    The network is left as it was.

    >>> network = nn.Sequential(nn.MaxPool3d(2), nn.Conv3d(1, 1, 3, padding=1))
    >>> thin_maps(network, (1, 1, 4, 8, 8)), thin_maps(network, (1, 1, 6, 8, 8))
    (['1'], [])
    """
    layers = {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Conv3d)}
    if not layers:
        return []
    found: list[str] = []

    def look(name: str, layer: nn.Conv3d, x: Tensor) -> None:
        padded = isinstance(layer.padding, str) or layer.padding[0] > 0
        if padded and 1 < x.shape[2] < layer.kernel_size[0]:
            found.append(name)

    hooks = [
        layer.register_forward_pre_hook(lambda layer, given, name=name: look(name, layer, given[0]))
        for name, layer in layers.items()
    ]
    was_training = network.training
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(*shape, device=next(network.parameters()).device))
    finally:
        network.train(was_training)
        for hook in hooks:
            hook.remove()
    return found
