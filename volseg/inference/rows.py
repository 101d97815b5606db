"""Layers that work on a few rows of a volume at a time and together give what they give on the whole.

A *row* is everything at one index of one spatial axis. A layer pulls rows from the layer before it, keeps the few
that its next outputs need as well (a kernel of 3 keeps two), and passes on what it can already compute. Nothing is
computed twice, and what is held does not grow with the number of rows.

A generator that waits holds on to its variables; chunks are therefore handed over with ``pop``, so that the layer
that made one does not keep it alive while the next works on it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from volseg.inference.layers import Block, Conv, Up

_POOL: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


@dataclass
class Rows:
    """Consecutive rows of a volume, in chunks pulled one by one; ``dim`` is the tensor dimension they follow."""

    chunks: Iterator[Tensor]
    total: int
    dim: int
    layout: torch.memory_format


class RowQueue:
    """Rows put in at one end and taken from the other in any numbers; pulls from ``source`` when it runs short."""

    def __init__(self, dim: int, source: Iterator[Tensor] | None = None) -> None:
        self._dim = dim
        self._source = source
        self._chunks: deque[Tensor] = deque()
        self._taken = 0  # rows of the first chunk
        self.rows = 0

    def put(self, chunk: Tensor) -> None:
        self._chunks.append(chunk)
        self.rows += chunk.shape[self._dim]

    def take(self, count: int) -> Iterator[Tensor]:
        """The next ``count`` rows, as views, piece by piece."""
        while count:
            while not self.rows and self._source is not None:
                self.put(next(self._source))
            chunk = self._chunks[0]
            size = min(count, chunk.shape[self._dim] - self._taken)
            piece = [chunk.narrow(self._dim, self._taken, size)]
            count -= size
            self.rows -= size
            self._taken += size
            if self._taken == chunk.shape[self._dim]:
                self._chunks.popleft()
                self._taken = 0
            del chunk
            yield piece.pop()


class ConvRows:
    """A convolution that is fed rows: write them into :meth:`room`, then :meth:`advance`."""

    def __init__(self, conv: Conv, total: int, dim: int, layout: torch.memory_format) -> None:
        self.conv = conv
        self._dim = dim
        self._layout = layout
        self._kernel = conv.kernel[dim - 2]
        self._pad = conv.padding[dim - 2]
        self._across = tuple(0 if axis == dim - 2 else p for axis, p in enumerate(conv.padding))
        self._awaited = self._entering = total
        self.total = total + 2 * self._pad - self._kernel + 1
        self._tail: Tensor | None = None
        self._buffer: Tensor | None = None
        self._onednn: bool | None = None

    def room(self, shape: Sequence[int], like: Tensor) -> Tensor:
        """Where to write the next rows. The network's zero padding lies before the first and after the last."""
        count = shape[self._dim]
        self._awaited -= count
        before = self._pad if self._tail is None else self._tail.shape[self._dim]
        after = 0 if self._awaited else self._pad
        size = [*shape]
        if self._onednn is None:
            size[self._dim] = self._entering
            self._onednn = self.conv.by_onednn(size)
        size[self._dim] = before + count + after
        buffer = torch.empty(size, dtype=like.dtype, device=like.device, memory_format=self._layout)
        head = buffer.narrow(self._dim, 0, before)
        if self._tail is None:
            head.zero_()
        else:
            head.copy_(self._tail)
        buffer.narrow(self._dim, before + count, after).zero_()
        self._buffer = buffer
        return buffer.narrow(self._dim, before, count)

    def advance(self) -> Tensor | None:
        """The convolution of what was written, before its activation; nothing while there are too few rows."""
        buffer, self._buffer = self._buffer, None
        assert buffer is not None
        held = buffer.shape[self._dim]
        if held < self._kernel:
            self._tail = buffer
            return None
        keep = self._kernel - 1
        # copied, so that the buffer itself can go once the convolution is done
        self._tail = buffer.narrow(self._dim, held - keep, keep).clone(memory_format=self._layout)
        return self.conv(buffer, self._across, bool(self._onednn))


class Parts:
    """Tensors that lie next to each other, along rows and channels, and make one chunk without being joined yet."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self._pieces: list[tuple[int, int, Tensor]] = []

    @classmethod
    def of(cls, chunk: Tensor) -> Parts:
        """A chunk that is one tensor already."""
        parts = cls(chunk.shape)
        parts.add(chunk, 0, 0)
        return parts

    def add(self, piece: Tensor, channel: int, row: int) -> None:
        self._pieces.append((channel, row, piece))

    @property
    def like(self) -> Tensor:
        return self._pieces[0][2]

    def write(self, into: Tensor, dim: int) -> None:
        """Copy the pieces to where they belong, and let them go."""
        while self._pieces:
            channel, row, piece = self._pieces.pop()
            into.narrow(1, channel, piece.shape[1]).narrow(dim, row, piece.shape[dim]).copy_(piece)


def block_rows(block: Block, chunks: Iterator[Parts], like: Rows) -> Rows:
    """A level's convolutions; ``like`` says how many rows there are and how they lie."""
    units: list[ConvRows] = []
    total = like.total
    for conv in block.convs:
        units.append(ConvRows(conv, total, like.dim, like.layout))
        total = units[-1].total
    if block.residual:
        return Rows(_residual(block, units, chunks, like), total, like.dim, like.layout)
    return Rows(_units(units, chunks, like.dim), total, like.dim, like.layout)


