"""A U-Net's layers one after the other, as integers: what each takes, gives and multiplies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from volseg.recipe import Recipe
from volseg.recipe.network import UNetNetwork
from volseg.shapes import UNetShape


@dataclass(frozen=True)
class Layer:
    """One step through the network, for a batch of one.

    Attributes:
        kind: a convolution (with its norm and activation), a pooling, an up-convolution with the joint that follows
            it, or an output.
        level: counted from the finest, 0.
        entering: channels in.
        leaving: channels out; of an up-convolution without those of the skip connection.
        before: voxels of its input.
        after: voxels of its output.
        taps: weights of the kernel for each pair of channels.
        skip: channels that an up-convolution's output is joined with.
    """

    kind: Literal["conv", "pool", "up", "head"]
    level: int
    entering: int
    leaving: int
    before: int
    after: int
    taps: int
    skip: int = 0

    @property
    def weights(self) -> int:
        """Learned numbers, those of the norm included."""
        if self.kind == "pool":
            return 0
        return self.entering * self.leaving * self.taps + self.leaving * (3 if self.kind == "conv" else 1)

    @property
    def products(self) -> int:
        """Multiplications of one pass."""
        if self.kind == "pool":
            return 0
        across = self.before if self.kind == "up" else self.after
        return self.entering * self.leaving * self.taps * across


def layers(recipe: Recipe) -> tuple[Layer, ...]:
    """The layers of a recipe's network over its training patch, in the order in which they work."""
    network, shape = recipe.network, recipe.shape
    if not isinstance(network, UNetNetwork) or not isinstance(shape, UNetShape):
        raise TypeError("only the U-Net is known layer by layer")
    return tuple(_layers(recipe, network, shape))


def parameters(recipe: Recipe) -> int:
    """The learned numbers of a recipe's network."""
    return sum(layer.weights for layer in layers(recipe))


def products(recipe: Recipe) -> int:
    """The multiplications of one pass over a batch of training patches."""
    return recipe.training.batch * sum(layer.products for layer in layers(recipe))


def _layers(recipe: Recipe, network: UNetNetwork, shape: UNetShape) -> Iterator[Layer]:
    widths, bottom = network.channels, len(network.channels) - 1
    sizes = shape.level_sizes(recipe.training.patch)
    channels = recipe.in_channels
    for level, width in enumerate(widths):
        yield from _block(shape, level, sizes[level].entering, channels, width)
        channels = width
        if level < bottom:
            yield Layer("pool", level, width, width, prod(sizes[level].skip), prod(sizes[level + 1].entering), 0)
    for level in reversed(range(bottom)):
        width = widths[level]
        above, joined = _joined(shape, level, sizes[level].leaving), prod(sizes[level + 1].leaving)
        taps = prod(shape.strides[level]) if network.upsample == "transposed" else 1
        yield Layer("up", level, widths[level + 1], width, joined, prod(above), taps, skip=width)
        yield from _block(shape, level, above, 2 * width, width)
        if level and network.deep_supervision:
            out = prod(sizes[level].leaving)
            yield Layer("head", level, width, recipe.out_channels, out, out, 1)
    out = prod(sizes[0].leaving)
    yield Layer("head", 0, widths[0], recipe.out_channels, out, out, 1)


def _block(shape: UNetShape, level: int, size: Sequence[int], entering: int, width: int) -> Iterator[Layer]:
    kernel = shape.kernel_sizes[level]
    for _ in range(shape.convs_per_level):
        leaving = tuple(n if shape.padding == "same" else n - k + 1 for n, k in zip(size, kernel, strict=True))
        yield Layer("conv", level, entering, width, prod(size), prod(leaving), prod(kernel))
        size, entering = leaving, width


def _joined(shape: UNetShape, level: int, leaving: Sequence[int]) -> tuple[int, ...]:
    """The size of what enters a decoder's block, from what leaves it."""
    if shape.padding == "same":
        return tuple(leaving)
    return tuple(n + 2 * reach for n, reach in zip(leaving, shape.block_reach(level), strict=True))
