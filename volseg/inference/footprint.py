"""How many bytes a U-Net takes when it works row by row: arithmetic on its sizes, nothing is run."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from volseg.inference.layers import Block, Levels


def footprint(
    network: Levels, size: Sequence[int], axis: int, rows: int, replay: int = 0, batch: int = 1, classes: bool = True
) -> int:
    """The bytes of tensors alive at the worst moment, for an input of ``size`` (a valid one) and ``rows`` at a time.

    What each layer keeps for its next rows, the rows that wait in the skip connections, and the largest working set
    of any one level: only one works at a time.
    """
    shape, item = network.shape, network.dtype.itemsize
    levels = shape.levels
    sizes = shape.level_sizes(tuple(size))
    across = [prod(n for a, n in enumerate(s.entering) if a != axis) * batch * item for s in sizes]
    chunk = [1] * levels
    step = [s[axis] for s in shape.strides]
    for level in range(levels):
        chunk[level] = max(1, rows // shape.level_stride(level)[axis])
    lag = [0] * levels  # rows between where a level's encoder is and where its decoder is
    for level in reversed(range(levels - 1)):
        below = 2 * shape.block_reach(level + 1)[axis] if level + 1 < levels - 1 else shape.block_reach(level + 1)[axis]
        behind = below + lag[level + 1] + chunk[level + 1]
        lag[level] = min(step[level] * behind + chunk[level] + step[level], sizes[level].skip[axis])

    held, working = 0, 0
    for level in range(levels):
        count = min(chunk[level], sizes[level].entering[axis])
        if level == levels - 1:
            held += _tails(network.bottom, axis) * across[level]
            working = max(working, _widest(network.bottom, axis, count) * across[level])
            continue
        encoder, decoder = network.encoder[level], network.decoder[level]
        fine = min(step[level] * chunk[level + 1], sizes[level].skip[axis])
        skip = encoder.convs[-1].weight.shape[0]
        up = decoder.convs[0].weight.shape[1] - skip
        tails = _tails(encoder, axis)
        if level < replay:
            held += (2 * tails + (count + step[level]) * skip) * across[level]
            held += sum(_tails(network.encoder[i], axis) * across[i] for i in range(level))
            if encoder.residual:
                held += 2 * sum(
                    min(chunk[i], sizes[i].skip[axis]) * network.encoder[i].convs[0].weight.shape[1] * across[i]
                    for i in range(level + 1)
                )
        else:
            held += (tails + lag[level] * skip) * across[level]
        held += _tails(decoder, axis) * across[level]
        if network.ups[level].linear:  # interpolated with a row of context, then cut
            fine += 2 * step[level] + fine // 2
        on_the_way_up = _widest(decoder, axis, count) + fine * up
        if level == 0 and classes:
            on_the_way_up = max(on_the_way_up, fine * up + count * (skip + 2 * network.head.weight.shape[0]))
        working = max(working, max(_widest(encoder, axis, count), on_the_way_up) * across[level])
    return held + working


def gathered_footprint(network: Levels, size: Sequence[int], axis: int, rows: int, depth: int, batch: int = 1) -> int:
    """The same for :func:`volseg.inference.gathered.gathered_rows`, whose levels keep what passes between them."""
    shape, item = network.shape, network.dtype.itemsize
    levels = shape.levels
    sizes = shape.level_sizes(tuple(size))
    across = [prod(n for a, n in enumerate(s.entering) if a != axis) * batch * item for s in sizes]
    length = [s.entering[axis] for s in sizes]
    down = [block.convs[-1].weight.shape[0] for block in network.encoder]

    def leaving(level: int) -> int:
        block = network.bottom if level == levels - 1 else network.decoder[level]
        return block.convs[-1].weight.shape[0] * length[level] * across[level]

    def entering(level: int) -> int:
        return down[level - 1] * length[level] * across[level] if level else 0

    def at_work(level: int, count: int) -> int:
        """Of one level's blocks the larger, with its tails, what comes up to it and, in low precision, a wide copy."""
        if level == levels - 1:
            return _busy(network.bottom, axis, count, item) * across[level]
        encoder, decoder = network.encoder[level], network.decoder[level]
        up = decoder.convs[0].weight.shape[1] - down[level]
        if network.ups[level].linear:
            up *= 2
        return max(_busy(encoder, axis, count, item), _busy(decoder, axis, count, item) + count * up) * across[level]

    waiting = [down[level] * length[level] * across[level] for level in range(levels - 1)]
    whole = max(at_work(level, length[level]) + sum(waiting[depth : level + 1]) for level in range(depth, levels))
    peak = whole + sum(map(entering, range(depth + 1)))
    for level in range(depth):
        count = min(length[level], max(1, rows // shape.level_stride(level)[axis]) + 2)
        kept = sum(map(entering, range(level + 1))) + max(entering(level + 1), leaving(level + 1))
        again = _busy(network.encoder[level], axis, count, item) * across[level]
        peak = max(peak, kept + (leaving(level) if level else 0) + at_work(level, count) + again)
    return peak


def weight_bytes(network: Levels) -> int:
    """The bytes of the layers' own weights; beside the module's they are a second copy."""
    blocks = [*network.encoder, network.bottom, *network.decoder]
    weights = [c.weight for b in blocks for c in b.convs] + [u.weight for u in network.ups if u.weight is not None]
    return sum(w.numel() * w.element_size() for w in weights)


def _tails(block: Block, axis: int) -> int:
    kept = sum((c.kernel[axis] - 1) * c.weight.shape[1] for c in block.convs)
    if block.residual:
        kept += sum(c.kernel[axis] // 2 for c in block.convs) * block.convs[0].weight.shape[1]
    return kept


def _busy(block: Block, axis: int, rows: int, item: int) -> int:
    """A block at work on rows: what it keeps, its widest step, and the copy its norm makes of less than float32."""
    wide = max(c.weight.shape[0] for c in block.convs) * rows * 4 // item if item < 4 else 0
    return _tails(block, axis) + _widest(block, axis, rows) + wide


def _widest(block: Block, axis: int, rows: int) -> int:
    """Channels times rows of the largest input and output of one convolution."""
    entering = (
        2 * rows * block.convs[0].weight.shape[1] + rows * block.convs[-1].weight.shape[0] if block.residual else 0
    )
    return entering + max(
        (rows + c.kernel[axis] - 1) * c.weight.shape[1] + rows * c.weight.shape[0] for c in block.convs
    )
