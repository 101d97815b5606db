"""The U-Net, in any number of dimensions: the papers' and today's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from volseg.errors import SizeError, UsageError
from volseg.networks.blocks import (
    Activation,
    ConvBlock,
    Norm,
    centre_crop,
    check_normalisable,
    convolution,
    he_initialise,
    pooling,
    transposed,
)
from volseg.networks.linear_up import LinearUp
from volseg.shapes import Padding, PerLevel, UNetShape, Upsample


class UNet(nn.Module):
    """A contracting path that sees far, an expanding path that localises, and skip connections between them.

    The module is made to be walked from outside, level by level; level 0 is the finest, and every list is indexed
    by level:

    - ``encoder[i]``: the block of level ``i`` on the way down; its output is the skip connection of the level.
    - ``pools[i]``: max pooling from level ``i`` to ``i + 1``, kernel and stride ``shape.strides[i]``.
    - ``bottom``: the block of the last level, followed by ``dropout`` (the end of the contracting path).
    - ``ups[i]``: from level ``i + 1`` up to level ``i``.
    - ``decoder[i]``: the block of level ``i`` on the way up; takes ``cat([skip, up], dim=1)``, where ``skip`` is
      ``encoder[i]``'s output without ``shape.skip_crop(i)`` positions on each side (none when padded).
    - ``head``: the 1x1 convolution from ``decoder[0]``'s output to the logits.
    - ``deep_heads[i - 1]``: the same for level ``i`` from 1 to the last but one; empty without deep supervision.

    A block is a :class:`~volseg.networks.blocks.ConvBlock`: its ``units`` in a row, each ``conv``, ``norm`` and
    ``activation``; with ``residual``, ``activation(units(x) + shortcut(centre_crop(x, crop)))``.
    ``shape`` is the same structure as integers.

    >>> network = UNet(2, 1, 4, channels=(4, 8, 16))
    >>> network(torch.zeros(1, 1, 16, 24)).shape
    torch.Size([1, 4, 16, 24])
    """

    #: the layers that tell structures apart
    heads = ("head", "deep_heads")

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        channels: Sequence[int | Sequence[int]] = (16, 32, 64, 128, 256),
        kernel_sizes: PerLevel = 3,
        strides: PerLevel = 2,
        padding: Padding = "same",
        norm: Norm | None = "batch",
        activation: Activation = "relu",
        dropout: float = 0.0,
        residual: bool = False,
        upsample: Upsample = "transposed",
        deep_supervision: bool = False,
        convs_per_level: int = 2,
        up_keeps_channels: bool = False,
        up_bias: bool = True,
    ) -> None:
        """Build the network with He-initialised weights.

        Args:
            spatial_dims: 2 or 3 (1 works as well).
            in_channels: channels of the image.
            out_channels: channels of the logits.
            channels: for each level the channels of its convolutions, or a pair: those of the first on the way
                down and those of all others, for the 3-D paper's doubling before the pooling.
            kernel_sizes: odd; one number, one per level, or one per level and axis.
            strides: of the poolings, one entry fewer than levels; an axis that is not pooled has 1.
            padding: ``same`` keeps the size, ``valid`` invents no context and loses ``shape.margin`` on each side.
            norm: normalisation after each convolution.
            activation: after each normalisation.
            dropout: probability at the end of the contracting path.
            residual: add each block's input to its output.
            upsample: a learned up-convolution, or linear interpolation of channels already mixed by 1x1.
            deep_supervision: in training mode, give a list of logits, the finest level's first.
            convs_per_level: convolutions in a block.
            up_keeps_channels: whether an up-convolution keeps its channels instead of taking those of the level
                it leads to.
            up_bias: whether transposed up-convolutions have a bias.
        """
        super().__init__()
        if spatial_dims not in (1, 2, 3):
            raise UsageError(f"spatial_dims must be 2 or 3, not {spatial_dims}")
        if in_channels < 1 or out_channels < 1:
            raise UsageError(f"a network needs channels in and out, not {in_channels} and {out_channels}")
        if not 0 <= dropout < 1:
            raise UsageError(f"dropout must be from 0 to below 1, not {dropout}")
        pairs = [_pair(entry) for entry in channels]
        self.shape = UNetShape.of(
            spatial_dims,
            len(pairs),
            kernel_sizes=kernel_sizes,
            strides=strides,
            padding=padding,
            upsample=upsample,
            convs_per_level=convs_per_level,
        )
        self.spatial_dims = spatial_dims
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.norm = norm
        self.deep_supervision = deep_supervision

        def block(level: int, entering: int, first: int, others: int) -> ConvBlock:
            widths = (
                (entering, first, *(others,) * (convs_per_level - 1)) if convs_per_level > 1 else (entering, others)
            )
            return ConvBlock(
                spatial_dims,
                widths,
                self.shape.kernel_sizes[level],
                padded=padding == "same",
                norm=norm,
                activation=activation,
                residual=residual,
            )

        def up(level: int, entering: int, leaving: int) -> nn.Module:
            stride = self.shape.strides[level]
            if upsample == "transposed":
                return transposed(spatial_dims, entering, leaving, stride, bias=up_bias)
            return LinearUp(entering, leaving, stride, crop=self.shape.up_crop(level))

        widths = [wide for _, wide in pairs]
        ups = [widths[i + 1] if up_keeps_channels else wide for i, wide in enumerate(widths[:-1])]
        entering = [in_channels, *widths]
        blocks = [block(i, entering[i], first, wide) for i, (first, wide) in enumerate(pairs)]
        self.encoder = nn.ModuleList(blocks[:-1])
        self.pools = nn.ModuleList(pooling(stride) for stride in self.shape.strides)
        self.bottom = blocks[-1]
        self.dropout = nn.Dropout(dropout)
        self.ups = nn.ModuleList(up(i, widths[i + 1], wide) for i, wide in enumerate(ups))
        self.decoder = nn.ModuleList(block(i, widths[i] + wide, widths[i], widths[i]) for i, wide in enumerate(ups))
        one = (1,) * spatial_dims
        self.head = convolution(spatial_dims, widths[0], out_channels, one)
        deep = widths[1:-1] if deep_supervision else []
        self.deep_heads = nn.ModuleList(convolution(spatial_dims, wide, out_channels, one) for wide in deep)
        he_initialise(self, activation)

    @classmethod
    def paper_2d(cls, in_channels: int = 1, out_channels: int = 2, **changes: Any) -> UNet:
        """The network of Ronneberger, Fischer and Brox (2015): 31,030,658 parameters, 572x572 to 388x388."""
        settings = {"channels": (64, 128, 256, 512, 1024), "padding": "valid", "norm": None, **changes}
        return cls(2, in_channels, out_channels, **settings)

    @classmethod
    def paper_3d(cls, in_channels: int = 3, out_channels: int = 3, **changes: Any) -> UNet:
        """The network of Çiçek et al. (2016): 19,069,955 parameters without the batch norm's; 132³ to 44³."""
        settings = {
            "channels": ((32, 64), (64, 128), (128, 256), (256, 512)),
            "padding": "valid",
            "norm": "batch",
            "up_keeps_channels": True,
            "up_bias": False,
            **changes,
        }
        return cls(3, in_channels, out_channels, **settings)

    @classmethod
    def slim(cls, spatial_dims: int, in_channels: int = 1, out_channels: int = 2, **changes: Any) -> UNet:
        """Few filters and four levels, padded, for laptops: under half a million parameters in 3-D."""
        return cls(spatial_dims, in_channels, out_channels, **{"channels": (8, 16, 32, 64), **changes})

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """The logits; in training mode with deep supervision those of every level, the finest first."""
        # while a graph is captured sizes may be symbols, and a check of them would tie the graph to one size
        if not torch.compiler.is_compiling() and all(type(n) is int for n in x.shape):
            self._check(x)
        skips = []
        for block, pool in zip(self.encoder, self.pools, strict=True):
            x = block(x)
            skips.append(x)
            x = pool(x)
        x = self.dropout(self.bottom(x))
        deep = []
        for level in reversed(range(len(skips))):
            skip = centre_crop(skips.pop(), self.shape.skip_crop(level))
            x = self.decoder[level](torch.cat([skip, self.ups[level](x)], dim=1))
            if level and self.deep_supervision and self.training:
                deep.append(self.deep_heads[level - 1](x))
        logits = cast(Tensor, self.head(x))
        return [logits, *reversed(deep)] if self.deep_supervision and self.training else logits

    def _check(self, x: Tensor) -> None:
        if x.ndim != self.spatial_dims + 2 or x.shape[1] != self.in_channels:
            expected = f"batch x {self.in_channels} channels x {self.spatial_dims} spatial axes"
            raise SizeError(f"the network takes {expected}, not a tensor of {tuple(x.shape)}")
        size = tuple(x.shape[2:])
        bottom = self.shape.level_sizes(size)[-1].leaving
        check_normalisable(self.norm, x.shape[0], bottom, training=self.training)


def _pair(entry: int | Sequence[int]) -> tuple[int, int]:
    pair = (entry, entry) if isinstance(entry, int) else tuple(entry)
    if len(pair) != 2 or min(pair) < 1:
        raise UsageError(f"a level's channels are a positive number or a pair of them, not {entry}")
    return pair[0], pair[1]
