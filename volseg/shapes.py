"""Which sizes a network takes and gives, and how far it sees: integer arithmetic, without building the network.

Everything is said per axis. Positions are counted from 0, intervals are half-open ``(start, stop)``. An output
position ``u`` lies over the input position ``u + lost``; ``lost`` is 0 for a padded network.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

from volseg.errors import SizeError, UsageError

Padding = Literal["same", "valid"]
Upsample = Literal["transposed", "linear"]
Interval = tuple[int, int]
Size = tuple[int, ...]
PerLevel = int | Sequence[int | Sequence[int]]
"""One number for all, or for each level one number or one per axis."""

# further than any axis is long
_EVERYTHING = 1 << 20


@dataclass(frozen=True)
class AxisShape:
    """One axis of a network.

    Attributes:
        stride: the total stride; shifting the input by it shifts the output by it, and by nothing less.
        remainder: a valid size is ``stride * k + remainder``.
        smallest: the smallest valid size.
        lost: positions lost on each side (0 for a padded network).
        margin: the context that an exact interior needs on each side, when it starts and stops on the stride grid.
            For an unpadded network it is ``lost``.
        reaches: for each phase of the output position within the stride, how far it sees to the left and right.
    """

    stride: int
    remainder: int
    smallest: int
    lost: int
    margin: int
    reaches: tuple[Interval, ...]

    @property
    def reach(self) -> tuple[int, int]:
        """The furthest any output position sees, to the left and to the right."""
        return max(left for left, _ in self.reaches), max(right for _, right in self.reaches)

    @property
    def receptive_field(self) -> int:
        """The width of what output positions of all phases see, laid over each other."""
        return 1 + sum(self.reach)

    @property
    def rule(self) -> str:
        """The valid sizes in words: ``16k + 12 from 188``."""
        if self.stride == 1:
            return f"any size from {self.smallest}"
        plus = f" + {self.remainder}" if self.remainder else ""
        start = f" from {self.smallest}" if self.smallest > self.stride else ""
        return f"{self.stride}k{plus}{start}"

    def is_valid(self, size: int) -> bool:
        """Whether the network takes this size."""
        return size >= self.smallest and (size - self.remainder) % self.stride == 0

    def next_valid(self, size: int) -> int:
        """The smallest valid size that is not below ``size``."""
        return size + (self.remainder - size) % self.stride if size > self.smallest else self.smallest

    def nearest_valid(self, size: int) -> int:
        """The valid size nearest to ``size``, the larger of two equally near."""
        above = self.next_valid(size)
        below = above - self.stride
        return below if below >= self.smallest and size - below < above - size else above


class NetworkShape(ABC):
    """What a network does to sizes, whatever its kind; ``axes`` says it for each axis."""

    @property
    @abstractmethod
    def axes(self) -> tuple[AxisShape, ...]:
        """One :class:`AxisShape` for each spatial axis."""

    @property
    def total_stride(self) -> Size:
        """The total stride of each axis."""
        return tuple(axis.stride for axis in self.axes)

    @property
    def margin(self) -> Size:
        """The context an exact interior on the stride grid needs on each side; unpadded, what is lost there."""
        return tuple(axis.margin for axis in self.axes)

    @property
    def lost(self) -> Size:
        """What the output is smaller than the input on each side."""
        return tuple(axis.lost for axis in self.axes)

    @property
    def receptive_field(self) -> Size:
        """The receptive field of each axis, over all phases (see :attr:`AxisShape.receptive_field`)."""
        return tuple(axis.receptive_field for axis in self.axes)

    def is_valid(self, size: Sequence[int]) -> bool:
        """Whether the network takes an input of this size."""
        return len(size) == len(self.axes) and all(a.is_valid(n) for a, n in zip(self.axes, size, strict=True))

    def next_valid(self, size: Sequence[int]) -> Size:
        """The smallest valid size that holds ``size``."""
        return tuple(axis.next_valid(n) for axis, n in zip(self.axes, self._counted(size), strict=True))

    def nearest_valid(self, size: Sequence[int]) -> Size:
        """The nearest valid size, the larger of two equally near."""
        return tuple(axis.nearest_valid(n) for axis, n in zip(self.axes, self._counted(size), strict=True))

    def output_size(self, size: Sequence[int]) -> Size:
        """The size of the output for a valid input size."""
        self.check(size)
        return tuple(n - 2 * axis.lost for axis, n in zip(self.axes, size, strict=True))

    def input_size(self, output: Sequence[int]) -> Size:
        """The smallest valid input size whose output holds ``output``."""
        wanted = (n + 2 * axis.lost for axis, n in zip(self.axes, self._counted(output), strict=True))
        return self.next_valid(tuple(wanted))

    def check(self, size: Sequence[int]) -> None:
        """Raise :class:`SizeError`, with the nearest size that fits, unless the network takes ``size``."""
        if self.is_valid(size):
            return
        nearest = self.nearest_valid(size)
        wrong = ", ".join(
            f"axis {i} takes {axis.rule}, not {n}"
            for i, (axis, n) in enumerate(zip(self.axes, size, strict=True))
            if not axis.is_valid(n)
        )
        raise SizeError(f"size {_by(size)} does not fit: {wrong}", mend=f"nearest {_by(nearest)}")

    def _counted(self, size: Sequence[int]) -> Sequence[int]:
        if len(size) != len(self.axes):
            sizes = f": {_by(size)}" if size else ""
            raise SizeError(f"a {len(self.axes)}-D network takes {len(self.axes)} sizes, not {len(size)}{sizes}")
        return size


@dataclass(frozen=True)
class LevelSizes:
    """The sizes at one level of a U-Net: what enters it, what its encoder hands over, what leaves its decoder."""

    entering: Size
    skip: Size
    leaving: Size


@dataclass(frozen=True)
class UNetShape(NetworkShape):
    """The geometry of a U-Net, one entry per level from the finest (0) to the bottom; made by :meth:`of`.

    Level ``i`` has ``convs_per_level`` convolutions of ``kernel_sizes[i]`` on the way down and as many on the way
    up; the bottom has them once. ``strides[i]`` is both the pooling's and the up-convolution's kernel and stride
    between the levels ``i`` and ``i + 1``. Residual branches and 1x1 convolutions change nothing here.
    Linear up-sampling in an unpadded network drops the ``stride // 2`` positions on each side that lack a neighbour.

    >>> paper = UNetShape.of(2, 5, padding="valid")
    >>> paper.output_size((572, 572)), paper.margin, paper.total_stride
    ((388, 388), (92, 92), (16, 16))
    >>> paper.check((570, 572))
    Traceback (most recent call last):
    ...
    volseg.errors.SizeError: size 570x572 does not fit: axis 0 takes 16k + 12 from 188, not 570; nearest 572x572
    """

    kernel_sizes: tuple[Size, ...]
    strides: tuple[Size, ...]
    padding: Padding = "same"
    upsample: Upsample = "transposed"
    convs_per_level: int = 2

    def __post_init__(self) -> None:
        if len(self.kernel_sizes) < 2:
            raise UsageError("a U-Net needs at least two levels")
        if len(self.strides) != len(self.kernel_sizes) - 1:
            raise UsageError(f"{self.levels} levels need {self.levels - 1} strides, not {len(self.strides)}")
        if len({len(sizes) for sizes in (*self.kernel_sizes, *self.strides)}) != 1 or not self.kernel_sizes[0]:
            raise UsageError(
                "kernel sizes and strides must have one number for each spatial axis, alike at every level"
            )
        if any(k < 1 or k % 2 == 0 for kernel in self.kernel_sizes for k in kernel):
            raise UsageError(f"kernel sizes must be odd, not {_list(self.kernel_sizes)}")
        if any(s < 1 for stride in self.strides for s in stride):
            raise UsageError(f"strides must be 1 or more, not {_list(self.strides)}")
        if self.padding not in ("same", "valid"):
            raise UsageError(f"padding must be same or valid, not {self.padding!r}")
        if self.upsample not in ("transposed", "linear"):
            raise UsageError(f"upsample must be transposed or linear, not {self.upsample!r}")
        if self.convs_per_level < 1:
            raise UsageError(f"a level needs at least one convolution, not {self.convs_per_level}")

    @classmethod
    def of(
        cls,
        spatial_dims: int,
        levels: int,
        *,
        kernel_sizes: PerLevel = 3,
        strides: PerLevel = 2,
        padding: Padding = "same",
        upsample: Upsample = "transposed",
        convs_per_level: int = 2,
    ) -> UNetShape:
        """The geometry from numbers given once, per level, or per level and axis.

        >>> UNetShape.of(3, 3, kernel_sizes=[(1, 3, 3), 3, 3], strides=[(1, 2, 2), 2]).total_stride
        (2, 4, 4)
        """
        return cls(
            kernel_sizes=per_level(kernel_sizes, levels, spatial_dims, "kernel_sizes"),
            strides=per_level(strides, levels - 1, spatial_dims, "strides"),
            padding=padding,
            upsample=upsample,
            convs_per_level=convs_per_level,
        )

    @property
    def spatial_dims(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel_sizes[0])

    @property
    def levels(self) -> int:
        """The number of levels, the bottom one included."""
        return len(self.kernel_sizes)

    @cached_property
    def axes(self) -> tuple[AxisShape, ...]:
        """One :class:`AxisShape` for each spatial axis."""
        return tuple(self._axis(axis) for axis in range(self.spatial_dims))

    def block_reach(self, level: int) -> Size:
        """How far one block of convolutions at this level sees to each side; unpadded, what it loses there."""
        return tuple(self.convs_per_level * (k // 2) for k in self.kernel_sizes[level])

    def level_stride(self, level: int) -> Size:
        """The stride of this level's grid in input positions."""
        return tuple(prod(s[axis] for s in self.strides[:level]) for axis in range(self.spatial_dims))

    def up_crop(self, level: int) -> Size:
        """What is dropped on each side after up-sampling to this level: only without padding, and when linear."""
        drops = self.padding == "valid" and self.upsample == "linear"
        return tuple(s // 2 if drops else 0 for s in self.strides[level])

    def skip_crop(self, level: int) -> Size:
        """What is dropped on each side of this level's encoder features before they meet the up-sampled ones."""
        return tuple(self._skip_crop(level, axis) for axis in range(self.spatial_dims))

    def level_sizes(self, size: Sequence[int]) -> tuple[LevelSizes, ...]:
        """The sizes at every level for a valid input size; ``leaving`` are those of the deep supervision too."""
        self.check(size)
        sizes, entering = [], tuple(size)
        for level in range(self.levels):
            padded = self.padding == "same"
            skip = tuple(n - 2 * c * (not padded) for n, c in zip(entering, self.block_reach(level), strict=True))
            lost = tuple(self._lost(level, axis) for axis in range(self.spatial_dims))
            leaving = tuple(n - 2 * m for n, m in zip(entering, lost, strict=True))
            sizes.append(LevelSizes(entering, skip, leaving))
            if level < self.levels - 1:
                entering = tuple(n // s for n, s in zip(skip, self.strides[level], strict=True))
        return tuple(sizes)

    def source(self, axis: int, start: int, stop: int, level: int = 0) -> Interval:
        """The positions entering ``level`` that its outputs ``start … stop`` depend on, were the input endless."""
        crop, up_crop = (
            (0, 0) if level == self.levels - 1 else (self._skip_crop(level, axis), self.up_crop(level)[axis])
        )
        start, stop = self._through_block(axis, level, (start, stop))
        if level == self.levels - 1:
            return start, stop
        stride = self.strides[level][axis]
        before = _before_linear if self.upsample == "linear" else _before_transposed
        low = self.source(axis, *before((start + up_crop, stop + up_crop), stride), level + 1)
        pooled = (low[0] * stride, low[1] * stride)
        both = (min(start + crop, pooled[0]), max(stop + crop, pooled[1]))
        return self._through_block(axis, level, both)

    def _through_block(self, axis: int, level: int, interval: Interval) -> Interval:
        reach = self.convs_per_level * (self.kernel_sizes[level][axis] // 2)
        left = reach if self.padding == "same" else 0
        return interval[0] - left, interval[1] + 2 * reach - left

    def _lost(self, level: int, axis: int) -> int:
        """Positions lost on each side from what enters a level to what leaves it."""
        if self.padding == "same":
            return 0
        block = self.block_reach(level)[axis]
        return block if level == self.levels - 1 else 2 * block + self._skip_crop(level, axis)

    def _skip_crop(self, level: int, axis: int) -> int:
        return self.strides[level][axis] * self._lost(level + 1, axis) + self.up_crop(level)[axis]

    def _axis(self, axis: int) -> AxisShape:
        stride, lost = prod(s[axis] for s in self.strides), self._lost(0, axis)
        offset = 0  # an input of stride * b + offset leaves b positions at the end of the contracting path
        for level in reversed(range(self.levels)):
            if level < self.levels - 1:
                offset *= self.strides[level][axis]
            offset += 0 if self.padding == "same" else 2 * self.block_reach(level)[axis]
        least = max(1, -((offset - 2 * lost - 1) // stride))  # an output of at least one position
        sources = [self.source(axis, u, u + 1) for u in range(stride)]
        return AxisShape(
            stride=stride,
            remainder=offset % stride,
            smallest=stride * least + offset,
            lost=lost,
            margin=lost if self.padding == "valid" else _halo(self.source(axis, 0, stride), stride),
            reaches=tuple((u + lost - start, stop - 1 - u - lost) for u, (start, stop) in enumerate(sources)),
        )


@dataclass(frozen=True)
class FCNShape(NetworkShape):
    """The geometry of a fully convolutional network: stages of convolutions, each followed by a pooling of 2.

    The features of the last stage pass the classifier; score layers after the stages of ``2 ** i`` for the
    strides in question are up-sampled (each position from its two neighbours) and summed.

    >>> FCNShape(2, (2, 2, 3, 3, 3), classifier_kernel=7, finest=8).total_stride
    (32, 32)
    """

    spatial_dims: int
    convs: tuple[int, ...]
    kernel_size: int = 3
    classifier_kernel: int = 3
    finest: int = 32

    def __post_init__(self) -> None:
        if self.spatial_dims < 1 or not self.convs or min(self.convs) < 1:
            raise UsageError("a fully convolutional network needs an axis and a convolution in every stage")
        if self.kernel_size % 2 == 0 or self.classifier_kernel % 2 == 0:
            raise UsageError("kernel sizes must be odd")
        if self.finest not in [2 ** (i + 1) for i in range(len(self.convs))]:
            raise UsageError(f"no stage has the stride {self.finest}")

    @cached_property
    def axes(self) -> tuple[AxisShape, ...]:
        """One :class:`AxisShape` for each spatial axis, all alike."""
        stride = 2 ** len(self.convs)
        sources = [self.source(u, u + 1) for u in range(stride)]
        axis = AxisShape(
            stride=stride,
            remainder=0,
            smallest=stride,
            lost=0,
            margin=_halo(self.source(0, stride), stride),
            reaches=tuple((u - start, stop - 1 - u) for u, (start, stop) in enumerate(sources)),
        )
        return (axis,) * self.spatial_dims

    def source(self, start: int, stop: int) -> Interval:
        """The input positions that the outputs ``start … stop`` depend on, were the input endless."""
        first = self.finest.bit_length() - 1  # stages before the finest score layer
        scores = _before_linear((start, stop), self.finest)
        wanted = {first: scores}
        for stage in range(first + 1, len(self.convs) + 1):
            wanted[stage] = _before_linear(wanted[stage - 1], 2)
        reach = self.classifier_kernel // 2
        needed = wanted[len(self.convs)][0] - reach, wanted[len(self.convs)][1] + reach
        for stage in range(len(self.convs), 0, -1):
            score = wanted.get(stage, needed)
            needed = min(needed[0], score[0]), max(needed[1], score[1])
            reach = self.convs[stage - 1] * (self.kernel_size // 2)
            needed = 2 * needed[0] - reach, 2 * needed[1] + reach
        return needed


@dataclass(frozen=True)
class PaddedShape(NetworkShape):
    """A network that keeps the size, of which nothing is known but its stride: it may see all of its input.

    >>> PaddedShape((16, 16)).nearest_valid((90, 100))
    (96, 96)
    """

    strides: Size

    @cached_property
    def axes(self) -> tuple[AxisShape, ...]:
        """One :class:`AxisShape` for each spatial axis."""
        return tuple(
            AxisShape(stride, 0, stride, 0, _EVERYTHING, ((_EVERYTHING, _EVERYTHING),)) for stride in self.strides
        )


def per_level(value: PerLevel, levels: int, spatial_dims: int, name: str = "value") -> tuple[Size, ...]:
    """One tuple of ``spatial_dims`` numbers for each level, from a number, a number per level, or the full form.

    >>> per_level([(1, 3, 3), 3], 2, 3)
    ((1, 3, 3), (3, 3, 3))
    """
    entries = [value] * levels if isinstance(value, int) else list(value)
    if len(entries) != levels:
        raise UsageError(f"{name} has {len(entries)} entries where {levels} are needed, one per level")
    full = [(entry,) * spatial_dims if isinstance(entry, int) else tuple(entry) for entry in entries]
    for entry in full:
        if len(entry) != spatial_dims:
            raise UsageError(f"{name} has {_by(entry)} where {spatial_dims} numbers are needed, one per axis")
    return tuple(full)


def _before_transposed(interval: Interval, stride: int) -> Interval:
    """What an interval depends on before a transposed convolution whose kernel is its stride."""
    return interval[0] // stride, (interval[1] - 1) // stride + 1


def _before_linear(interval: Interval, stride: int) -> Interval:
    """What an interval depends on before linear up-sampling, where each position lies between two."""
    first, last = interval[0], interval[1] - 1
    # position u comes from (u + 1/2) / stride - 1/2: from the one below and the one above, which may coincide
    return (2 * first + 1 - stride) // (2 * stride), -((stride - 1 - 2 * last) // (2 * stride)) + 1


def _halo(source: Interval, stride: int) -> int:
    return max(-source[0], source[1] - stride)


def _by(size: Sequence[int]) -> str:
    return "x".join(str(n) for n in size)


def _list(sizes: Sequence[Size]) -> str:
    return ", ".join(_by(size) for size in sizes)
