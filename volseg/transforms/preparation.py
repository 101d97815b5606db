"""From a stored volume to what the network sees, and the grids on the way: one code for training and inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from volseg.errors import UsageError
from volseg.geometry import Grid, Reorientation
from volseg.io.volume import Volume
from volseg.transforms.normalisation import normalise
from volseg.transforms.regrid import Order, regrid


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as the network sees it, and how it lies in the one it came from.

    Attributes:
        image: (channels, *spatial), float32.
        turn: from the stored axes to the network's.
        grid: the image's grid; ``turn.target`` is the same field of view with the stored voxels.
        steps: voxels of ``turn.target`` from one of ``grid`` to the next along each axis, where voxels are points and
            the two grids differ: they may do so with as many voxels.
    """

    image: Tensor
    turn: Reorientation
    grid: Grid
    steps: tuple[float, ...] | None = None

    @property
    def back(self) -> tuple[float, ...] | None:
        """The same the other way round."""
        return None if self.steps is None else tuple(1 / step for step in self.steps)


@dataclass(frozen=True)
class Preparation:
    """Orientation, spacing and intensities of what the network sees.

    Attributes:
        axcodes: the orientation axes are turned to; none keeps the stored one.
        spacing: millimetres for each axis (after turning); ``None``, or ``None`` for an axis, keeps the stored one.
        order: interpolation of images, if the spacing changes.
        normalisation: see :func:`volseg.transforms.normalisation.normalise`.
        padding: values that stand for "not measured", beside what reading found.
        voxels: ``areas``, which keep the field of view, or ``points``; see :mod:`volseg.transforms.regrid`.
        normalised: whether intensities are changed as they were ``stored``, or after they were ``resampled``.
    """

    axcodes: str | None = None
    spacing: tuple[float | None, ...] | None = None
    order: Order = "linear"
    normalisation: Mapping[str, Any] = field(default_factory=lambda: {"kind": "zscore"})
    padding: tuple[float, ...] = ()
    voxels: Literal["areas", "points"] = "areas"
    normalised: Literal["stored", "resampled"] = "stored"

    def grids(self, stored: Grid) -> tuple[Reorientation, Grid]:
        """How the axes of ``stored`` are turned, and the grid the network sees."""
        turn = stored.reoriented(self.axcodes or stored.axcodes)
        if self.spacing is None:
            return turn, turn.target
        if len(self.spacing) != stored.ndim:
            raise UsageError(f"a spacing of {len(self.spacing)} numbers does not fit a {stored.ndim}-D image")
        wanted = [new or old for new, old in zip(self.spacing, turn.target.spacing, strict=True)]
        points = self.voxels == "points"
        seen = turn.target.sampled(wanted) if points else turn.target.resampled(wanted)
        # as many areas over one field of view are the same ones; as many points may lie further apart
        same = seen.same_as(turn.target) if points else seen.shape == turn.target.shape
        return turn, turn.target if same else seen

    def image(self, channels: Sequence[Volume]) -> Prepared:
        """The channels of one case, on one grid, as the network sees them."""
        first = channels[0]
        for other in channels[1:]:
            first.grid.require_same(other.grid, where=other.source, what="two channels of a case")
        turn, grid = self.grids(first.grid)
        found = {volume.padding for volume in channels if volume.padding is not None}
        turned = [turn.apply(volume.array) for volume in channels]
        stacked = torch.from_numpy(np.stack(turned, dtype=np.float32, casting="unsafe"))
        padding = sorted({*self.padding, *found})
        steps = None
        if self.voxels == "points" and grid != turn.target:
            steps = tuple(new / old for new, old in zip(grid.spacing, turn.target.spacing, strict=True))
        if self.normalised == "resampled":
            moved = regrid(stacked, grid.shape, self.order, steps)
            return Prepared(normalise(moved, self.normalisation, padding, where=first.source), turn, grid, steps)
        # intensities first: statistics are of what was measured, not of what was interpolated
        scaled = normalise(stacked, self.normalisation, padding, where=first.source)
        return Prepared(regrid(scaled, grid.shape, self.order, steps), turn, grid, steps)

    def labels(self, labels: Volume, prepared: Prepared) -> Tensor:
        """A label map of the same case on the network's grid, (1, *spatial), in its own integer type.

        Where the grid changes, each voxel takes the label with the largest share in it: no value is invented.
        """
        prepared.turn.source.require_same(labels.grid, where=labels.source, what="image and label")
        turned = torch.from_numpy(np.array(prepared.turn.apply(labels.array), order="C")[None])
        return regrid_labels(turned, prepared.grid.shape, prepared.steps)


def regrid_labels(labels: Tensor, shape: Sequence[int], steps: Sequence[float] | None = None) -> Tensor:
    """A label map (1, *spatial) brought to ``shape``, each voxel by the largest share; ties go to the lower value."""
    if steps is None and tuple(labels.shape[1:]) == tuple(shape):
        return labels
    wide = labels.to(torch.int64) if labels.dtype in (torch.uint16, torch.uint32, torch.uint64) else labels
    result = torch.zeros((1, *shape), dtype=wide.dtype)
    best = torch.zeros((1, *shape))
    for value in torch.unique(wide):
        share = regrid((wide == value).float(), shape, "linear", steps)
        better = share > best
        result[better] = value
        best = torch.where(better, share, best)
    return result
