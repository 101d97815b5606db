"""What the arithmetic of shapes says, against what gradients and tiles of real networks show."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from volseg.networks import FCN, UNet
from volseg.networks.linear_up import interpolate

Network = UNet | FCN


def see_through(network: Network) -> Network:
    """The network with positive weights and mean pooling, so that no influence cancels or loses a maximum."""
    network = network.double().eval()
    for name, child in list(network.pools.named_children()):
        assert isinstance(child, nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d)
        kind = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}[network.spatial_dims]
        setattr(network.pools, name, kind(child.kernel_size, child.stride))
    with torch.no_grad():
        for weight in network.parameters():
            weight.abs_().add_(0.01)
    return network


def seen(network: Network, size: Sequence[int], axis: int, position: int) -> tuple[int, int]:
    """The first and one past the last input position along an axis that one output position has gradients from."""
    x = torch.ones(1, network.in_channels, *size, dtype=torch.float64, requires_grad=True)
    out = network(x)
    assert isinstance(out, Tensor)
    (gradient,) = torch.autograd.grad(out.select(axis + 2, position).sum(), x)
    line = gradient.movedim(axis + 2, 0).flatten(1).amax(1)
    where = line.nonzero().flatten()
    assert len(where) == where[-1] - where[0] + 1  # no gaps
    return int(where[0]), int(where[-1]) + 1


@st.composite
def unets(draw: st.DrawFn, **fixed: object) -> UNet:
    """Small U-Nets of every kind, with anisotropic kernels and strides."""
    dims = draw(st.integers(2, 3))
    levels = draw(st.integers(2, 3 if dims == 2 else 2))
    per_axis = lambda values: st.tuples(*[st.sampled_from(values)] * dims)  # noqa: E731
    options = {
        "padding": draw(st.sampled_from(["same", "valid"])),
        "upsample": draw(st.sampled_from(["transposed", "linear"])),
        "residual": draw(st.booleans()),
        "convs_per_level": draw(st.integers(1, 2)),
        "norm": None,
        **fixed,
    }
    return UNet(
        dims,
        1,
        1,
        channels=[2] * levels,
        kernel_sizes=[draw(per_axis([1, 3, 3, 5])) for _ in range(levels)],
        strides=[draw(per_axis([1, 2, 3])) for _ in range(levels - 1)],
        **options,
    )


heavy = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])


@heavy
@given(unets(), st.data())
def test_gradients_show_the_receptive_field_the_margin_and_the_stride(network: UNet, data: st.DataObject) -> None:
    """Along every axis and for every phase, gradients reach exactly as far as the arithmetic says."""
    shape = network.shape
    see_through(network)
    axis = data.draw(st.integers(0, network.spatial_dims - 1))
    line = shape.axes[axis]
    before = -(-line.reach[0] // line.stride) * line.stride  # whole strides, so that phases stay what they are
    size = [other.smallest for other in shape.axes]
    size[axis] = line.next_valid(2 * before + 2 * line.stride + 2 * line.lost)
    observed = [seen(network, size, axis, before + u) for u in range(line.stride + 1)]
    assert observed == [shape.source(axis, before + u, before + u + 1) for u in range(line.stride + 1)]
    # the stride: one further, the view has moved by exactly as much
    assert observed[-1] == (observed[0][0] + line.stride, observed[0][1] + line.stride)
    # the receptive field: all phases laid over each other
    centres = [before + u + line.lost for u in range(line.stride)]
    left = max(c - start for c, (start, _) in zip(centres, observed, strict=False))
    right = max(stop - 1 - c for c, (_, stop) in zip(centres, observed, strict=False))
    assert (left, right) == line.reach
    assert left + 1 + right == line.receptive_field
    # the margin: what one period of outputs needs beyond itself
    first, last = min(start for start, _ in observed[:-1]), max(stop for _, stop in observed[:-1])
    if shape.padding == "same":
        assert (before - first, last - before - line.stride) == (line.margin, line.margin)
    out = network(torch.ones(1, 1, *size, dtype=torch.float64))
    assert isinstance(out, Tensor)
    assert tuple(out.shape[2:]) == shape.output_size(size)
    assert size[axis] - out.shape[axis + 2] == 2 * line.lost
    if line.lost:
        assert seen(network, size, axis, 0)[0] == 0


@pytest.mark.parametrize("variant", ["32s", "16s", "8s"])
def test_gradients_show_the_reach_of_an_fcn(variant: str) -> None:
    """An FCN sees as far as the arithmetic says, in every phase that is looked at."""
    network = FCN(1, 1, 1, variant=variant, channels=[1] * 5, classifier_channels=1, norm=None)  # type: ignore[arg-type]
    see_through(network)
    line = network.shape.axes[0]
    before = -(-line.reach[0] // line.stride) * line.stride
    size = (2 * before + line.stride,)
    for phase in (0, 1, 7, 15, 16, 31):
        observed = seen(network, size, 0, before + phase)
        assert observed == network.shape.source(before + phase, before + phase + 1)
        assert (before + phase - observed[0], observed[1] - 1 - before - phase) == line.reaches[phase]


@heavy
@given(unets(norm="batch"), st.data())
def test_a_tile_with_its_margin_equals_the_whole(network: UNet, data: st.DataObject) -> None:
    """A tile on the stride grid, read with the margin's context, gives the whole volume's values inside."""
    shape = network.shape
    network.double().eval()
    axis = data.draw(st.integers(0, network.spatial_dims - 1))
    line = shape.axes[axis]
    size = [other.smallest for other in shape.axes]
    context = -(-line.margin // line.stride) * line.stride if shape.padding == "same" else 0
    size[axis] = line.next_valid(2 * context + 4 * line.stride + 2 * line.lost)
    x = torch.rand(1, 1, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = network(x)
        start = line.stride * data.draw(st.integers(0, 2))
        length = line.next_valid(line.stride + 2 * context + 2 * line.lost)
        length = min(length, size[axis] - start)
        part = network(x.narrow(axis + 2, start, length))
    assert isinstance(whole, Tensor)
    assert isinstance(part, Tensor)
    inside = part.shape[axis + 2] - 2 * context
    assert inside > 0
    tile = part.narrow(axis + 2, context, inside)
    torch.testing.assert_close(tile, whole.narrow(axis + 2, start + context, inside), rtol=0, atol=1e-10)


@pytest.mark.parametrize("stride", [(2,), (3,), (4, 1), (3, 2), (2, 5, 1)])
def test_linear_up_sampling_is_torchs_own(stride: tuple[int, ...]) -> None:
    """The values are those of torch's interpolation in double precision."""
    x = torch.rand(2, 3, *(4, 5, 6)[: len(stride)], dtype=torch.float64)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(stride)]
    expected = nn.functional.interpolate(x, scale_factor=tuple(map(float, stride)), mode=mode)  # type: ignore[arg-type]
    torch.testing.assert_close(interpolate(x, stride), expected)


@pytest.mark.parametrize("stride", [2, 3, 4, 5])
def test_linear_up_sampling_of_a_part_has_the_bits_of_the_whole(stride: int) -> None:
    """Where a position lies does not change its value by a bit."""
    x = torch.randn(1, 1, 600)
    whole, part = interpolate(x, (stride,)), interpolate(x[..., 301:400], (stride,))
    assert torch.equal(part[..., stride:-stride], whole[..., 302 * stride : 399 * stride])
