"""He's initialisation: the right spread in every layer, and what it is for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from volseg.networks import UNet
from volseg.networks.blocks import ConvBlock, activation_gain, he_initialise


def fans(network: nn.Module) -> dict[str, int]:
    """For each layer the incoming nodes of one neuron, counted by sending ones through it and reading the middle."""
    counted = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            ones = type(layer)(
                layer.in_channels, 1, layer.kernel_size, stride=layer.stride, padding=layer.padding, bias=False
            )
            nn.init.ones_(ones.weight)
            spatial = layer.weight.ndim - 2
            with torch.no_grad():
                out = ones(torch.ones(1, layer.in_channels, *(9,) * spatial))
            counted[name] = int(out[(0, 0, *(n // 2 for n in out.shape[2:]))])
    return counted


@pytest.mark.parametrize(
    "build",
    [
        lambda: UNet(2, 1, 2, channels=(16, 32, 64), kernel_sizes=[(1, 3), 3, 5], strides=[(1, 2), 2], padding="valid"),
        lambda: UNet(
            3, 2, 3, channels=((8, 16), (16, 32)), up_keeps_channels=True, residual=True, deep_supervision=True
        ),
        lambda: UNet(2, 1, 2, channels=(16, 32, 64), upsample="linear", norm=None),
    ],
)
def test_every_layer_starts_with_a_deviation_of_sqrt_2_over_n(build: Callable[[], UNet]) -> None:
    """The weights are Gaussian with standard deviation sqrt(2 / N), N the incoming nodes, and the biases are zero."""
    torch.manual_seed(1)
    network = build()
    layers = dict(network.named_modules())
    for name, fan in fans(network).items():
        weight, bias = layers[name].weight, layers[name].bias
        assert isinstance(weight, torch.Tensor)
        expected = math.sqrt(2 / fan)
        spread = expected / math.sqrt(2 * weight.numel())  # of a standard deviation estimated from so many
        assert abs(weight.square().mean().sqrt().item() - expected) < 5 * spread, name
        assert abs(weight.mean().item()) < 5 * expected / math.sqrt(weight.numel()), name
        assert isinstance(bias, torch.Tensor)
        assert not bias.any()


def test_the_whole_of_a_large_layer_is_gaussian() -> None:
    """A large layer's weights have the tails of a Gaussian: 31.7 % beyond one deviation, 0.27 % beyond three."""
    torch.manual_seed(2)
    weight = UNet(2, 1, 2, channels=(64, 128)).bottom.units[1].conv.weight / math.sqrt(2 / (128 * 9))
    assert (weight.abs() > 1).float().mean().item() == pytest.approx(0.3173, abs=0.01)
    assert (weight.abs() > 3).float().mean().item() == pytest.approx(0.0027, abs=0.001)


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu"])
def test_a_deep_stack_keeps_its_activations_variance(activation: Any) -> None:
    """Through twenty convolutions the activations' second moment stays within a factor of two."""
    torch.manual_seed(3)
    stack = ConvBlock(2, [96] * 21, (3, 3), padded=False, activation=activation)
    he_initialise(stack, activation)
    x = torch.randn(1, 96, 56, 56)
    moments = []
    with torch.no_grad():
        for unit in stack.units:
            x = unit(x)
            moments.append(x.square().mean().item())
    assert all(0.5 < moment / moments[0] < 2 for moment in moments)
    assert 0.5 < moments[-1] < 2


def test_gains_are_the_known_ones() -> None:
    """The gain is sqrt 2 for ReLU, sqrt(2 / (1 + a^2)) for a leaky one of slope a."""
    assert activation_gain("relu") == pytest.approx(math.sqrt(2), abs=1e-6)
    assert activation_gain("leaky_relu") == pytest.approx(math.sqrt(2 / (1 + 0.01**2)), abs=1e-6)


def test_it_follows_the_seed() -> None:
    """The same seed gives the same network."""

    def made(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return UNet(2, 1, 2, channels=(4, 8)).head.weight  # type: ignore[return-value]

    assert torch.equal(made(5), made(5))
    assert not torch.equal(made(5), made(6))
