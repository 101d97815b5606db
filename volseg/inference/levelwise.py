"""A U-Net a few rows at a time: the result of one pass, in a fraction of its memory.

The levels pull rows from each other like the layers of :mod:`volseg.inference.rows`. The skip connection of a level
holds the rows between where its encoder is and where its decoder is, which lags behind by what the levels below see:
tens of rows, whatever the volume's length. Where even these are too many, the encoder of the upper levels runs a second
time, just ahead of the decoder (``replay``), and they are not held at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import Tensor

from volseg.inference.layers import Levels
from volseg.inference.rows import Parts, RowQueue, Rows, across, block_rows, pool_rows, up_rows

Read = Callable[[int, int], Tensor]
"""The network's input between two rows, all of it across; already mirrored where it reaches beyond the volume."""


def logits_rows(network: Levels, read: Read, total: int, axis: int, rows: int, replay: int = 0) -> Rows:
    """The logits of an input of ``total`` rows along ``axis``, about ``rows`` at a time.

    Args:
        network: the layers.
        read: gives the input's rows.
        total: how many rows the input has; a valid size of the network.
        axis: the spatial axis that the rows follow.
        rows: how many the finest level works on at once.
        replay: for how many levels the encoder runs again for the decoder, instead of its features being held.
    """
    pulled = Pulled(network, read, total, axis, rows, replay)
    return pulled.logits(pulled.leaving(0, pulled.entering(0)))


class Pulled:
    """The levels of a network over one input, each pulling rows from the one before it."""

    def __init__(self, network: Levels, read: Read, total: int, axis: int, rows: int, replay: int = 0) -> None:
        self.network = network
        self.read = read
        self.total = total
        self.axis = axis
        self.dim = axis + 2
        self.rows = rows
        self.replay = replay

    def entering(self, level: int) -> Rows:
        """What enters a level, computed from the input on."""
        if level == 0:
            return Rows(self._input(), self.total, self.dim, self.network.layout)
        encoded = self.encoded(level - 1, self.entering(level - 1))
        return pool_rows(encoded, self.network.shape.strides[level - 1])

    def encoded(self, level: int, entering: Rows) -> Rows:
        return block_rows(self.network.encoder[level], map(Parts.of, entering.chunks), entering)

    def leaving(self, level: int, entering: Rows) -> Rows:
        """A level and all below it."""
        network = self.network
        if level == network.shape.levels - 1:
            return block_rows(network.bottom, map(Parts.of, entering.chunks), entering)
        encoded = self.encoded(level, entering)
        if level < self.replay:
            skip = RowQueue(self.dim, self.encoded(level, self.entering(level)).chunks)
            passed = encoded
        else:
            skip = RowQueue(self.dim)
            passed = Rows(_noted(encoded.chunks, skip), encoded.total, self.dim, network.layout)
        below = self.leaving(level + 1, pool_rows(passed, network.shape.strides[level]))
        up = up_rows(network.ups[level], below)
        return block_rows(network.decoder[level], self.met(level, skip, up), up)

    def logits(self, features: Rows) -> Rows:
        """The head's output for features of the finest level."""

        def chunks() -> Iterator[Tensor]:
            for chunk in features.chunks:
                held = [self.network.head(chunk)]
                del chunk
                yield held.pop()

        return Rows(chunks(), features.total, features.dim, features.layout)

    def met(self, level: int, skip: RowQueue, up: Rows) -> Iterator[Parts]:
        """The skip connection next to what came up from below, at most :attr:`rows` (of this level) at a time."""
        crop = self.network.shape.skip_crop(level)
        step = max(1, self.rows // self.network.shape.level_stride(level)[self.axis])
        drop = crop[self.axis]
        for fine in up.chunks:
            for _ in skip.take(drop):
                pass
            drop = 0
            count = fine.shape[self.dim]
            for start in range(0, count, step):
                yield self._pair(skip, fine.narrow(self.dim, start, min(step, count - start)), crop)

    def _pair(self, skip: RowQueue, fine: Tensor, crop: tuple[int, ...]) -> Parts:
        pieces = [across(piece, crop, self.dim) for piece in skip.take(fine.shape[self.dim])]
        width = pieces[0].shape[1]
        parts = Parts((fine.shape[0], width + fine.shape[1], *fine.shape[2:]))
        row = 0
        for piece in pieces:
            parts.add(piece, 0, row)
            row += piece.shape[self.dim]
        parts.add(fine, width, 0)
        return parts

    def _input(self) -> Iterator[Tensor]:
        network = self.network
        for start in range(0, self.total, self.rows):
            x = self.read(start, min(start + self.rows, self.total))
            yield x.to(network.device, network.dtype)


def _noted(chunks: Iterator[Tensor], queue: RowQueue) -> Iterator[Tensor]:
    for chunk in chunks:
        queue.put(chunk)
        held = [chunk]
        del chunk
        yield held.pop()
