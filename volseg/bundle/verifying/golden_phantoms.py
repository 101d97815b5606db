"""Small phantoms that a network can be held to: of the kind, the size and the spacing that its recipe speaks of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from volseg.data.phantom import cells, ct, heart
from volseg.data.phantom.model import Phantom
from volseg.geometry import Grid
from volseg.recipe import Recipe
from volseg.recipe.image import Image

_Voxels = npt.NDArray[Any]
#: what is kept of a phantom, around its middle: the files go into every bundle
_LARGEST = {2: (96, 96), 3: (64, 64, 10)}
_AIR = -1024


def phantoms(recipe: Recipe) -> Iterator[tuple[list[_Voxels], Grid]]:
    """Images for a recipe's network, a list of channels each, the likeliest to show it something first.

    All of them are offered as they are, then with bright and dark exchanged: a network that has learnt from other
    images than these may find a structure in one and nothing in another.
    """
    drawn = [_drawn(make()) for make in _kinds(recipe.image)]
    for inverted in (False, True):
        for voxels, grid in drawn:
            if recipe.image.spatial_dims == 2 and voxels.ndim == 3:
                voxels = voxels[..., voxels.shape[2] // 2]
                grid = Grid.from_spacing(voxels.shape, grid.spacing[:2])
            channels = [_exchanged(voxels) if inverted != bool(k % 2) else voxels for k in range(recipe.in_channels)]
            yield channels, _placed(grid, recipe.image)


def _kinds(image: Image) -> list[Callable[[], Phantom]]:
    def abdomen() -> Phantom:
        return ct(0, shape=(64, 64, 24))

    def chest() -> Phantom:
        return heart(0, size=88)

    def culture() -> Phantom:
        return cells(0, size=96, count=16)

    volumes = [abdomen, chest] if image.modality == "CT" else [chest, abdomen]
    if image.spatial_dims == 3:
        return volumes
    return [*volumes, culture] if image.modality in ("CT", "MR") else [culture, *volumes]


def _drawn(phantom: Phantom) -> tuple[_Voxels, Grid]:
    """The middle of a phantom; what a scanner leaves out is air, which every normalisation can take."""
    kept = tuple(
        slice((size - min(size, most)) // 2, (size + min(size, most)) // 2)
        for size, most in zip(phantom.image.shape, _LARGEST[phantom.image.ndim], strict=True)
    )
    voxels = np.ascontiguousarray(np.maximum(phantom.image[kept].astype(np.int16), _AIR))
    return voxels, Grid(voxels.shape, phantom.grid.affine)


def _exchanged(voxels: _Voxels) -> _Voxels:
    return (int(voxels.max()) + int(voxels.min()) - voxels.astype(np.int32)).astype(np.int16)


def _placed(grid: Grid, image: Image) -> Grid:
    """The grid with the spacing of the images that the network was made for, its axes pointing where they did."""
    turned = grid if image.axcodes is None else grid.reoriented(image.axcodes).target
    wanted = np.array(_spacing(turned.spacing, image))
    affine = turned.affine.copy()
    affine[:-1, :-1] *= wanted / turned.spacing
    placed = Grid(turned.shape, affine)
    return placed if image.axcodes is None else placed.reoriented(grid.axcodes).target


def _spacing(own: Sequence[float], image: Image) -> list[float]:
    chosen = list(own)
    if not isinstance(image.spacing, str):
        chosen = [mm if isinstance(said, str) else float(said) for mm, said in zip(own, image.spacing, strict=True)]
    if image.seen.spacing is not None:
        chosen = [(low + high) / 2 for low, high in image.seen.spacing]
    low, high = image.allowed_spacing
    # a little inside: the file keeps single precision
    return [min(max(mm, low * 1.001), high * 0.999) for mm in chosen]
