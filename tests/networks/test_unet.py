"""The U-Net: the papers' numbers, its structure, its errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from volseg.errors import SizeError, UsageError
from volseg.networks import UNet
from volseg.networks.blocks import centre_crop


def count(network: nn.Module, *, norms: bool = True) -> int:
    """The number of parameters, with or without those of normalisation."""
    return sum(p.numel() for name, p in network.named_parameters() if norms or ".norm." not in name)


def test_the_papers_2d_network_has_its_numbers() -> None:
    """31,030,658 parameters, 23 convolutional layers, 572x572 to 388x388."""
    with torch.device("meta"):
        network = UNet.paper_2d(in_channels=1, out_channels=2)
        out = network(torch.empty(1, 1, 572, 572))
    assert count(network) == 31_030_658
    assert sum(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in network.modules()) == 23
    assert isinstance(out, Tensor)
    assert out.shape == (1, 2, 388, 388)


def test_the_papers_3d_network_has_its_numbers() -> None:
    """19,069,955 parameters without those of batch norm, 132x132x116 to 44x44x28."""
    with torch.device("meta"):
        network = UNet.paper_3d(3, 3)
        out = network(torch.empty(1, 3, 132, 132, 116))
    assert count(network, norms=False) == 19_069_955
    assert isinstance(out, Tensor)
    assert out.shape == (1, 3, 44, 44, 28)


@pytest.mark.slow
def test_the_papers_2d_network_runs() -> None:
    """A real tile of 572x572 gives real logits of 388x388."""
    with torch.no_grad():
        out = UNet.paper_2d()(torch.rand(1, 1, 572, 572))
    assert isinstance(out, Tensor)
    assert out.shape == (1, 2, 388, 388)
    assert out.isfinite().all()


def test_the_slim_network_is_small() -> None:
    """The slim 3-D network has under half a million parameters and can be changed by keyword."""
    assert count(UNet.slim(3)) < 500_000
    assert UNet.slim(2, 1, 4, padding="valid").shape.padding == "valid"


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("upsample", ["transposed", "linear"])
def test_it_can_be_walked_level_by_level(padding: Any, upsample: Any) -> None:
    """Running the documented parts one by one gives what the network gives."""
    network = UNet(
        2, 1, 3, channels=(4, (6, 8), 8), strides=[(2, 3), 2], padding=padding, upsample=upsample, residual=True
    ).eval()
    shape = network.shape
    x = torch.rand(2, 1, *(axis.next_valid(40) for axis in shape.axes))
    sizes = shape.level_sizes(x.shape[2:])
    with torch.no_grad():
        expected = network(x)
        skips = []
        for level in range(shape.levels - 1):
            assert tuple(x.shape[2:]) == sizes[level].entering
            skips.append(network.encoder[level](x))
            assert tuple(skips[-1].shape[2:]) == sizes[level].skip
            x = network.pools[level](skips[-1])
        x = network.dropout(network.bottom(x))
        for level in reversed(range(shape.levels - 1)):
            skip = centre_crop(skips[level], shape.skip_crop(level))
            x = network.decoder[level](torch.cat([skip, network.ups[level](x)], dim=1))
            assert tuple(x.shape[2:]) == sizes[level].leaving
        assert torch.equal(network.head(x), expected)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_deep_supervision_gives_a_list_only_in_training(padding: Any) -> None:
    """In training mode the logits of every level but the bottom, the finest first; otherwise one tensor."""
    network = UNet(2, 1, 2, channels=(2, 4, 4, 8), padding=padding, deep_supervision=True)
    size = tuple(axis.next_valid(100) for axis in network.shape.axes)
    x = torch.rand(1, 1, *size)
    outputs = network(x)
    assert isinstance(outputs, list)
    levels = network.shape.level_sizes(size)
    assert [tuple(out.shape) for out in outputs] == [(1, 2, *level.leaving) for level in levels[:-1]]
    assert all(out.requires_grad for out in outputs)
    assert isinstance(network.eval()(x), Tensor)


def test_dropout_ends_the_contracting_path() -> None:
    """Dropout changes what leaves the bottom, in training mode alone, and no skip connection."""
    network = UNet(2, 1, 2, channels=(2, 4), norm=None, dropout=0.5)
    dropped: list[Tensor] = []
    network.dropout.register_forward_hook(lambda module, inputs, output: dropped.append(output))
    x = torch.ones(1, 1, 64, 64)
    first, second = network(x), network(x)
    assert not torch.equal(first, second)
    assert dropped[0].shape == (1, 4, 32, 32)
    network.eval()
    assert torch.equal(network(x), network(x))


def test_a_residual_block_adds_its_input() -> None:
    """With its last convolution silent, a residual block gives its activated shortcut."""
    block = UNet(2, 4, 2, channels=(4, 8), norm=None, residual=True).encoder[0]
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        block.units[1].conv.weight.zero_()
        assert torch.equal(block(x), x.relu())


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("upsample", ["transposed", "linear"])
def test_channels_last_stays_channels_last(padding: Any, upsample: Any) -> None:
    """A network and an input in channels-last format keep that format in every layer, and the values."""
    network = UNet(2, 1, 4, channels=(4, 8, 8), strides=[(3, 2), 2], padding=padding, upsample=upsample).eval()
    x = torch.rand(1, 1, *(axis.next_valid(40) for axis in network.shape.axes))
    with torch.no_grad():
        expected = network(x)
        network.to(memory_format=torch.channels_last)
        for name, layer in network.named_modules():

            def hook(module: nn.Module, inputs: Any, output: Tensor, name: str = name) -> None:
                assert output.stride(1) == 1, name  # a cropped tensor is not contiguous, its channels are

            layer.register_forward_hook(hook)
        out = network(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(out, expected)


def test_channels_last_keeps_the_values_in_3d() -> None:
    """The format changes no value of a 3-D network beyond rounding."""
    network = UNet(3, 1, 4, channels=(4, 8, 8)).eval()
    x = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        expected = network(x)
        out = network.to(memory_format=torch.channels_last_3d)(x.to(memory_format=torch.channels_last_3d))
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(
    ("network", "size", "text"),
    [
        (
            UNet(2, 1, 2, channels=(2, 2, 2, 2, 2), padding="valid"),
            (1, 1, 570, 572),
            "size 570x572 does not fit: axis 0 takes 16k + 12 from 188, not 570; nearest 572x572",
        ),
        (
            UNet(3, 1, 2, channels=(2, 2, 2), strides=[(1, 2, 2), 2]),
            (1, 1, 3, 8, 9),
            "size 3x8x9 does not fit: axis 0 takes 2k, not 3, axis 2 takes 4k, not 9; nearest 4x8x8",
        ),
        (
            UNet(2, 3, 2, channels=(2, 2)),
            (1, 1, 8, 8),
            "the network takes batch x 3 channels x 2 spatial axes, not a tensor of (1, 1, 8, 8)",
        ),
        (
            UNet(2, 1, 2, channels=(2, 2)),
            (1, 8, 8),
            "the network takes batch x 1 channels x 2 spatial axes, not a tensor of (1, 8, 8)",
        ),
        (
            UNet(2, 1, 2, channels=(2, 2), norm="instance").eval(),
            (4, 1, 2, 2),
            "this input leaves one value per channel at the coarsest level, too few for instance normalisation; "
            "use a larger input or fewer strides",
        ),
        (
            UNet(2, 1, 2, channels=(2, 2)),
            (1, 1, 2, 2),
            "this input leaves one value per channel at the coarsest level, too few for batch normalisation; "
            "use a larger input or fewer strides",
        ),
    ],
)
def test_an_input_that_does_not_fit_is_one_clear_line(network: UNet, size: tuple[int, ...], text: str) -> None:
    """The forward pass tells what does not fit and what would."""
    with pytest.raises(SizeError) as error:
        network(torch.zeros(size))
    assert str(error.value) == text


def test_batch_norm_takes_a_single_voxel_where_it_has_learned() -> None:
    """In eval mode, and in training with a larger batch, one voxel at the bottom is enough for batch norm."""
    network = UNet(2, 1, 2, channels=(2, 2))
    assert network(torch.zeros(2, 1, 2, 2)).shape == (2, 2, 2, 2)
    assert network.eval()(torch.zeros(1, 1, 2, 2)).shape == (1, 2, 2, 2)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"spatial_dims": 4}, "spatial_dims must be 2 or 3, not 4"),
        ({"out_channels": 0}, "a network needs channels in and out, not 1 and 0"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1, not 1.0"),
        ({"norm": "layer"}, "norm must be batch, instance or none, not 'layer'"),
        ({"activation": "tanh"}, "activation must be one of relu, leaky_relu, elu, gelu, silu, not 'tanh'"),
        ({"channels": (4, 0)}, "a level's channels are a positive number or a pair of them, not 0"),
        ({"channels": (4, (1, 2, 3))}, "a level's channels are a positive number or a pair of them, not (1, 2, 3)"),
        ({"channels": (4,)}, "a U-Net needs at least two levels"),
    ],
)
def test_a_network_that_cannot_be_is_refused(arguments: dict[str, Any], text: str) -> None:
    """An impossible setting is refused in one line."""
    with pytest.raises(UsageError) as error:
        UNet(**{"spatial_dims": 2, "in_channels": 1, "out_channels": 2, **arguments})
    assert str(error.value) == text
