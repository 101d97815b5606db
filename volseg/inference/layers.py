"""A U-Net's layers as inference uses them: plain functions of tensors, with weights in the right layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volseg.errors import UsageError
from volseg.inference.norms import Instance, Scale, fold, norm_of
from volseg.networks.blocks import ConvBlock, ConvUnit
from volseg.networks.linear_up import LinearUp, interpolate
from volseg.networks.unet import UNet
from volseg.shapes import UNetShape

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_UP: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_FORMAT = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}
# PyTorch hands a float convolution to oneDNN above this product of the first four sizes, and computes it itself below
_ONEDNN_FROM = 20480


def memory_format(spatial_dims: int, channels_last: bool) -> torch.memory_format:
    """The layout of tensors with this many spatial axes.

    >>> memory_format(3, True)
    torch.channels_last_3d
    """
    return _FORMAT[spatial_dims] if channels_last else torch.contiguous_format


@dataclass(frozen=True, eq=False)
class Conv:
    """A convolution with zero padding, then a norm, then an activation."""

    weight: Tensor
    bias: Tensor | None
    padding: tuple[int, ...]
    norm: Scale | Instance | None
    activation: nn.Module

    @property
    def kernel(self) -> tuple[int, ...]:
        return tuple(self.weight.shape[2:])

    def by_onednn(self, whole: Sequence[int]) -> bool:
        """Whether PyTorch gives this convolution of an input of size ``whole`` to oneDNN.

        It decides by the size, so that thin pieces of a large volume would run on a path many times slower, with
        other roundings. Asking for the whole volume's path keeps both.
        """
        first = whole[0] * whole[1] * whole[2] * whole[3] if len(whole) > 3 else 0
        return (
            first > _ONEDNN_FROM
            and self.weight.device.type == "cpu"
            and self.weight.dtype == torch.float32
            and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        )

    def __call__(self, x: Tensor, padding: Sequence[int] | None = None, onednn: bool = False) -> Tensor:
        """The convolution alone; ``padding`` instead of the network's own."""
        around = tuple(self.padding if padding is None else padding)
        dims = len(around)
        if onednn:
            ones = (1,) * dims
            return torch.ops.aten.mkldnn_convolution(x, self.weight, self.bias, around, ones, ones, 1)  # type: ignore[no-any-return]
        return _CONV[dims](x, self.weight, self.bias, padding=around)

    def finish(self, y: Tensor, into: Tensor | None = None) -> Tensor:
        """Norm and activation of the convolution's result, in place or into another tensor."""
        if self.norm is not None:
            self.norm.apply(y)
        return activate(self.activation, y, y if into is None else into)


@dataclass(frozen=True, eq=False)
class Block:
    """A level's convolutions in a row; ``residual``, their input is added before ``activation``."""

    convs: tuple[Conv, ...]
    residual: bool
    shortcut: Conv | None
    crop: tuple[int, ...]
    activation: nn.Module

    def activate(self, y: Tensor) -> Tensor:
        """The activation after the sum, in place where it can be."""
        return activate(self.activation, y, y)


@dataclass(frozen=True, eq=False)
class Up:
    """Up-sampling: a transposed convolution whose kernel is its stride, or 1x1 mixing (or none) and interpolation."""

    weight: Tensor | None
    bias: Tensor | None
    mix: Conv | None
    scale: tuple[int, ...]
    crop: tuple[int, ...]

    @property
    def linear(self) -> bool:
        return self.weight is None

    def transposed(self, x: Tensor) -> Tensor:
        """The transposed convolution."""
        assert self.weight is not None
        if self.weight.device.type != "cpu" or self.weight.dtype != torch.float32:
            return _UP[len(self.scale)](x, self.weight, self.bias, stride=self.scale)
        return self._placed(x, self.weight)

    def _placed(self, x: Tensor, weight: Tensor) -> Tensor:
        """The same as one matrix product whose results are put where they belong: no outputs overlap.

        PyTorch gives small inputs to a slow path of its own that returns another layout; copying out of that costs
        more than the product.
        """
        dims, width = len(self.scale), weight.shape[1]
        last = (0, *range(2, dims + 2), 1)
        rows = x.permute(last).reshape(-1, x.shape[1])
        table = weight.permute(0, *range(2, dims + 2), 1).reshape(x.shape[1], -1)
        bias = x.new_zeros(width) if self.bias is None else self.bias
        product = torch.addmm(bias.repeat(prod(self.scale)), rows, table)
        coarse = x.shape[2:]
        apart = product.view(x.shape[0], *coarse, *self.scale, width)
        order = [0, *(a for d in range(dims) for a in (1 + d, 1 + dims + d)), 1 + 2 * dims]
        fine = [n * s for n, s in zip(coarse, self.scale, strict=True)]
        return apart.permute(order).reshape(x.shape[0], *fine, width).permute(0, dims + 1, *range(1, dims + 1))

    def interpolate(self, x: Tensor) -> Tensor:
        """The linear interpolation alone, nothing cropped."""
        return interpolate(x, self.scale)


