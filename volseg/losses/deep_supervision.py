"""One loss over the outputs of several levels of a network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from volseg.errors import SizeError, UsageError
from volseg.losses.truth import crop_to


class DeepSupervisionLoss(nn.Module):
    """The weighted mean of a loss over a network's outputs, finest first.

    Args:
        loss: any loss of (logits, target, weight).
        weights: a factor per level, normalised to sum 1; by default 1, 1/2, 1/4, …
        strides: what a voxel of each level measures in voxels of the target, per level one number or one per axis.
            Needed for unpadded networks, whose levels cover different fields of view; otherwise each level covers the
            whole target and its stride is the ratio of the sizes.

    >>> from volseg.losses.energy import EnergyLoss
    >>> outputs = [torch.zeros(1, 2, 8, 8), torch.zeros(1, 2, 4, 4)]
    >>> target = torch.zeros(1, 1, 8, 8, dtype=torch.uint8)
    >>> round(DeepSupervisionLoss(EnergyLoss())(outputs, target).item(), 4)
    0.6931
    """

    def __init__(
        self,
        loss: nn.Module,
        *,
        weights: Sequence[float] | None = None,
        strides: Sequence[int | Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        if weights is not None and (min(weights, default=-1) < 0 or not 0 < sum(weights) < float("inf")):
            raise UsageError("the weights of the levels must be finite, at least 0, and one of them above")
        self.loss = loss
        self.weights = None if weights is None else tuple(float(w) for w in weights)
        self.strides = None if strides is None else tuple(strides)

    def forward(self, outputs: Tensor | Sequence[Tensor], target: Tensor, weight: Tensor | None = None) -> Tensor:
        """The mean over the levels; a single tensor (a network in evaluation mode, say) is a single level."""
        levels = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        shares = self._shares(len(levels))
        if self.strides is not None and len(self.strides) < len(levels):
            raise UsageError(f"strides for {len(self.strides)} levels, the network has {len(levels)}")
        if self.strides is None and len(levels) > 1 and levels[0].shape[2:] != target.shape[2:]:
            raise UsageError(
                f"the outputs begin at {tuple(levels[0].shape[2:])} for a target of {tuple(target.shape[2:])}",
                mend="an unpadded network with deep supervision needs the strides of its levels",
            )
        terms = [
            share * self.loss(logits, *(None if x is None else self._at(level, logits, x) for x in (target, weight)))
            for level, (share, logits) in enumerate(zip(shares, levels, strict=True))
            if share > 0
        ]
        return torch.stack(terms).sum()

    def _shares(self, count: int) -> list[float]:
        if self.weights is not None and len(self.weights) < count:
            raise UsageError(f"weights for {len(self.weights)} levels, the network has {count}")
        raw = [0.5**level for level in range(count)] if self.weights is None else list(self.weights[:count])
        if sum(raw) == 0:
            raise UsageError(f"the weights of the first {count} levels are all 0")
        return [w / sum(raw) for w in raw]

    def _at(self, level: int, logits: Tensor, tensor: Tensor) -> Tensor:
        """``tensor`` at one level's resolution: the voxel nearest to each coarse voxel's centre."""
        plain = tensor.as_subclass(torch.Tensor)
        shape = tuple(logits.shape[2:])
        if self.strides is None:
            return plain if level == 0 else nearest(plain, shape)
        stride = self.strides[level]
        steps = (stride,) * len(shape) if isinstance(stride, int) else tuple(stride)
        if len(steps) != len(shape):
            raise UsageError(f"level {level} has {len(steps)} strides for {len(shape)} axes")
        return nearest(crop_to(plain, [n * s for n, s in zip(shape, steps, strict=True)]), shape)


def nearest(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Every spatial axis resampled to ``shape`` by its nearest voxels; no value is ever made up, of any type.

    >>> nearest(torch.arange(8).view(1, 1, 8), (2,))
    tensor([[[2, 6]]])
    """
    for axis, size in enumerate(shape, start=2):
        have = tensor.shape[axis]
        if size == have:
            continue
        if size > have:
            raise SizeError(f"a level of size {tuple(shape)} is finer than its target of {tuple(tensor.shape[2:])}")
        index = (2 * torch.arange(size, device=tensor.device) + 1) * have // (2 * size)  # exact, no rounding of floats
        tensor = tensor.index_select(axis, index)
    return tensor
