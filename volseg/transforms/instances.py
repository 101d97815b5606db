"""Cells told apart: connected components, and a seam of background where two of them touch."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from scipy import ndimage

from volseg.errors import UsageError
from volseg.transforms.mapping import Images

Integers = npt.NDArray[np.integer[Any]]


def components(label: npt.NDArray[Any], connectivity: int = 1) -> npt.NDArray[np.int32]:
    """The connected components of each class but 0, numbered from 1 in order of class; different classes never join.

    >>> components(np.array([1, 1, 0, 1, 2])).tolist()
    [1, 1, 0, 2, 3]
    """
    structure = ndimage.generate_binary_structure(label.ndim, _checked(connectivity, label.ndim))
    result = np.zeros(label.shape, dtype=np.int32)
    count = 0
    for value in np.unique(label).tolist():
        if value != 0:
            found, parts = ndimage.label(label == value, structure)
            np.copyto(result, found + count, where=found > 0)
            count += parts
    return result


def separate(instances: Integers, connectivity: int | None = None) -> Integers:
    """The instances with a seam of background, one voxel wide, where two of them touch.

    The larger of two gives way (of equals the one numbered higher), so no small cell is worn away by large ones.
    Afterwards no two different instances are neighbours.

    Args:
        instances: 0 on the background, another number for each cell.
        connectivity: who is a neighbour: 1 across faces, 2 across edges too, …; by default corners as well.

    >>> separate(np.array([1, 1, 1, 2, 2])).tolist()
    [1, 1, 0, 2, 2]
    """
    numbers, places, sizes = np.unique(instances, return_inverse=True, return_counts=True)
    order = np.lexsort((numbers, sizes))
    order = np.concatenate((order[numbers[order] == 0], order[numbers[order] != 0]))
    rank = np.empty(len(numbers), dtype=np.int64)
    rank[order] = np.arange(len(numbers)) + (0 if (numbers == 0).any() else 1)  # the background is 0
    ranks = rank[places].reshape(instances.shape)
    gives_way = np.zeros(instances.shape, dtype=bool)
    for here, there in _neighbours(instances.ndim, _checked(connectivity or instances.ndim, instances.ndim)):
        a, b = ranks[here], ranks[there]
        touching = (a != b) & (a > 0) & (b > 0)
        gives_way[here] |= touching & (a > b)
        gives_way[there] |= touching & (b > a)
    return np.where(gives_way, instances.dtype.type(0), instances)


def _neighbours(ndim: int, connectivity: int) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Pairs of views that lay each voxel over one neighbour, every pair of directions once."""
    sides = {0: (slice(None), slice(None)), 1: (slice(0, -1), slice(1, None)), -1: (slice(1, None), slice(0, -1))}
    for direction in np.ndindex(*(3,) * ndim):
        step = [d - 1 for d in direction]
        if step > [0] * ndim and sum(map(abs, step)) <= connectivity:
            yield tuple(sides[d][0] for d in step), tuple(sides[d][1] for d in step)


def _checked(connectivity: int, ndim: int) -> int:
    if not 1 <= connectivity <= ndim:
        raise UsageError(f"connectivity in {ndim}-D is 1 (faces) to {ndim} (corners), not {connectivity}")
    return connectivity


class SeparateInstancesd(MapTransform):  # type: ignore[misc]
    """Put a seam of background, one voxel wide, between touching instances.

    Args:
        keys: instance maps, channel-first; each channel by itself.
        connectivity: who counts as touching (see :func:`separate`).

    >>> SeparateInstancesd("cells")({"cells": torch.tensor([[[1, 2, 2]]])})["cells"].tolist()
    [[[1, 0, 2]]]
    """

    def __init__(self, keys: KeysCollection, connectivity: int | None = None, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.connectivity = connectivity
        self.images = Images(self.keys, "nearest")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        case = dict(data)
        for key, cells in self.images.tensors(case, self.key_iterator(case)).items():
            plain = cells.as_tensor() if isinstance(cells, MetaTensor) else cells
            parts = [separate(channel, self.connectivity) for channel in plain.cpu().numpy()]
            case[key] = self.images.like(torch.as_tensor(np.stack(parts), device=plain.device), cells)
        return case
