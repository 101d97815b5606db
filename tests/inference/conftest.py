"""Networks and volumes for the tests of inference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from volseg.networks.unet import UNet


class ConvolutionSizes(TorchDispatchMode):
    """Writes down the spatial size of every convolution's input, whoever calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "conv" in str(func):
            x, weight = args[:2]
            self.sizes.append((int(weight.shape[0]), tuple(x.shape[2:])))
        return func(*args, **(kwargs or {}))


@pytest.fixture
def convolution_sizes() -> Callable[[], ConvolutionSizes]:
    return ConvolutionSizes


@pytest.fixture(autouse=True)
def _repeatable() -> Iterator[None]:
    torch.manual_seed(0)
    return


@pytest.fixture
def unet() -> Callable[..., UNet]:
    """A U-Net in evaluation mode whose batch norms have statistics and scales as after training."""

    def make(dims: int, in_channels: int = 1, classes: int = 3, **settings: Any) -> UNet:
        network = UNet(dims, in_channels, classes, **{"channels": (4, 8, 16), **settings})
        for module in network.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
                nn.init.uniform_(module.running_var, 0.5, 2)
                nn.init.normal_(module.running_mean, std=0.3)
                nn.init.uniform_(module.weight, 0.7, 1.4)
                nn.init.normal_(module.bias, std=0.2)
        return network.eval()

    return make


@pytest.fixture
def one_pass() -> Callable[[UNet, Tensor], Tensor]:
    """The reference: mirrored up to a valid size (by numpy), one call, cropped; channels last as inference has it."""

    def run(network: UNet, x: Tensor) -> Tensor:
        import numpy as np

        spatial = x.shape[2:]
        size, lost = network.shape.input_size(spatial), network.shape.lost
        width = [(m, wanted - n - m) for n, wanted, m in zip(spatial, size, lost, strict=True)]
        padded = torch.from_numpy(np.pad(x.numpy(), [(0, 0), (0, 0), *width], mode="reflect"))
        layout = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.ndim, torch.contiguous_format)
        with torch.inference_mode():
            y = network.to(memory_format=layout)(padded.contiguous(memory_format=layout))
        assert isinstance(y, Tensor)
        return y[(slice(None), slice(None), *(slice(0, n) for n in spatial))]

    return run
