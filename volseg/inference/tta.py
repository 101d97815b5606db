"""Averaging over mirrored and turned copies of the image, in the memory of one.

Turning the image, predicting and turning back is the same as predicting with turned weights: a convolution with a
mirrored kernel sees in an image what the kernel sees in the mirrored one. So the turned copies of the image become
turned copies of the network, and all of them pass over the volume together, piece by piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn

from volseg.errors import UsageError
from volseg.inference.stream import Decision, Piece
from volseg.inference.tiling import Box
from volseg.networks import UNet
from volseg.networks.blocks import Convolution, TransposedConvolution


@dataclass(frozen=True, order=True)
class Turn:
    """A symmetry of the grid: axes exchanged, then some of them mirrored. Axes are counted from the first spatial one.

    >>> Turn((1, 0), (False, True)).apply(torch.tensor([[1, 2], [3, 4]]), lead=0)
    tensor([[3, 1],
            [4, 2]])
    """

    axes: tuple[int, ...]
    mirrored: tuple[bool, ...]

    @classmethod
    def none(cls, ndim: int) -> Turn:
        return cls(tuple(range(ndim)), (False,) * ndim)

    @property
    def is_none(self) -> bool:
        return self == Turn.none(len(self.axes))

    def apply(self, x: Tensor, lead: int = 2) -> Tensor:
        """Turn a tensor whose first ``lead`` axes are not spatial."""
        turned = x.permute(*range(lead), *(lead + axis for axis in self.axes))
        return turned.flip([lead + axis for axis, mirrored in enumerate(self.mirrored) if mirrored])

    def inverse(self) -> Turn:
        """The way back."""
        axes = tuple(self.axes.index(axis) for axis in range(len(self.axes)))
        return Turn(axes, tuple(self.mirrored[axis] for axis in axes))

    def then(self, other: Turn) -> Turn:
        """One turn and then another, as one."""
        axes = tuple(self.axes[axis] for axis in other.axes)
        mirrored = tuple(self.mirrored[a] != m for a, m in zip(other.axes, other.mirrored, strict=True))
        return Turn(axes, mirrored)


def turns(ndim: int, flips: Iterable[int] = (), planes: Iterable[Sequence[int]] = ()) -> tuple[Turn, ...]:
    """Every symmetry that mirroring along ``flips`` and right angles in ``planes`` make together, each once.

    >>> len(turns(3, flips=(0, 1))), len(turns(2, flips=(0,), planes=[(0, 1)]))
    (4, 8)
    """
    steps = [Turn(tuple(range(ndim)), tuple(a == axis for a in range(ndim))) for axis in flips]
    for first, second in planes:
        axes = list(range(ndim))
        axes[first], axes[second] = second, first
        steps.append(Turn(tuple(axes), tuple(a == first for a in range(ndim))))
    found = {Turn.none(ndim)}
    while True:
        more = {a.then(b) for a, b in product(found, steps)} - found
        if not more:
            return tuple(sorted(found, key=lambda turn: (not turn.is_none, turn)))
        found |= more


def turned(network: nn.Module, turn: Turn) -> nn.Module:
    """A network that gives for an image what ``network`` gives for the turned image, turned back.

    A volseg U-Net becomes a U-Net with turned weights, which can be run level by level; any other network is wrapped.
    """
    if turn.is_none:
        return network
    if not isinstance(network, UNet):
        return _Turned(network, turn)
    shape = network.shape
    for what, levels in (("kernel sizes", shape.kernel_sizes), ("strides", shape.strides)):
        if any(tuple(sizes[axis] for axis in turn.axes) != tuple(sizes) for sizes in levels):
            raise UsageError(
                f"axes with different {what} cannot be exchanged", mend="average over flips alone (inference.tta)"
            )
    back = turn.inverse()
    copy = deepcopy(network)
    with torch.no_grad():
        for layer in copy.modules():
            if isinstance(layer, Convolution | TransposedConvolution):
                layer.weight.copy_(back.apply(layer.weight.clone()))
    return copy


def averaged(
    streams: Sequence[Iterable[Piece]], decision: Decision, see: Callable[[int, Tensor], None] | None = None
) -> Iterator[Piece]:
    """The mean probability of several predictions that pass over the volume together.

    Their pieces are the same, or slabs along one axis, of which those are thinner that found less memory.

    Args:
        streams: the predictions' pieces.
        decision: how logits become probabilities.
        see: called with the number of each prediction and its probabilities in each piece.
    """
    for box, parts in _in_step(streams):
        total: Tensor | None = None
        for member, channels in enumerate(parts):
            shares = decision.probabilities(channels.float())
            if see is not None:
                see(member, shares)
            total = shares if total is None else total + shares
        assert total is not None
        del parts, channels, shares
        yield box, total / len(streams)


def watched(pieces: Iterable[Piece], decision: Decision, see: Callable[[int, Tensor], None]) -> Iterator[Piece]:
    """The pieces of a single prediction as they are, its probabilities shown on the way."""
    for box, channels in pieces:
        see(0, decision.probabilities(channels.float()))
        yield box, channels


def _in_step(streams: Sequence[Iterable[Piece]]) -> Iterator[tuple[Box, list[Tensor]]]:
    """The next piece of all streams, as far as the shortest of them goes."""
    coming = [iter(stream) for stream in streams]
    held = [next(pieces, None) for pieces in coming]
    while there := [piece for piece in held if piece is not None]:
        shortest, longest = (of((box for box, _ in there), key=lambda box: box.stop) for of in (min, max))
        axes = [a for a, (n, m) in enumerate(zip(shortest.stop, longest.stop, strict=True)) if n != m]
        axis = axes[0] if axes else 0
        parted = [_parted(piece, axis, shortest.shape[axis]) for piece in there]
        if len(there) < len(held) or any(first[0] != shortest for first, _ in parted):
            raise UsageError(f"predictions in different pieces cannot be averaged: they differ from {shortest} on")
        held = [rest for _, rest in parted]
        parts = [first[1] for first, _ in parted]
        del there, parted
        yield shortest, parts
        del parts
        held = [next(coming[i], None) if piece is None else piece for i, piece in enumerate(held)]


def _parted(piece: Piece, axis: int, rows: int) -> tuple[Piece, Piece | None]:
    """The first rows of a piece along an axis, and those that are left, if any are."""
    box, channels = piece
    left = box.shape[axis] - rows
    if left <= 0:
        return piece, None
    cut = box.start[axis] + rows
    start, stop = (tuple(cut if a == axis else n for a, n in enumerate(end)) for end in (box.start, box.stop))
    first = Box(box.start, stop), channels.narrow(axis + 1, 0, rows)
    return first, (Box(start, box.stop), channels.narrow(axis + 1, rows, left))


class _Turned(nn.Module):
    def __init__(self, network: nn.Module, turn: Turn) -> None:
        super().__init__()
        self.network = network
        self.turn = turn
        # what inference asks a network for
        self.training = network.training
        self.spatial_dims = len(turn.axes)
        if turn.axes == tuple(range(len(turn.axes))):  # a mirrored network sees as far along each axis
            self.shape = getattr(network, "shape", None)

    def forward(self, x: Tensor) -> Tensor:
        turned: Tensor = self.network(self.turn.apply(x))
        return self.turn.inverse().apply(turned)