def _units(units: Sequence[ConvRows], chunks: Iterator[Parts], dim: int) -> Iterator[Tensor]:
    first, last = units[0], units[-1]
    for parts in chunks:
        parts.write(first.room(parts.shape, parts.like), dim)
        y = first.advance()
        for before, unit in pairwise(units):
            if y is None:
                break
            before.conv.finish(y, into=unit.room(y.shape, y))
            del y
            y = unit.advance()
        if y is not None:
            held = [last.conv.finish(y)]
            del y
            yield held.pop()


def _residual(block: Block, units: Sequence[ConvRows], chunks: Iterator[Parts], like: Rows) -> Iterator[Tensor]:
    """The block's input waits for the convolutions' output and is added to it."""
    entered = RowQueue(like.dim)
    drop = block.crop[like.dim - 2]  # unpadded: rows that the convolutions lose at the start

    def remembered() -> Iterator[Parts]:
        nonlocal drop
        for parts in chunks:
            chunk = torch.empty(
                parts.shape, dtype=parts.like.dtype, device=parts.like.device, memory_format=like.layout
            )
            parts.write(chunk, like.dim)
            entered.put(chunk)
            lost = min(drop, entered.rows)
            drop -= lost
            for _ in entered.take(lost):
                pass
            yield Parts.of(chunk)

    for y in _units(units, remembered(), like.dim):
        row = 0
        for x in entered.take(y.shape[like.dim]):
            part = y.narrow(like.dim, row, x.shape[like.dim])
            x = across(x, block.crop, like.dim)
            part.add_(x if block.shortcut is None else block.shortcut(x))
            row += x.shape[like.dim]
        yield block.activate(y)


def across(x: Tensor, crop: Sequence[int], dim: int) -> Tensor:
    """``x`` without ``crop`` positions on each side of its spatial axes other than ``dim``."""
    for axis, c in enumerate(crop, start=2):
        if c and axis != dim:
            x = x.narrow(axis, c, x.shape[axis] - 2 * c)
    return x


def grouped(rows: Rows, size: int) -> Iterator[Tensor]:
    """The same rows in chunks of multiples of ``size``; left-over rows at the end are dropped, as a pooling does."""
    rest: Tensor | None = None
    for chunk in rows.chunks:
        if rest is not None and rest.shape[rows.dim]:
            chunk = torch.cat([rest, chunk], dim=rows.dim)
        count = chunk.shape[rows.dim]
        whole = count - count % size
        rest = chunk.narrow(rows.dim, whole, count - whole).clone(memory_format=rows.layout)
        if whole:
            held = [chunk.narrow(rows.dim, 0, whole)]
            del chunk
            yield held.pop()


def pool_rows(rows: Rows, stride: Sequence[int]) -> Rows:
    """Max pooling whose kernel is its stride."""
    step = stride[rows.dim - 2]

    def chunks() -> Iterator[Tensor]:
        for chunk in grouped(rows, step):
            held = [max_pool(chunk, stride)]
            del chunk
            yield held.pop()

    return Rows(chunks(), rows.total // step, rows.dim, rows.layout)


def max_pool(x: Tensor, stride: Sequence[int]) -> Tensor:
    return _POOL[x.ndim - 2](x, tuple(stride), tuple(stride))


def up_rows(up: Up, rows: Rows) -> Rows:
    """The rows on the next finer grid."""
    step, crop = up.scale[rows.dim - 2], up.crop[rows.dim - 2]
    if up.linear:
        return Rows(_linear_up(up, rows), rows.total * step - 2 * crop, rows.dim, rows.layout)

    def chunks() -> Iterator[Tensor]:
        for chunk in rows.chunks:
            held = [up.transposed(chunk)]
            del chunk
            yield held.pop()

    return Rows(chunks(), rows.total * step, rows.dim, rows.layout)


def _linear_up(up: Up, rows: Rows) -> Iterator[Tensor]:
    """Interpolate with one row of context on each side; at the volume's ends there is none, as on the whole."""
    dim = rows.dim
    step, drop = up.scale[dim - 2], up.crop[dim - 2]
    reach = 0 if step == 1 else 1
    seen, done = 0, 0  # rows received, rows interpolated
    context: Tensor | None = None
    for chunk in rows.chunks:
        mixed = chunk if up.mix is None else up.mix(chunk)
        seen += chunk.shape[dim]
        del chunk
        if context is not None:
            mixed = torch.cat([context, mixed], dim=dim)
        first = seen - mixed.shape[dim]
        ready = seen if seen == rows.total else seen - reach
        if ready > done:
            fine = up.interpolate(mixed).narrow(dim, (done - first) * step, (ready - done) * step)
            start = max(0, drop - done * step)
            stop = min(fine.shape[dim], rows.total * step - drop - done * step)
            done = ready
            keep = max(0, ready - reach)
            context = mixed.narrow(dim, keep - first, seen - keep).clone(memory_format=rows.layout)
            del mixed
            if stop > start:
                held = [across(fine.narrow(dim, start, stop - start), up.crop, dim)]
                del fine
                yield held.pop()
        else:
            context = mixed
