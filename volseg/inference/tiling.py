"""Which voxels a piece reads and which it keeps: integer arithmetic, nothing else.

A network's result at a voxel depends on the input within its *margin*, and on where the voxel lies on the network's
*stride* grid (the product of its poolings). Pieces that start on that grid and read the margin around what they keep
therefore give the voxels of one pass over the whole volume. Where the margin reaches beyond the volume, an unpadded
network reads the volume mirrored at its borders; a padded network reads up to the border and no further, so that its
own zero padding lies where it lies in the one pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Literal

from volseg.errors import SizeError, UsageError

Padding = Literal["same", "valid"]


@dataclass(frozen=True)
class Box:
    """A block of voxels: from ``start`` up to, not including, ``stop`` along each axis. It may reach outside a volume.

    >>> Box((0, 4), (2, 8)).shape
    (2, 4)
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.start) != len(self.stop) or any(a >= b for a, b in zip(self.start, self.stop, strict=True)):
            raise UsageError(f"a box from {self.start} to {self.stop} holds no voxel")

    @classmethod
    def whole(cls, shape: Sequence[int]) -> Box:
        """The box that holds all of an array of this shape."""
        return cls((0,) * len(shape), tuple(shape))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """How many voxels it holds."""
        return prod(self.shape)

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box as an index of the array it lies in."""
        return tuple(slice(a, b) for a, b in zip(self.start, self.stop, strict=True))

    def within(self, other: Box) -> Box:
        """The same voxels, counted from the first voxel of ``other``.

        >>> Box((4, 4), (6, 6)).within(Box((3, 4), (9, 9)))
        Box(start=(1, 0), stop=(3, 2))
        """
        moved = [(a - o, b - o) for a, b, o in zip(self.start, self.stop, other.start, strict=True)]
        return Box(tuple(a for a, _ in moved), tuple(b for _, b in moved))


@dataclass(frozen=True)
class Tile:
    """One piece of work: the box the network reads, where its result lies, and the part of that which is kept."""

    read: Box
    gives: Box
    keep: Box

    @property
    def crop(self) -> tuple[slice, ...]:
        """The kept voxels as an index of the network's output."""
        return self.keep.within(self.gives).slices


@dataclass(frozen=True)
class TilePlan:
    """Pieces that together keep every voxel of ``shape`` exactly once, as :func:`plan` lays them out.

    ``spans`` holds, for each axis, its pieces as ``(read start, read stop, keep start, keep stop)``; the tiles are
    every combination of them, in the array's order.
    """

    shape: tuple[int, ...]
    tile: tuple[int, ...]
    margin: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Padding
    remainder: tuple[int, ...]
    spans: tuple[tuple[tuple[int, int, int, int], ...], ...]
    one_pass: tuple[int, ...]

    def __post_init__(self) -> None:
        for n, spans in zip(self.shape, self.spans, strict=True):
            joints = [0, *(span[3] for span in spans)]
            if joints[-1] != n or [span[2] for span in spans] != joints[:-1]:
                raise UsageError(f"the pieces {spans} do not cover an axis of {n} voxels exactly once")

    def __len__(self) -> int:
        return prod(len(spans) for spans in self.spans)

    def __iter__(self) -> Iterator[Tile]:
        for spans in product(*self.spans):
            yield self._tile(spans)

    def around(self, keep: Box) -> Tile:
        """A smaller tile of the same plan: one that keeps ``keep``, which must start on the stride grid."""
        if any(a % s for a, s in zip(keep.start, self.stride, strict=True)):
            raise UsageError(f"a tile cannot start at {keep.start}", mend=f"start on multiples of {self.stride}")
        spans = []
        for axis, (start, stop) in enumerate(zip(keep.start, keep.stop, strict=True)):
            if self.padding == "same":
                spans.append(_read_padded(self.shape[axis], start, stop, self.margin[axis], self.stride[axis]))
            else:
                spans.append(_read_unpadded(start, stop, self.margin[axis], self.stride[axis], self.remainder[axis]))
        return self._tile(spans)

    def _tile(self, spans: Sequence[tuple[int, int, int, int]]) -> Tile:
        lost = self.margin if self.padding == "valid" else (0,) * len(self.shape)
        read = Box(tuple(span[0] for span in spans), tuple(span[1] for span in spans))
        gives = Box(
            tuple(a + m for a, m in zip(read.start, lost, strict=True)),
            tuple(b - m for b, m in zip(read.stop, lost, strict=True)),
        )
        return Tile(read, gives, Box(tuple(span[2] for span in spans), tuple(span[3] for span in spans)))

    @property
    def recomputation(self) -> float:
        """How many voxels the pieces read for each that one pass over the whole volume reads.

        >>> plan((192, 192, 192), tile=96, margin=44, stride=8).recomputation  # each half reads 144 of 192, per axis
        3.375
        """
        per_axis = [sum(b - a for a, b, _, _ in spans) for spans in self.spans]
        return prod(per_axis) / prod(self.one_pass)

    @property
    def largest(self) -> tuple[int, ...]:
        """The largest read along each axis: the network never sees a larger input."""
        return tuple(max(b - a for a, b, _, _ in spans) for spans in self.spans)


