"""How far a network from elsewhere sees, and its stride: found by feeding it NaN.

Whatever a NaN voxel reaches in the output becomes NaN, through convolutions, norms, activations and poolings alike,
even where a weight is zero. One pass with one plane of NaN tells which outputs depend on that plane. The stride is the
smallest power of two by which the plane can move so that what it reaches moves as far.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from volseg.errors import SizeError, UsageError
from volseg.inference.tiling import Padding
from volseg.shapes import NetworkShape

Network = Callable[[Tensor], Tensor]

_STRIDES = (1, 2, 4, 8, 16, 32, 64)
_LENGTHS = (64, 128, 256, 512, 1024)
_ACROSS = (16, 32, 64, 128)
_GIVE = "give margin and stride, or use blend"


class SeesEverything(UsageError):
    """A network whose every output depends on all of its input: no piece gives what the whole gives."""


@dataclass(frozen=True)
class Reach:
    """What tiles need to know of a network, one number per axis; see :func:`volseg.inference.tiling.plan`."""

    margin: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Padding
    remainder: tuple[int, ...]

    @classmethod
    def of(cls, shape: NetworkShape) -> Reach:
        """From what one of volseg's networks knows of itself."""
        valid = any(axis.lost for axis in shape.axes)
        return cls(
            tuple(axis.lost if valid else axis.margin for axis in shape.axes),
            shape.total_stride,
            "valid" if valid else "same",
            tuple(axis.remainder for axis in shape.axes),
        )


@torch.inference_mode()
def probe(network: Network, like: Tensor, spatial_dims: int) -> Reach:
    """The reach of a padded network, measured; ``like`` has its channels, type and device.

    Raises:
        SeesEverything: if every output depends on all of the input (instance, group and layer norms, attention,
            global pooling), or the stride is no power of two.
        UsageError: if the output has another size than the input.
    """
    across = _smallest_size(network, like, spatial_dims)
    found = [_axis(network, like, spatial_dims, axis, across) for axis in range(spatial_dims)]
    return Reach(
        tuple(margin for margin, _ in found), tuple(stride for _, stride in found), "same", (0,) * spatial_dims
    )


def _smallest_size(network: Network, like: Tensor, dims: int) -> int:
    failure: Exception | None = None
    for size in _ACROSS:
        try:
            output = network(like.new_zeros(1, like.shape[1], *(size,) * dims))
        except (RuntimeError, ValueError) as error:  # a size that its poolings and joints do not take
            failure = error
            continue
        if not isinstance(output, Tensor) or tuple(output.shape[2:]) != (size,) * dims:
            raise UsageError("the network's output has not its input's size", mend=_GIVE)
        return size
    raise UsageError(f"the network takes no input of {_ACROSS[-1]} voxels a side ({failure})", mend=_GIVE)


def _axis(network: Network, like: Tensor, dims: int, axis: int, across: int) -> tuple[int, int]:
    for length in _LENGTHS:
        middle = length // 2  # on the grid of every stride in question
        first = _touched(network, like, dims, axis, across, length, middle)
        if first[0] == 0 or first[1] == length:
            continue  # it may reach further: ask again with a longer input
        for stride in _STRIDES:
            if stride >= length // 4:
                break
            moved = _touched(network, like, dims, axis, across, length, middle + stride)
            if moved == (first[0] + stride, first[1] + stride):
                phases = [first] + [
                    _touched(network, like, dims, axis, across, length, middle + shift) for shift in range(1, stride)
                ]
                if all(low > 0 and high < length for low, high in phases):
                    left = max(middle + shift - low for shift, (low, _) in enumerate(phases))
                    right = max(high - 1 - middle - shift for shift, (_, high) in enumerate(phases))
                    return max(left, right), stride
    raise SeesEverything(
        f"axis {axis}: the network sees further than {_LENGTHS[-1] // 2} voxels, or all of its input", mend=_GIVE
    )


def _touched(
    network: Network, like: Tensor, dims: int, axis: int, across: int, length: int, position: int
) -> tuple[int, int]:
    size = [across] * dims
    size[axis] = length
    x = like.new_zeros(1, like.shape[1], *size)
    x.narrow(axis + 2, position, 1).fill_(float("nan"))
    output = network(x)
    if tuple(output.shape[2:]) != tuple(size):
        raise SizeError(f"an input of {size} gave an output of {tuple(output.shape[2:])}", mend=_GIVE)
    reached = output.isnan().transpose(1, axis + 2)[0].flatten(1).any(dim=1).nonzero()
    if not len(reached):
        raise UsageError("the network hides NaN, its reach cannot be measured", mend=_GIVE)
    return int(reached[0]), int(reached[-1]) + 1
