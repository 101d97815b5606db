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


def _widest(block: Block, axis: int, rows: int) -> int:
    """Channels times rows of the largest input and output of one convolution."""
    entering = (
        2 * rows * block.convs[0].weight.shape[1] + rows * block.convs[-1].weight.shape[0] if block.residual else 0
    )
    return entering + max(
        (rows + c.kernel[axis] - 1) * c.weight.shape[1] + rows * c.weight.shape[0] for c in block.convs
    )