def plan(
    shape: Sequence[int],
    tile: int | Sequence[int],
    margin: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: Padding = "same",
    remainder: int | Sequence[int] = 0,
) -> TilePlan:
    """Lay out tiles so that every voxel is kept exactly once and equals that of one pass over the whole volume.

    >>> for tile in plan((12,), tile=8, margin=3, stride=4):
    ...     print(tile.read, tile.keep)
    Box(start=(0,), stop=(12,)) Box(start=(0,), stop=(8,))
    Box(start=(4,), stop=(12,)) Box(start=(8,), stop=(12,))

    Args:
        shape: the volume's size; one number per axis.
        tile: how many voxels a tile keeps along each axis at most; brought down to the stride grid.
        margin: how far away the input still has influence (for an unpadded network: what it loses on each side).
        stride: the period of the network: moving the input by a stride moves the output by as much.
        padding: ``same`` for a padded network, whose output has its input's size, ``valid`` for an unpadded one.
        remainder: an unpadded network takes the sizes ``stride * k + remainder`` (12 for the paper's, with stride 16).
    """
    shape = tuple(int(n) for n in shape)
    if not shape or min(shape) < 1:
        raise SizeError(f"a volume of {shape} voxels has nothing to predict")
    tiles, margins, strides, rest = (_per_axis(v, shape) for v in (tile, margin, stride, remainder))
    if min(tiles) < 1 or min(strides) < 1 or min(margins) < 0:
        raise UsageError(
            f"tiles of {tiles} with margin {margins} and stride {strides} mean nothing", mend="use sizes ≥ 1"
        )
    if padding == "same":
        spans = [_padded(n, t, m, s) for n, t, m, s in zip(shape, tiles, margins, strides, strict=True)]
    elif padding == "valid":
        spans = [_unpadded(*axis) for axis in zip(shape, tiles, margins, strides, rest, strict=True)]
    else:
        raise UsageError(f"padding is 'same' or 'valid', not {padding!r}")
    return TilePlan(
        shape,
        tiles,
        margins,
        strides,
        padding,
        rest,
        tuple(spans),
        one_pass_size(shape, margins, strides, padding, rest),
    )


def one_pass_size(
    shape: Sequence[int],
    margin: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    remainder: Sequence[int],
) -> tuple[int, ...]:
    """The input of one pass over the whole volume, mirrored up to what the network takes.

    >>> one_pass_size((388,), (92,), (16,), "valid", (12,))
    (572,)
    """
    lost = [2 * m if padding == "valid" else 0 for m in margin]
    rest = remainder if padding == "valid" else (0,) * len(stride)
    return tuple(next_size(n + loss, s, r) for n, loss, s, r in zip(shape, lost, stride, rest, strict=True))


def layers_axis(first: Box, shape: Sequence[int]) -> int:
    """The axis along which pieces of a volume come in layers, as the first of them tells.

    It is the only one that is parted, or, of several, the first.

    >>> layers_axis(Box((0, 0), (8, 4)), (8, 8)), layers_axis(Box((0, 0), (4, 4)), (8, 8))
    (1, 0)
    """
    parted = [axis for axis, (n, size) in enumerate(zip(first.shape, shape, strict=True)) if n < size]
    return parted[0] if len(parted) == 1 else 0


def next_size(n: int, stride: int, remainder: int = 0) -> int:
    """The smallest ``stride * k + remainder`` that is not below ``n``.

    >>> next_size(570, 16, 12)
    572
    """
    return n + (remainder - n) % stride


def mirror(start: int, stop: int, n: int) -> list[int]:
    """Indices into an axis of ``n`` voxels for positions that may lie outside it: numpy's ``reflect``, as far as asked.

    >>> mirror(-3, 6, 4)
    [3, 2, 1, 0, 1, 2, 3, 2, 1]
    """
    period = max(2 * (n - 1), 1)
    folded = (i % period for i in range(start, stop))
    return [min(i, period - i) if n > 1 else 0 for i in folded]


def _per_axis(value: int | Sequence[int], shape: Sequence[int]) -> tuple[int, ...]:
    values = (value,) * len(shape) if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != len(shape):
        raise UsageError(f"{values} has {len(values)} numbers for a volume with {len(shape)} axes")
    return values


def _keeps(n: int, tile: int, stride: int) -> Iterator[tuple[int, int]]:
    step = n if tile >= n else max(tile // stride, 1) * stride
    for start in range(0, n, step):
        yield start, min(start + step, n)


def _padded(n: int, tile: int, margin: int, stride: int) -> tuple[tuple[int, int, int, int], ...]:
    return tuple(_read_padded(n, start, stop, margin, stride) for start, stop in _keeps(n, tile, stride))


def _unpadded(n: int, tile: int, margin: int, stride: int, rest: int) -> tuple[tuple[int, int, int, int], ...]:
    return tuple(_read_unpadded(start, stop, margin, stride, rest) for start, stop in _keeps(n, tile, stride))


def _read_padded(n: int, start: int, stop: int, margin: int, stride: int) -> tuple[int, int, int, int]:
    reach = next_size(margin, stride)
    end = next_size(n, stride)
    return max(0, start - reach), min(end, next_size(stop, stride) + reach), start, stop


def _read_unpadded(start: int, stop: int, margin: int, stride: int, rest: int) -> tuple[int, int, int, int]:
    return start - margin, start - margin + next_size(stop - start + 2 * margin, stride, rest), start, stop
