"""Convolution, normalisation, activation: what the networks are built of, and their initialisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from volseg.errors import SizeError, UsageError

Norm = Literal["batch", "instance"]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu"]

_CONV: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.Module]] = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_POOL: dict[int, type[nn.Module]] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_BATCH: dict[int, type[nn.Module]] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE: dict[int, type[nn.Module]] = {1: nn.InstanceNorm1d, 2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_ACTIVATION: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
TransposedConvolution = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d


def convolution(
    spatial_dims: int, in_channels: int, out_channels: int, kernel_size: Sequence[int], *, padded: bool = True
) -> nn.Module:
    """A convolution with bias; padded, it keeps the size."""
    kernel = tuple(kernel_size)
    padding = tuple(k // 2 if padded else 0 for k in kernel)
    return _CONV[spatial_dims](in_channels, out_channels, kernel, padding=padding)


def transposed(
    spatial_dims: int,
    in_channels: int,
    out_channels: int,
    stride: Sequence[int],
    *,
    kernel_size: Sequence[int] | None = None,
    padding: int = 0,
    groups: int = 1,
    bias: bool = True,
) -> nn.Module:
    """An up-convolution; its kernel is its stride unless given, so that its outputs do not overlap."""
    size = tuple(stride)
    kernel = size if kernel_size is None else tuple(kernel_size)
    return _TRANSPOSED[spatial_dims](
        in_channels, out_channels, kernel, stride=size, padding=padding, groups=groups, bias=bias
    )


def pooling(stride: Sequence[int]) -> nn.Module:
    """A max pooling whose kernel is its stride."""
    size = tuple(stride)
    return _POOL[len(size)](size, stride=size)


def normalisation(norm: Norm | None, spatial_dims: int, channels: int) -> nn.Module:
    """Batch or instance normalisation, both with learned scale and shift, or nothing."""
    if norm is None:
        return nn.Identity()
    if norm == "batch":
        return _BATCH[spatial_dims](channels)
    if norm == "instance":
        return _INSTANCE[spatial_dims](channels, affine=True)
    raise UsageError(f"norm must be batch, instance or none, not {norm!r}")


def activation_module(name: Activation) -> nn.Module:
    """The activation by name."""
    if name not in _ACTIVATION:
        raise UsageError(f"activation must be one of {', '.join(_ACTIVATION)}, not {name!r}")
    return _ACTIVATION[name]()


class ConvUnit(nn.Module):
    """Convolution, then normalisation, then activation; each an attribute of that name."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        *,
        padded: bool = True,
        norm: Norm | None = None,
        activation: Activation | None = "relu",
    ) -> None:
        super().__init__()
        self.conv = convolution(spatial_dims, in_channels, out_channels, kernel_size, padded=padded)
        self.norm = normalisation(norm, spatial_dims, out_channels)
        self.activation = nn.Identity() if activation is None else activation_module(activation)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, activate."""
        out: Tensor = self.activation(self.norm(self.conv(x)))
        return out


class ConvBlock(nn.Module):
    """The convolutions of one level: ``units`` in a row and, if residual, their input added before the last activation.

    The last unit of a residual block has no activation of its own; ``activation`` follows the sum. ``shortcut`` is
    a 1x1 convolution where the channels change. Unpadded, the shortcut is cropped centrally by ``crop`` per side.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: Sequence[int],
        kernel_size: Sequence[int],
        *,
        padded: bool = True,
        norm: Norm | None = None,
        activation: Activation = "relu",
        residual: bool = False,
    ) -> None:
        """``channels`` are those of the input and then of each convolution's output."""
        super().__init__()
        pairs = list(pairwise(channels))
        self.units = nn.Sequential(
            *(
                ConvUnit(
                    spatial_dims,
                    before,
                    after,
                    kernel_size,
                    padded=padded,
                    norm=norm,
                    activation=None if residual and i == len(pairs) - 1 else activation,
                )
                for i, (before, after) in enumerate(pairs)
            )
        )
        self.residual = residual
        self.crop = tuple(0 if padded else len(pairs) * (k // 2) for k in kernel_size)
        if residual:
            same = channels[0] == channels[-1]
            self.shortcut = (
                nn.Identity() if same else convolution(spatial_dims, channels[0], channels[-1], (1,) * spatial_dims)
            )
            self.activation = activation_module(activation)

    def forward(self, x: Tensor) -> Tensor:
        """The features of this level."""
        out: Tensor = self.units(x)
        if self.residual:
            out = self.activation(out + self.shortcut(centre_crop(x, self.crop)))
        return out


def centre_crop(x: Tensor, crop: Sequence[int]) -> Tensor:
    """``x`` without ``crop`` positions on each side of its spatial axes.

    >>> centre_crop(torch.zeros(1, 2, 8, 9), (1, 2)).shape
    torch.Size([1, 2, 6, 5])
    """
    if not any(crop):
        return x
    return x[(slice(None), slice(None), *(slice(c, -c) if c else slice(None) for c in crop))]


def check_normalisable(norm: Norm | None, batch: int, size: Sequence[int], *, training: bool) -> None:
    """Raise :class:`SizeError` where normalisation would have a single value per channel to learn from."""
    values = math.prod(size) * (batch if norm == "batch" else 1)
    if values == 1 and (norm == "instance" or (norm == "batch" and training)):
        raise SizeError(
            f"this input leaves one value per channel at the coarsest level, too few for {norm} normalisation",
            mend="use a larger input or fewer strides",
        )


def he_initialise(module: nn.Module, activation: Activation) -> None:
    """Gaussian weights of standard deviation ``gain / sqrt(N)``, N the incoming nodes of a neuron; biases zero.

    For ReLU this is the sqrt(2 / N) of He et al. (2015), which keeps the variance through the layers.
    """
    gain = activation_gain(activation)
    for layer in module.modules():
        if isinstance(layer, Convolution | TransposedConvolution) and not layer.weight.is_meta:
            nn.init.normal_(layer.weight, std=gain / incoming(layer) ** 0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def incoming(layer: Convolution | TransposedConvolution) -> int:
    """The number of incoming nodes of one output neuron away from the border.

    >>> incoming(nn.Conv2d(64, 128, 3)), incoming(nn.ConvTranspose2d(128, 64, 2, stride=2))
    (576, 128)
    """
    taps = math.prod(layer.kernel_size)
    if isinstance(layer, TransposedConvolution):
        taps = max(1, taps // math.prod(layer.stride))  # a kernel covers each output position once per stride
    return layer.in_channels // layer.groups * taps


def activation_gain(activation: Activation) -> float:
    """What restores a unit second moment to a standard normal variable after the activation.

    >>> round(activation_gain("relu") ** 2, 6)
    2.0
    """
    z = torch.linspace(-10, 10, 20001, dtype=torch.float64, device="cpu")
    density = torch.exp(-z.square() / 2)
    moment = (density * activation_module(activation)(z).square()).sum() / density.sum()
    return 1.0 / math.sqrt(float(moment))
