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
    """The mean probability of several predictions that pass over the volume in the same pieces.

    Args:
        streams: the predictions' pieces.
        decision: how logits become probabilities.
        see: called with the number of each prediction and its probabilities in each piece.
    """
    for pieces in zip(*streams, strict=True):
        box, total = pieces[0][0], None
        for member, (where, channels) in enumerate(pieces):
            if where != box:
                raise UsageError(f"predictions in different pieces cannot be averaged: {where} is not {box}")
            shares = decision.probabilities(channels.float())
            if see is not None:
                see(member, shares)
            total = shares if total is None else total + shares
        assert total is not None
        yield box, total / len(streams)


def watched(pieces: Iterable[Piece], decision: Decision, see: Callable[[int, Tensor], None]) -> Iterator[Piece]:
    """The pieces of a single prediction as they are, its probabilities shown on the way."""
    for box, channels in pieces:
        see(0, decision.probabilities(channels.float()))
        yield box, channels


class _Turned(nn.Module):
    def __init__(self, network: nn.Module, turn: Turn) -> None:
        super().__init__()
        self.network = network
        self.turn = turn

    def forward(self, x: Tensor) -> Tensor:
        turned: Tensor = self.network(self.turn.apply(x))
        return self.turn.inverse().apply(turned)
