"""Mirrored context: what lies beyond the image's border, as the U-Net's overlap-tile strategy supplies it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms import InvertibleTransform, MapTransform
from monai.utils import TraceKeys

from volseg.errors import UsageError
from volseg.transforms.mapping import Images, per_axis

#: voxels before and behind, for each axis
Margins = tuple[tuple[int, int], ...]


def mirror_indices(size: int, before: int, behind: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Which voxel of an axis each voxel of the padded axis shows, as ``numpy.pad(mode="reflect")``.

    The outermost voxel is not repeated; a margin beyond the axis' length is mirrored again and again.

    >>> mirror_indices(3, 4, 2).tolist()
    [0, 1, 2, 1, 0, 1, 2, 1, 0]
    """
    if size < 1 or before < 0 or behind < 0:
        raise UsageError(f"an axis of {size} voxels cannot be mirrored by margins of {before} and {behind}")
    if size == 1:
        return np.zeros(before + 1 + behind, dtype=np.int64)
    place = np.arange(-before, size + behind) % (2 * size - 2)
    result: np.ndarray[Any, np.dtype[np.int64]] = np.minimum(place, 2 * size - 2 - place)
    return result


def mirror_pad(image: torch.Tensor, margins: Sequence[tuple[int, int]]) -> torch.Tensor:
    """A tensor (…, *spatial) with mirrored margins around its last axes, on its own device, of any type.

    >>> mirror_pad(torch.tensor([[1, 2, 3]]), [(1, 3)]).tolist()
    [[2, 1, 2, 3, 2, 1, 2]]
    """
    if len(margins) > image.ndim:
        raise UsageError(f"{len(margins)} margins for a tensor of {image.ndim} axes")
    for axis, (before, behind) in enumerate(margins, start=image.ndim - len(margins)):
        if before or behind:
            index = torch.as_tensor(mirror_indices(image.shape[axis], before, behind), device=image.device)
            image = image.index_select(axis, index)
    return image


def margins_for(
    shape: Sequence[int],
    margin: Sequence[int | Sequence[int]] | int = 0,
    least: Sequence[int] | int | None = None,
) -> Margins:
    """The margins of an image of this shape: ``margin`` on both sides, and more where that stays below ``least``.

    >>> margins_for((10, 3), margin=2, least=8)
    ((2, 2), (2, 3))
    """
    pairs = [
        (int(m[0]), int(m[1])) if isinstance(m, Sequence) else (int(m), int(m))
        for m in per_axis(margin, len(shape), "margin")
    ]
    if least is not None:
        lacking = [
            max(0, int(size) - n - sum(pair))
            for size, n, pair in zip(per_axis(least, len(shape), "least"), shape, pairs, strict=True)
        ]
        pairs = [(b + more // 2, e + more - more // 2) for (b, e), more in zip(pairs, lacking, strict=True)]
    if min(min(pair) for pair in pairs) < 0:
        raise UsageError(f"margins must not be negative: {pairs}")
    return tuple(pairs)


class MirrorPadd(MapTransform, InvertibleTransform):  # type: ignore[misc]
    """Mirror the image at its borders, further than its own size if need be; the affine follows, ``inverse`` crops.

    Args:
        keys: channel-first tensors.
        margin: voxels added on both sides: one number, one per axis, or (before, behind) per axis. For an unpadded
            network this is its margin (92 for the 2-D U-Net of the paper); the label stays as it is.
        least: the smallest spatial size to come out, so that thin volumes hold a patch.

    >>> MirrorPadd("image", margin=2)({"image": torch.zeros(1, 4, 4)})["image"].shape[1:]
    torch.Size([8, 8])
    """

    def __init__(
        self,
        keys: KeysCollection,
        margin: Sequence[int | Sequence[int]] | int = 0,
        least: Sequence[int] | int | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.margin, self.least = margin, least
        self.images = Images(self.keys, "nearest")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        case = dict(data)
        for key, image in self.images.tensors(case, self.key_iterator(case)).items():
            margins = margins_for(image.shape[1:], self.margin, self.least)
            plain = image.as_tensor() if isinstance(image, MetaTensor) else image
            padded = self.images.like(mirror_pad(plain, margins), image)
            shift = np.eye(len(margins) + 1)
            shift[:-1, -1] = [-before for before, _ in margins]
            case[key] = self.push_transform(
                padded,
                orig_size=tuple(image.shape[1:]),
                affine=torch.as_tensor(shift),
                extra_info={"before": [before for before, _ in margins]},
            )
        return case

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The images without their margins."""
        case = dict(data)
        for key in self.key_iterator(case):
            applied = self.pop_transform(case[key])
            before = applied[TraceKeys.EXTRA_INFO]["before"]
            size = applied[TraceKeys.ORIG_SIZE]
            image = case[key]
            inner = (slice(None), *(slice(b, b + n) for b, n in zip(before, size, strict=True)))
            cropped = MetaTensor(image.as_tensor()[inner]).copy_meta_from(image)
            shift = np.eye(len(before) + 1)
            shift[:-1, -1] = before
            cropped.affine = image.affine @ to_affine_nd(len(image.affine) - 1, torch.as_tensor(shift))
            case[key] = cropped
        return case
