"""U-Nets with instance norm a few rows at a time: the statistics of each norm are gathered before it is applied.

The upper levels run in slabs: one pass for each of their norms, over what lies before it in the level. What a level
hands down and what it gets back up are kept whole, so that no pass goes over more than one level; the levels below
``depth`` run in one piece. Every value is that of one pass over the whole volume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from volseg.inference.layers import Block, Levels
from volseg.inference.levelwise import Pulled, Read
from volseg.inference.norms import Instance
from volseg.inference.rows import Parts, RowQueue, Rows, block_rows, pool_rows, up_rows

Source = Callable[[], Rows]
"""Rows that can be asked for again, from the first on."""


def gathered_rows(network: Levels, read: Read, total: int, axis: int, rows: int, depth: int) -> Rows:
    """The logits of an input of ``total`` rows along ``axis``.

    Args:
        network: the layers.
        read: gives the input's rows.
        total: how many rows the input has; a valid size of the network.
        axis: the spatial axis that the rows follow.
        rows: how many the finest level works on at once.
        depth: how many levels run in slabs; none for all in one piece.
    """
    slabs, whole = (Pulled(network, read, total, axis, count) for count in (rows, total))

    def leaving(level: int, entering: Source) -> Source:
        """A level and all below it."""
        if level == depth:
            return lambda: whole.leaving(level, _joined(entering()))
        like = entering()
        encoder = with_statistics(network.encoder[level], lambda: map(Parts.of, entering().chunks), like)

        def encoded() -> Rows:
            return block_rows(encoder, map(Parts.of, entering().chunks), like)

        step = max(1, rows // network.shape.level_stride(level + 1)[axis])
        pooled = _kept(pool_rows(encoded(), network.shape.strides[level]), step)
        below = _kept(leaving(level + 1, pooled)(), step)
        del pooled

        def up() -> Rows:
            return up_rows(network.ups[level], below())

        def met() -> Iterator[Parts]:
            return slabs.met(level, RowQueue(axis + 2, encoded().chunks), up())

        decoder = with_statistics(network.decoder[level], met, up())
        return lambda: block_rows(decoder, met(), up())

    return slabs.logits(leaving(0, lambda: slabs.entering(0))())


def with_statistics(block: Block, chunks: Callable[[], Iterator[Parts]], like: Rows) -> Block:
    """A block whose instance norms know the statistics of what passes through it: a pass for each."""
    for index, conv in enumerate(block.convs):
        if isinstance(conv.norm, Instance):
            bare = replace(conv, norm=None, activation=nn.Identity())
            before = replace(block, convs=(*block.convs[:index], bare), residual=False)
            known = replace(conv, norm=conv.norm.measured(block_rows(before, chunks(), like).chunks))
            block = replace(block, convs=(*block.convs[:index], known, *block.convs[index + 1 :]))
    return block


def _kept(rows: Rows, step: int) -> Source:
    """Rows computed once and kept, to be had again ``step`` at a time."""
    held = [_whole(rows)]

    def chunks() -> Iterator[Tensor]:
        for start in range(0, rows.total, step):
            yield held[0].narrow(rows.dim, start, min(step, rows.total - start))

    return lambda: Rows(chunks(), rows.total, rows.dim, rows.layout)


def _joined(rows: Rows) -> Rows:
    """All rows as a single chunk."""

    def chunks() -> Iterator[Tensor]:
        held = [_whole(rows)]
        yield held.pop()

    return Rows(chunks(), rows.total, rows.dim, rows.layout)


def _whole(rows: Rows) -> Tensor:
    whole: Tensor | None = None
    start = 0
    for chunk in rows.chunks:
        count = chunk.shape[rows.dim]
        if count == rows.total:
            return chunk
        if whole is None:
            size = [*chunk.shape]
            size[rows.dim] = rows.total
            whole = torch.empty(size, dtype=chunk.dtype, device=chunk.device, memory_format=rows.layout)
        whole.narrow(rows.dim, start, count).copy_(chunk)
        start += count
        del chunk
    assert whole is not None
    return whole
