"""The fully convolutional network of Long, Shelhamer and Darrell (2015): the baseline U-Nets are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from volseg.errors import SizeError, UsageError
from volseg.networks.blocks import (
    Activation,
    ConvBlock,
    ConvUnit,
    Norm,
    check_normalisable,
    convolution,
    he_initialise,
    pooling,
    transposed,
)
from volseg.shapes import FCNShape

Variant = Literal["32s", "16s", "8s"]
_FINEST = {"32s": 32, "16s": 16, "8s": 8}


class FCN(nn.Module):
    """A convolutional classifier whose scores at the strides 32, 16 and 8 are up-sampled and summed.

    - ``stages[i]``, ``pools[i]``: five blocks of convolutions, each followed by max pooling of 2.
    - ``classifier``: two convolutions with dropout in the place of a classifier's dense layers.
    - ``scores[j]``: 1x1 convolutions to the classes; the first on the classifier's output (stride 32), the next on
      the output of ``pools[3]`` (16) and ``pools[2]`` (8) as the variant has it.
    - ``ups[j]``: learned up-sampling of the sum so far by 2, the last one to the full size; one kernel per class,
      which starts as linear interpolation.

    >>> FCN(2, 1, 3, variant="8s", channels=(4, 4, 4, 4, 4), classifier_channels=8)(torch.zeros(1, 1, 64, 32)).shape
    torch.Size([1, 3, 64, 32])
    """

    #: the layers that tell structures apart
    heads = ("scores", "ups")

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        variant: Variant = "8s",
        channels: Sequence[int] = (16, 32, 64, 128, 256),
        convs_per_stage: Sequence[int] = (2, 2, 3, 3, 3),
        classifier_channels: int = 512,
        classifier_kernel: int = 3,
        norm: Norm | None = "batch",
        activation: Activation = "relu",
        dropout: float = 0.5,
    ) -> None:
        """Build the network: He-initialised convolutions, up-sampling that starts as linear interpolation."""
        super().__init__()
        if spatial_dims not in (1, 2, 3):
            raise UsageError(f"spatial_dims must be 2 or 3, not {spatial_dims}")
        if variant not in _FINEST:
            raise UsageError(f"variant must be one of {', '.join(_FINEST)}, not {variant!r}")
        if len(channels) != 5 or len(convs_per_stage) != 5:
            raise UsageError(
                "a fully convolutional network has five stages: five channels, five numbers of convolutions"
            )
        if min(in_channels, out_channels, classifier_channels, *channels) < 1:
            raise UsageError("every layer of a network needs at least one channel")
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout must be from 0 to below 1, not {dropout}")
        finest = _FINEST[variant]
        self.shape = FCNShape(spatial_dims, tuple(convs_per_stage), 3, classifier_kernel, finest)
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.norm = norm
        three, one = (3,) * spatial_dims, (1,) * spatial_dims
        entering = (in_channels, *channels)
        self.stages = nn.ModuleList(
            ConvBlock(spatial_dims, (entering[i], *(entering[i + 1],) * n), three, norm=norm, activation=activation)
            for i, n in enumerate(convs_per_stage)
        )
        self.pools = nn.ModuleList(pooling((2,) * spatial_dims) for _ in channels)
        dense = (classifier_kernel,) * spatial_dims
        self.classifier = nn.Sequential(
            ConvUnit(spatial_dims, channels[-1], classifier_channels, dense, norm=norm, activation=activation),
            nn.Dropout(dropout),
            ConvUnit(spatial_dims, classifier_channels, classifier_channels, one, norm=norm, activation=activation),
            nn.Dropout(dropout),
        )
        scored = (classifier_channels, channels[3], channels[2])[: _fused(finest)]
        self.scores = nn.ModuleList(convolution(spatial_dims, n, out_channels, one) for n in scored)
        factors = [2] * (len(scored) - 1) + [finest]
        self.ups = nn.ModuleList(_smooth_up(spatial_dims, out_channels, factor) for factor in factors)
        he_initialise(self, activation)
        for up in self.ups:
            _start_linear(up)

    @classmethod
    def paper_2d(cls, in_channels: int = 3, out_channels: int = 21, **changes: Any) -> FCN:
        """The paper's network on VGG-16: its widths, its 7x7 classifier of 4096 channels, no normalisation."""
        settings = {
            "channels": (64, 128, 256, 512, 512),
            "classifier_channels": 4096,
            "classifier_kernel": 7,
            "norm": None,
            **changes,
        }
        return cls(2, in_channels, out_channels, **settings)

    def forward(self, x: Tensor) -> Tensor:
        """The logits, at the size of the input."""
        if not torch.compiler.is_compiling() and all(type(n) is int for n in x.shape):
            self._check(x)
        pooled = []
        for stage, pool in zip(self.stages, self.pools, strict=True):
            x = pool(stage(x))
            pooled.append(x)
        fused: Tensor = self.scores[0](self.classifier(x))
        for score, up, features in zip(self.scores[1:], self.ups[:-1], (pooled[3], pooled[2]), strict=False):
            fused = up(fused) + score(features)
        logits: Tensor = self.ups[-1](fused)
        return logits

    def _check(self, x: Tensor) -> None:
        if x.ndim != self.spatial_dims + 2 or x.shape[1] != self.in_channels:
            expected = f"batch x {self.in_channels} channels x {self.spatial_dims} spatial axes"
            raise SizeError(f"the network takes {expected}, not a tensor of {tuple(x.shape)}")
        size = tuple(x.shape[2:])
        self.shape.check(size)
        coarsest = tuple(n // s for n, s in zip(size, self.shape.total_stride, strict=True))
        check_normalisable(self.norm, x.shape[0], coarsest, training=self.training)


def _fused(finest: int) -> int:
    return {32: 1, 16: 2, 8: 3}[finest]


def _smooth_up(spatial_dims: int, channels: int, factor: int) -> nn.Module:
    """Learned up-sampling by ``factor``: kernels of twice the stride, so that neighbours overlap, one per class."""
    return transposed(
        spatial_dims,
        channels,
        channels,
        (factor,) * spatial_dims,
        kernel_size=(2 * factor,) * spatial_dims,
        padding=factor // 2,
        groups=channels,
        bias=False,
    )


def _start_linear(up: nn.Module) -> None:
    """Set the kernels to those of linear interpolation."""
    weight = up.weight
    assert isinstance(weight, Tensor)
    spatial_dims = weight.ndim - 2
    size = weight.shape[-1]
    factor = size // 2
    at = torch.arange(size, dtype=weight.dtype, device=weight.device)
    line = 1 - (at - factor + 0.5).abs() / factor
    kernel = line
    for _ in range(spatial_dims - 1):
        kernel = kernel[..., None] * line
    with torch.no_grad():
        weight.copy_(kernel.expand_as(weight))
