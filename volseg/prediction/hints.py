"""What looks unlike the images a network was trained on, and masks that no anatomy has: told, never hidden."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from volseg.geometry import Grid
from volseg.io.volume import Volume
from volseg.labels import Labels
from volseg.recipe import Recipe
from volseg.recipe.image import Image

# A part this large beside the largest is a second one, not a crumb.
_SECOND = 0.25
# an axis with voxels so much longer than those of the others is the one that slices are stacked along
_STACKED = 1.5
# a structure that is hardly larger than the largest seen is none to look at
_SLACK = 0.05
_DIRECTIONS = {
    "R": "left-right",
    "L": "left-right",
    "A": "front-back",
    "P": "front-back",
    "S": "foot-head",
    "I": "foot-head",
}
_PLANES = {"R": "sagittal", "L": "sagittal", "A": "coronal", "P": "coronal", "S": "axial", "I": "axial"}
_CHUNK = 1 << 20
# enough to know a distribution by; more of a huge volume would be a copy of it
_SAMPLES = 1 << 22


def of_grid(grid: Grid, image: Image) -> Iterator[str]:
    """Hints about how an image lies and how large it is, which its header tells."""
    seen = image.seen
    grid = grid.reoriented(image.axcodes).target if image.axcodes else grid
    if image.axcodes and seen.spacing is not None:
        yield from _orientation(grid, seen.spacing)
    yield from _ranges("spacing", grid.spacing, seen.spacing, grid)
    extent = tuple(n * s for n, s in zip(grid.shape, grid.spacing, strict=True))
    yield from _ranges("field of view", extent, seen.field_of_view, grid)


def of_image(volume: Volume, image: Image) -> Iterator[str]:
    """Hints about an image, before it is predicted."""
    seen = image.seen
    yield from of_grid(volume.grid, image)
    values = volume.array.ravel(order="K")[:: max(1, volume.array.size // _SAMPLES)]
    values = values if volume.padding is None else values[values != volume.padding]
    if seen.intensity is not None and values.size:
        low, high = (float(x) for x in np.percentile(values, (0.5, 99.5)))
        if high < seen.intensity[0] or low > seen.intensity[1]:
            yield (
                f"intensities {low:.4g} to {high:.4g} do not meet those of the training images,"
                f" {seen.intensity[0]:.4g} to {seen.intensity[1]:.4g}"
            )


def of_mask(mask: npt.NDArray[Any], grid: Grid, recipe: Recipe) -> Iterator[str]:
    """Hints about a predicted mask."""
    found = volumes(mask, grid, recipe.labels)
    # a picture cuts one body in several places, and objects are as many as they are
    one_body = grid.ndim == 3 and not recipe.labelling.instances
    for structure in recipe.labels.structures:
        there = mask == structure.value
        if not there.any():
            yield f"{structure.name} is empty"
            continue
        expected = recipe.image.seen.volumes.get(structure.name)
        size = found[structure.name]
        if expected is not None and not expected[0] * (1 - _SLACK) <= size <= expected[1] * (1 + _SLACK):
            yield (
                f"{structure.name} measures {size:.4g} {unit(grid)}, in training it was"
                f" {expected[0]:.4g} to {expected[1]:.4g}"
            )
        if one_body and (parts := _large_parts(there)) > 1:
            yield f"{structure.name} is in {parts} parts"


def volumes(mask: npt.NDArray[Any], grid: Grid, labels: Labels) -> dict[str, float]:
    """The volume of each structure in millilitres; in 2-D its area in square centimetres."""
    flat, counts = mask.ravel(order="K"), np.zeros(max(labels.values, default=0) + 1, dtype=np.int64)
    for start in range(0, flat.size, _CHUNK):  # counting takes eight bytes for each voxel at once
        counts += np.bincount(flat[start : start + _CHUNK], minlength=len(counts))
    scale = grid.voxel_volume / (1000 if grid.ndim == 3 else 100)
    return {s.name: float(counts[s.value] * scale) for s in labels.structures}


def unit(grid: Grid) -> str:
    """The unit of :func:`volumes`."""
    return "ml" if grid.ndim == 3 else "cm²"


def _large_parts(mask: npt.NDArray[np.bool_]) -> int:
    inside = mask[ndimage.find_objects(mask.astype(np.uint8))[0]]
    parts, _ = ndimage.label(inside, np.ones((3,) * mask.ndim))
    sizes = np.bincount(parts.ravel())[1:]
    return int((sizes >= _SECOND * sizes.max()).sum())


def _orientation(grid: Grid, seen: Sequence[tuple[float, ...]]) -> Iterator[str]:
    """Slices across another axis of the body than those of the training; thin ones lie across none."""
    here = _stacked([(size,) for size in grid.spacing])
    trained = _stacked(seen)
    if here is not None and trained is not None and here != trained:
        now, then = (_PLANES[grid.axcodes[axis]] for axis in (here, trained))
        yield f"slices are {now}, in training they were {then}"


def _stacked(sizes: Sequence[tuple[float, ...]]) -> int | None:
    """The axis whose smallest voxels are far longer than the largest of the others."""
    longest = max(range(len(sizes)), key=lambda axis: sizes[axis][0])
    others = max(bounds[-1] for axis, bounds in enumerate(sizes) if axis != longest)
    return longest if sizes[longest][0] > _STACKED * others else None


def _ranges(what: str, values: tuple[float, ...], seen: Any, grid: Grid) -> Iterator[str]:
    for axis, (value, bounds) in enumerate(zip(values, seen or (), strict=False)):
        if not bounds[0] * 0.99 <= value <= bounds[1] * 1.01:
            low, high = bounds
            # the axes of a picture point nowhere in a body
            direction = f" ({_DIRECTIONS[grid.axcodes[axis]]})" if grid.ndim == 3 else ""
            yield f"{what} of {value:.4g} mm along axis {axis}{direction}, in training it was {low:.4g} to {high:.4g}"
