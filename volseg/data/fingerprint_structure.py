"""What a structure of a label map is like: its size, its parts, where it lies, and what lies beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Voxels = npt.NDArray[Any]
# beyond so many different values a label map numbers objects, it does not name structures
MOST_STRUCTURES = 255


@dataclass(frozen=True)
class StructureFingerprint:
    """One structure in one case.

    Attributes:
        value: of its voxels in the label map; 1 where the map tells objects apart.
        voxels: how many there are.
        volume: millilitres (2-D: square centimetres).
        components: connected parts, through faces, edges and corners.
        largest: the largest part's share of all voxels.
        smallest: voxels of the smallest part.
        holes: whether it encloses something that is not it.
        centre: its middle, in millimetres from the image's first corner.
        extent: the size of the box around it, in millimetres.
        mean: of its intensities, in the first channel.
        std: likewise.
        neighbours: the share of its border that each other value (0 is the background) has.
    """

    value: int
    voxels: int
    volume: float
    components: int
    largest: float
    smallest: int
    holes: bool
    centre: tuple[float, ...]
    extent: tuple[float, ...]
    mean: float
    std: float
    neighbours: Mapping[int, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "neighbours": {str(value): share for value, share in self.neighbours.items()}}


@dataclass(frozen=True)
class Objects:
    """What a map of objects is like: how many, how large (diameter in voxels), which share touches another."""

    count: int
    diameter: float
    touching: float


def structures_of(mask: Voxels, image: Voxels, spacing: Sequence[float]) -> tuple[StructureFingerprint, ...]:
    """Every structure of a label map.

    Args:
        mask: the label map.
        image: the first channel, on the same grid.
        spacing: millimetres.

    >>> [s.components for s in structures_of(np.array([[1, 0, 1, 2]]), np.zeros((1, 4)), (1, 1))]
    [2, 1]
    """
    values = [int(v) for v in np.unique(mask) if v != 0]
    box = _around(mask)
    inner, seen = mask[box], image[box]
    borders = _borders(mask, values, box)
    corner = np.array([s.start for s in box])
    return tuple(_structure(inner == value, seen, value, corner, spacing, borders.get(value, {})) for value in values)


def objects_of(mask: Voxels) -> Objects:
    """The objects of an instance map.

    >>> objects_of(np.array([[1, 1, 2, 0, 3]]))
    Objects(count=3, diameter=1.1, touching=0.67)
    """
    values, counts = np.unique(mask[mask != 0], return_counts=True)
    if not len(values):
        return Objects(0, 0.0, 0.0)
    beside: set[int] = set()
    for axis in range(mask.ndim):
        first, second = _shifted(mask, axis)
        met = (first != second) & (first != 0) & (second != 0)
        beside |= {int(v) for v in np.unique(first[met])} | {int(v) for v in np.unique(second[met])}
    return Objects(
        len(values),
        round(diameter(float(np.median(counts)), mask.ndim), 1),
        round(len(beside) / len(values), 2),
    )


def diameter(voxels: float, ndim: int) -> float:
    """The diameter of a disc or ball of so many voxels, in voxels.

    >>> round(diameter(314.16, 2), 1), round(diameter(4188.8, 3), 1)
    (20.0, 20.0)
    """
    return float(2 * (voxels / np.pi) ** 0.5 if ndim == 2 else 2 * (3 * voxels / (4 * np.pi)) ** (1 / 3))


def _structure(
    there: npt.NDArray[np.bool_],
    image: Voxels,
    value: int,
    corner: npt.NDArray[np.intp],
    spacing: Sequence[float],
    border: Mapping[int, int],
) -> StructureFingerprint:
    box = ndimage.find_objects(there.astype(np.uint8))[0]
    part = there[box]
    labelled, count = ndimage.label(part, np.ones((3,) * there.ndim))
    sizes = np.bincount(labelled.ravel())[1:]
    scale = float(np.prod(spacing)) / (1000 if there.ndim == 3 else 100)
    first = corner + [s.start for s in box]
    middle = np.array(ndimage.center_of_mass(part)) + first + 0.5
    inside = image[box][part].astype(np.float64)
    total = sum(border.values())
    return StructureFingerprint(
        value,
        int(sizes.sum()),
        float(sizes.sum() * scale),
        count,
        float(sizes.max() / sizes.sum()),
        int(sizes.min()),
        _has_holes(part),
        tuple(float(m * s) for m, s in zip(middle, spacing, strict=True)),
        tuple(float((s.stop - s.start) * mm) for s, mm in zip(box, spacing, strict=True)),
        float(inside.mean()),
        float(inside.std()),
        {other: faces / total for other, faces in sorted(border.items())} if total else {},
    )


def _has_holes(part: npt.NDArray[np.bool_]) -> bool:
    _, count = ndimage.label(np.pad(~part, 1, constant_values=True))
    return bool(count > 1)


def _borders(mask: Voxels, values: Sequence[int], box: tuple[slice, ...]) -> dict[int, dict[int, int]]:
    """Faces between each structure and each other value."""
    wider = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in box)
    numbers = np.searchsorted(np.array([0, *values]), mask[wider])
    kinds = len(values) + 1
    faces = np.zeros(kinds * kinds, dtype=np.int64)
    for axis in range(mask.ndim):
        first, second = _shifted(numbers, axis)
        met = first != second
        faces += np.bincount((first[met] * kinds + second[met]).ravel(), minlength=kinds * kinds)
    both = faces.reshape(kinds, kinds) + faces.reshape(kinds, kinds).T
    known = [0, *values]
    return {
        value: {known[other]: int(n) for other, n in enumerate(both[number]) if n}
        for number, value in enumerate(values, start=1)
    }


def _shifted(array: Voxels, axis: int) -> tuple[Voxels, Voxels]:
    """Every voxel but the last, and every voxel but the first: neighbours along an axis."""
    before = tuple(slice(None, -1) if a == axis else slice(None) for a in range(array.ndim))
    after = tuple(slice(1, None) if a == axis else slice(None) for a in range(array.ndim))
    return array[before], array[after]


def _around(mask: Voxels) -> tuple[slice, ...]:
    """The box around everything that is not background; all of the map where there is nothing."""
    found = ndimage.find_objects((mask != 0).astype(np.uint8))
    return tuple(found[0]) if found else tuple(slice(0, n) for n in mask.shape)
