"""Reading a box of a volume that may reach outside it: what lies there is the volume, mirrored."""

from __future__ import annotations

import torch
from torch import Tensor

from volseg.inference.tiling import Box, mirror


def read_mirrored(volume: Tensor, box: Box) -> Tensor:
    """The voxels of ``box``; the volume's last axes are the box's. A view where the box lies inside.

    >>> read_mirrored(torch.arange(4), Box((-2,), (5,))).tolist()
    [2, 1, 0, 1, 2, 3, 2]
    """
    lead = volume.ndim - len(box.start)
    outside = []
    for axis, (start, stop) in enumerate(zip(box.start, box.stop, strict=True)):
        n = volume.shape[lead + axis]
        if start >= 0 and stop <= n:
            volume = volume.narrow(lead + axis, start, stop - start)
        else:
            outside.append((lead + axis, mirror(start, stop, n)))
    for dim, indices in outside:
        volume = volume.index_select(dim, torch.tensor(indices, device=volume.device))
    return volume
