"""What is done to a mask after it was decided, structure by structure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from volseg.geometry import Grid
from volseg.labels import Labels

Mask = npt.NDArray[np.bool_]


class Steps(Protocol):
    """The steps for one structure or region; a recipe has them under ``postprocessing``."""

    @property
    def largest_component(self) -> bool: ...
    @property
    def fill_holes(self) -> bool: ...
    @property
    def minimum_size(self) -> float: ...
    @property
    def unit(self) -> str: ...


def postprocess(mask: npt.NDArray[Any], steps: Mapping[str, Steps], labels: Labels, grid: Grid) -> npt.NDArray[Any]:
    """A label map after the steps of each structure and region: parts removed, then holes filled.

    What is removed becomes background. Parts are connected through faces, edges and corners. Holes are background that
    what is left encloses; a region's are filled with the value of its first structure.
    """
    result = mask.copy()
    for name, todo in steps.items():
        there = labels.mask(result, name)
        if not there.any():
            continue
        inside = _surroundings(there)
        kept = there[inside]
        if todo.largest_component:
            kept = largest_component(kept)
        if todo.minimum_size > 0:
            kept = without_small(kept, todo.minimum_size / (grid.voxel_volume if todo.unit == "mm" else 1.0))
        part = result[inside]
        part[there[inside] & ~kept] = 0
        if todo.fill_holes:
            part[fill_holes(kept) & (part == 0)] = labels[labels.regions.get(name, (name,))[0]].value
    return result


def largest_component(mask: Mask) -> Mask:
    """The largest connected part; the first of equals in the array's order.

    >>> largest_component(np.array([True, False, True, True])).tolist()
    [False, False, True, True]
    """
    parts, count = ndimage.label(mask, _all_neighbours(mask.ndim))
    if count < 2:
        return mask
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.asarray(parts == sizes.argmax())


def without_small(mask: Mask, size: float) -> Mask:
    """The connected parts of at least ``size`` voxels."""
    parts, _ = ndimage.label(mask, _all_neighbours(mask.ndim))
    large = np.bincount(parts.ravel()) >= size
    large[0] = False
    return np.asarray(large[parts])


def fill_holes(mask: Mask) -> Mask:
    """The background that the mask encloses: no way leads from it to the border through faces."""
    return np.asarray(ndimage.binary_fill_holes(mask)) & ~mask


def _surroundings(mask: Mask) -> tuple[slice, ...]:
    """The box around the mask: outside of it there is neither a part nor a hole."""
    found = ndimage.find_objects(mask.astype(np.uint8))[0]
    return tuple(found)


def _all_neighbours(ndim: int) -> Mask:
    return np.ones((3,) * ndim, dtype=np.bool_)