@dataclass(frozen=True, eq=False)
class Head:
    """The 1x1 convolution to the logits, as one matrix product: several times as fast as a convolution for few classes.

    The logits come channels first whatever the features' layout, the order in which deciding reads them.
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The logits of features."""
        dims = x.ndim - 2
        voxels = x.permute(0, *range(2, dims + 2), 1).reshape(x.shape[0], -1, x.shape[1]).transpose(1, 2)
        logits = torch.baddbmm(self.bias[:, None], self.weight.expand(x.shape[0], -1, -1), voxels)
        return logits.view(x.shape[0], -1, *x.shape[2:])


@dataclass(frozen=True, eq=False)
class Levels:
    """A U-Net's layers by level, ready for inference; the module they were made from may change or go."""

    shape: UNetShape
    encoder: tuple[Block, ...]
    bottom: Block
    ups: tuple[Up, ...]
    decoder: tuple[Block, ...]
    head: Head
    dtype: torch.dtype
    device: torch.device
    layout: torch.memory_format

    @property
    def gathers(self) -> bool:
        """Whether any norm needs statistics of the whole volume."""
        blocks = (*self.encoder, self.bottom, *self.decoder)
        return any(isinstance(conv.norm, Instance) for block in blocks for conv in block.convs)

    @classmethod
    def of(cls, network: UNet, dtype: torch.dtype = torch.float32, channels_last: bool = True) -> Levels:
        """The layers of a network in evaluation mode.

        In lower precision batch norm is multiplied into the convolution before it; in single precision it stays a
        step of its own, since folding alone moves the logits by 1e-6 of the largest.
        """
        if network.training:
            raise UsageError("the network is in training mode", mend="call network.eval() first")
        layout = memory_format(network.spatial_dims, channels_last)

        def conv(source: nn.Module, norm: nn.Module | None = None, activation: nn.Module | None = None) -> Conv:
            assert isinstance(source, nn.Conv1d | nn.Conv2d | nn.Conv3d)
            weight, bias = source.weight.detach(), None if source.bias is None else source.bias.detach()
            scale = norm_of(norm)
            if isinstance(scale, Scale) and dtype != torch.float32:
                weight, bias = fold(weight, bias, scale)
                scale = None
            return Conv(
                weight.to(dtype).contiguous(memory_format=layout),
                None if bias is None else bias.to(dtype),
                tuple(int(p) for p in source.padding),
                scale,
                nn.Identity() if activation is None else activation,
            )

        def block(source: nn.Module) -> Block:
            assert isinstance(source, ConvBlock)
            shortcut = source.shortcut if source.residual else None
            return Block(
                tuple(conv(u.conv, u.norm, u.activation) for u in source.units if isinstance(u, ConvUnit)),
                source.residual,
                None if shortcut is None or isinstance(shortcut, nn.Identity) else conv(shortcut),
                source.crop,
                source.activation if source.residual else nn.Identity(),
            )

        def up(source: nn.Module, level: int) -> Up:
            scale = network.shape.strides[level]
            if isinstance(source, LinearUp):
                mix = None if isinstance(source.conv, nn.Identity) else conv(source.conv)
                return Up(None, None, mix, scale, source.crop)
            assert isinstance(source, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
            weight = source.weight.detach().to(dtype).contiguous(memory_format=layout)
            bias = None if source.bias is None else source.bias.detach().to(dtype)
            return Up(weight, bias, None, scale, (0,) * len(scale))

        def head(source: nn.Module) -> Head:
            assert isinstance(source, nn.Conv1d | nn.Conv2d | nn.Conv3d)
            assert source.bias is not None
            return Head(source.weight.detach().flatten(1).to(dtype), source.bias.detach().to(dtype))

        return cls(
            network.shape,
            tuple(map(block, network.encoder)),
            block(network.bottom),
            tuple(up(layer, level) for level, layer in enumerate(network.ups)),
            tuple(map(block, network.decoder)),
            head(network.head),
            dtype,
            next(network.parameters()).device,
            layout,
        )


def activate(kind: nn.Module, y: Tensor, into: Tensor) -> Tensor:
    """An activation, written into a tensor that may be ``y`` itself; ReLU and its leaky kin without another copy."""
    if isinstance(kind, nn.Identity):
        return y if into is y else into.copy_(y)
    if isinstance(kind, nn.ReLU):
        return torch.clamp_min(y, 0, out=into)
    if isinstance(kind, nn.LeakyReLU):
        return torch.ops.aten.leaky_relu.out(y, kind.negative_slope, out=into)  # type: ignore[no-any-return]
    return into.copy_(kind(y))
