"""What a loss is measured against: the target and its voxel weights, brought onto the network's output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from volseg.errors import LabelError, SizeError, UsageError

# torch can do little with them
_RARE = (torch.bool, torch.uint16, torch.uint32, torch.uint64)


@dataclass(frozen=True)
class Reading:
    """How a loss reads its target.

    Args:
        ignore: the target value that carries no truth; the same as a voxel weight of 0.
        sigmoid: channels are independent and may overlap; the target has one channel of 0 and 1 (or in between) each.
        regions: the label values that make up each channel; implies ``sigmoid``, and the target stays one integer
            channel.
    """

    ignore: int | None = None
    sigmoid: bool = False
    regions: tuple[tuple[int, ...], ...] | None = None

    @classmethod
    def of(cls, ignore: int | None, sigmoid: bool, regions: Sequence[Sequence[int]] | None) -> Reading:
        kept = None if regions is None else tuple(tuple(int(v) for v in parts) for parts in regions)
        if kept is not None and (not kept or not all(kept)):
            raise UsageError("regions must name at least one label value each")
        if kept is not None and ignore is not None and any(ignore in parts for parts in kept):
            raise UsageError(f"the ignore value {ignore} cannot be part of a region")
        return cls(ignore, sigmoid or kept is not None, kept)

    def read(self, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Truth:
        """The truth on the grid of ``logits``; an unpadded network's target is cropped to the centre."""
        channels = logits.shape[1]
        if not self.sigmoid and channels < 2:
            raise UsageError("softmax over one channel is constant", mend="give two output channels, or sigmoid=True")
        if self.regions is not None and len(self.regions) != channels:
            raise UsageError(f"{len(self.regions)} regions for a network of {channels} output channels")
        expected = channels if self.sigmoid and self.regions is None else 1
        target = _onto(logits, target, expected, "target")
        known = _known(target, self.ignore)
        complete = weight is None and self.ignore is None
        if weight is None:
            weight = known.to(accumulating(logits.dtype))
        else:
            weight = _onto(logits, weight, 1, "weight").to(accumulating(logits.dtype))
            if weight.numel() and not bool((weight.amin() >= 0) & (weight.amax() < torch.inf)):
                raise UsageError("voxel weights must be finite numbers of at least 0")
            weight = torch.where(known, weight, 0)
        if self.regions is not None:
            parts = [torch.isin(target, target.new_tensor(_held(target, values))) for values in self.regions]
            return Truth(None, torch.cat(parts, dim=1), weight, complete)
        if self.sigmoid:
            return Truth(None, torch.where(known, target, 0), weight, complete)
        return Truth(_classes(target, known, channels), None, weight, complete)


@dataclass(frozen=True)
class Truth:
    """A target on the network's output grid: a class per voxel, or a channel per region, and a weight per voxel."""

    #: [B, *S], integer; unlabelled voxels hold 0 and weigh 0
    classes: Tensor | None
    #: [B, C, *S], in 0 … 1
    regions: Tensor | None
    #: [B, 1, *S]; 0 means unlabelled
    weight: Tensor

    #: nothing is unlabelled, known without looking: neither weights nor an ignore value were given
    complete: bool = False

    def channels(self, count: int, labelled: Tensor) -> Tensor:
        """[B, C, *S]: the regions, or the classes one-hot, as 0 and 1; all 0 where ``labelled`` is."""
        if self.classes is None:
            assert self.regions is not None
            return self.regions * labelled
        shape = (len(labelled), count, *labelled.shape[2:])
        return labelled.new_zeros(shape).scatter_(1, self.classes.unsqueeze(1), labelled)


def accumulating(dtype: torch.dtype) -> torch.dtype:
    """The type a loss is computed in: float64 stays, everything narrower becomes float32.

    A softmax in float16 underflows beyond a difference of 17, and its sums overflow at 65504.
    """
    return torch.float64 if dtype == torch.float64 else torch.float32


def crop_to(tensor: Tensor, shape: Sequence[int], what: str = "target") -> Tensor:
    """The centre of the spatial axes (all but the first two), of size ``shape``.

    >>> crop_to(torch.arange(6).view(1, 1, 6), (2,))
    tensor([[[2, 3]]])
    """
    have = tuple(tensor.shape[2:])
    lost = [h - w for h, w in zip(have, shape, strict=True)]
    if min(lost) < 0:
        raise SizeError(f"the {what} of size {have} is smaller than the network's output {tuple(shape)}")
    if any(n % 2 for n in lost):
        raise SizeError(
            f"the {what} of size {have} has no centre of size {tuple(shape)}",
            mend="an unpadded network loses the same margin on both sides",
        )
    for axis, (margin, size) in enumerate(zip(lost, shape, strict=True), start=2):
        tensor = tensor.narrow(axis, margin // 2, size)
    return tensor


def _onto(logits: Tensor, tensor: Tensor, channels: int, what: str) -> Tensor:
    if tensor.ndim != logits.ndim or tensor.shape[:2] != (logits.shape[0], channels):
        expected = f"[{logits.shape[0]}, {channels}, …] with {logits.ndim - 2} spatial axes"
        raise UsageError(f"the {what} has shape {tuple(tensor.shape)}, needed is {expected}")
    plain = tensor.as_subclass(torch.Tensor)  # MetaTensor makes every operation dearer
    if plain.dtype in _RARE:
        plain = plain.long()
    return crop_to(plain, logits.shape[2:], what)


def _known(target: Tensor, ignore: int | None) -> Tensor:
    if ignore is None or not _held(target, (ignore,)):
        return torch.ones_like(target[:, :1], dtype=torch.bool)
    return (target != ignore).all(dim=1, keepdim=True)


def _held(target: Tensor, values: Sequence[int]) -> list[int]:
    """Those of the values that the target's type can hold: any other would come back as one of them."""
    if target.is_floating_point():
        return list(values)
    bounds = torch.iinfo(target.dtype)
    return [value for value in values if bounds.min <= value <= bounds.max]


def _classes(target: Tensor, known: Tensor, count: int) -> Tensor:
    if target.is_floating_point() and not bool((target == target.round()).all()):
        raise LabelError("the target holds values between classes", mend="resample labels with mode nearest")
    classes = torch.where(known, target, 0).squeeze(1).long()
    if classes.numel():
        low, high = (int(v) for v in torch.aminmax(classes))
        if low < 0 or high >= count:
            raise LabelError(
                f"the target holds the value {low if low < 0 else high}, the network tells 0 … {count - 1} apart",
                mend="remap the labels, or declare the value to ignore",
            )
    return classes
