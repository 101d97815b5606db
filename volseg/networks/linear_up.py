"""Linear up-sampling that gives the same bits wherever a position lies."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from volseg.networks.blocks import centre_crop, convolution

_MODE = {1: "linear", 2: "bilinear", 3: "trilinear"}
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


class LinearUp(nn.Module):
    """A 1x1 convolution where the channels change, then linear interpolation: they commute, and this way is cheaper.

    ``crop`` positions, which lack a neighbour, are dropped on each side in an unpadded network.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: Sequence[int], *, crop: Sequence[int]) -> None:
        super().__init__()
        spatial_dims = len(stride)
        self.conv: nn.Module = nn.Identity()
        if in_channels != out_channels:
            self.conv = convolution(spatial_dims, in_channels, out_channels, (1,) * spatial_dims)
        self.stride = tuple(stride)
        self.crop = tuple(crop)

    def forward(self, x: Tensor) -> Tensor:
        """``x`` on the finer grid."""
        return centre_crop(interpolate(self.conv(x), self.stride), self.crop)


def interpolate(x: Tensor, stride: Sequence[int]) -> Tensor:
    """``x`` on a grid ``stride`` times as fine, each position between its two neighbours, the border repeated.

    torch's own interpolation computes each position's weights from its index in float32, which is exact only for
    powers of two; otherwise a part of a volume differs from the whole by up to 1e-4. Here the weights depend on the
    phase alone.

    >>> interpolate(torch.tensor([[[0.0, 3.0]]]), (3,))
    tensor([[[0., 0., 1., 2., 3., 3.]]])
    """
    if all(s & (s - 1) == 0 for s in stride):
        scale = tuple(float(s) for s in stride)
        return F.interpolate(x, scale_factor=scale, mode=_MODE[len(stride)], align_corners=False)
    layout = _CHANNELS_LAST.get(x.ndim, torch.contiguous_format)
    if x.is_contiguous() or not x.is_contiguous(memory_format=layout):
        layout = torch.contiguous_format
    for axis, s in enumerate(stride, start=2):
        if s > 1:
            x = _interpolate_axis(x, axis, s)
    return x.contiguous(memory_format=layout)


def _interpolate_axis(x: Tensor, axis: int, stride: int) -> Tensor:
    size = x.shape[axis]
    below = torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, size - 1)], dim=axis)
    above = torch.cat([x.narrow(axis, 1, size - 1), x.narrow(axis, size - 1, 1)], dim=axis)
    phases = []
    for phase in range(stride):
        shift = (2 * phase + 1 - stride) / (2 * stride)  # from the coarse position, in coarse steps
        phases.append(x if shift == 0 else torch.lerp(x, above if shift > 0 else below, abs(shift)))
    return torch.stack(phases, dim=axis + 1).flatten(axis, axis + 1)
