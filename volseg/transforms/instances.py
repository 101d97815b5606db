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


def separate(instances: Integers, connectivity: int | None = None, ignore: int | None = None) -> Integers:
    """The instances with a seam of background, one voxel wide, where two of them touch.

    The larger of two gives way (of equals the one numbered higher), so no small cell is worn away by large ones; a cell
    of which nothing would be left is spared, and its neighbours give way. Afterwards no two different instances are
    neighbours.

    Args:
        instances: 0 on the background, another number for each cell.
        connectivity: who is a neighbour: 1 across faces, 2 across edges too, …; by default corners as well.
        ignore: voxels of this value are no cell: they stay, and nothing gives way to them.

    >>> separate(np.array([1, 1, 1, 2, 2])).tolist()
    [1, 1, 0, 2, 2]
    """
    numbers, places, sizes = np.unique(instances, return_inverse=True, return_counts=True)
    places = places.reshape(instances.shape)
    cells = numbers != 0 if ignore is None else (numbers != 0) & (numbers != ignore)
    spared = np.zeros(len(numbers), dtype=bool)
    while True:
        rank = np.empty(len(numbers), dtype=np.int64)
        rank[np.lexsort((numbers, sizes, ~spared))] = np.arange(1, len(numbers) + 1)
        gives_way = _gives_way(
            np.where(cells, rank, 0)[places], _checked(connectivity or instances.ndim, instances.ndim)
        )
        left = np.bincount(places[~gives_way], minlength=len(numbers))
        gone = cells & (left == 0) & ~spared
        if not gone.any():
            return np.where(gives_way, instances.dtype.type(0), instances)
        spared |= gone


def _gives_way(ranks: Integers, connectivity: int) -> npt.NDArray[np.bool_]:
    """Voxels with a neighbour of a lower rank; 0 is none."""
    result = np.zeros(ranks.shape, dtype=bool)
    for here, there in _neighbours(ranks.ndim, connectivity):
        a, b = ranks[here], ranks[there]
        touching = (a != b) & (a > 0) & (b > 0)
        result[here] |= touching & (a > b)
        result[there] |= touching & (b > a)
    return result


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
        ignore: voxels of this value are no cell.

    >>> SeparateInstancesd("cells")({"cells": torch.tensor([[[1, 2, 2]]])})["cells"].tolist()
    [[[1, 0, 2]]]
    """

    def __init__(
        self,
        keys: KeysCollection,
        connectivity: int | None = None,
        allow_missing_keys: bool = False,
        *,
        ignore: int | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.connectivity, self.ignore = connectivity, ignore
        self.images = Images(self.keys, "nearest")

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        case = dict(data)
        for key, cells in self.images.tensors(case, self.key_iterator(case)).items():
            plain = cells.as_tensor() if isinstance(cells, MetaTensor) else cells
            parts = [separate(channel, self.connectivity, self.ignore) for channel in plain.cpu().numpy()]
            case[key] = self.images.like(torch.as_tensor(np.stack(parts), device=plain.device), cells)
        return case
