"""Pictures of a case that need no script: its slices with the outlines of prediction and truth."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from volseg.labels import Labels
from volseg.report.levels import window
from volseg.report.scene import IGNORED, PLANES, Scene

_DASH = 4
# A palette of greys, then the structures' colours: a third of the bytes of full colour.
_GREYS = 128
_BLACK, _WHITE = 0, _GREYS - 1
# around what is segmented, as a share of its extent
_MARGIN = 0.12


@dataclass(frozen=True)
class Still:
    """A picture as the page carries it, and what it shows."""

    png: str
    width: int
    height: int
    plane: str


def still(scene: Scene, labels: Labels, axis: int, longest: int, *, thumbnail: bool = False) -> Still:
    """The slice worth looking at first, across an axis, in true proportions.

    Args:
        scene: the case.
        labels: give the colours.
        axis: that slices are stacked along: 0 sagittal, 1 coronal, 2 axial.
        longest: pixels along the longer side.
        thumbnail: whether to show only what is segmented and its surroundings, without the structures' numbers.
    """
    masks = [
        None if mask is None else np.where((found := _slice(mask, axis, scene)) == IGNORED, 0, found)
        for mask in (scene.prediction, scene.truth)
    ]
    spacing = [scene.spacing[a] for a in range(3) if a != axis]
    rows, columns = _surroundings(masks, spacing) if thumbnail else (slice(None), slice(None))
    grey = _greys(scene)[_slice(scene.image, axis, scene)[rows, columns]]
    extent = (grey.shape[1] * spacing[0], grey.shape[0] * spacing[1])
    size = (max(1, round(longest * extent[0] / max(extent))), max(1, round(longest * extent[1] / max(extent))))
    picture = np.array(Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC)) // 2
    for mask, true in zip(masks, (False, True), strict=True):
        if mask is not None:
            _outline(picture, mask[rows, columns], true=true)
    image = Image.fromarray(picture)
    image.putpalette(_palette(labels))
    shown = next((mask for mask in masks if mask is not None), None)
    if shown is not None and not thumbnail:
        _number(image, shown)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return Still(base64.b64encode(buffer.getvalue()).decode("ascii"), *size, PLANES[axis])


def _slice(voxels: npt.NDArray[np.uint8], axis: int, scene: Scene) -> npt.NDArray[np.uint8]:
    """Rows first, as pictures have it."""
    across: npt.NDArray[np.uint8] = np.take(voxels, scene.look_at[axis], axis=axis)
    return across.T


def _greys(scene: Scene) -> npt.NDArray[np.uint8]:
    """The grey of each level in the first window."""
    low, high = window(scene.table, scene.image)
    grey: npt.NDArray[np.uint8] = ((scene.table - low) / max(high - low, 1e-12) * 255).clip(0, 255).astype(np.uint8)
    return grey


def _surroundings(masks: list[npt.NDArray[np.uint8] | None], spacing: list[float]) -> tuple[slice, slice]:
    """The square (in millimetres) around all that is segmented; everything where nothing is."""
    there = np.any([mask > 0 for mask in masks if mask is not None], axis=0)
    if not np.any(there):
        return slice(None), slice(None)
    found = ndimage.find_objects(np.asarray(there, np.uint8))[0]
    steps = (spacing[1], spacing[0])  # rows first
    side = (1 + 2 * _MARGIN) * max((f.stop - f.start) * step for f, step in zip(found, steps, strict=True))
    cut = []
    for f, step, n in zip(found, steps, there.shape, strict=True):
        wide = min(n, math.ceil(side / step))
        start = min(max(0, (f.start + f.stop - wide) // 2), n - wide)
        cut.append(slice(start, start + wide))
    return cut[0], cut[1]


def _outline(picture: npt.NDArray[np.uint8], mask: npt.NDArray[np.uint8], *, true: bool) -> None:
    """Draw onto a picture: predictions as a line of their colour, truths as a white dashed one."""
    height, width = picture.shape
    rows, columns = np.indices((height, width))
    dashes = (rows // _DASH + columns // _DASH) % 2 == 0
    for number in np.unique(mask[mask > 0]):
        soft = Image.fromarray(np.where(mask == number, 255, 0).astype(np.uint8))
        inside = np.asarray(soft.resize((width, height), Image.Resampling.BILINEAR)) > 127
        line = inside & ~ndimage.binary_erosion(inside, iterations=1 if true else 2)
        picture[line & dashes if true else line] = _WHITE if true else _colour_index(int(number))


def _colour_index(number: int) -> int:
    """Colours come round again where there are more structures than places in the palette."""
    return _GREYS + (number - 1) % (256 - _GREYS)


def _palette(labels: Labels) -> list[int]:
    greys = [round(255 * k / (_GREYS - 1)) for k in range(_GREYS) for _ in range(3)]
    return greys + [part for structure in labels.structures[: 256 - _GREYS] for part in rgb(structure.colour)]


def _number(image: Image.Image, mask: npt.NDArray[np.uint8]) -> None:
    """Write each structure's number into the thickest place of it."""
    draw, font = ImageDraw.Draw(image), ImageFont.load_default_imagefont()
    for number in np.unique(mask[mask > 0]):
        depth = ndimage.distance_transform_edt(np.pad(mask == number, 1))[1:-1, 1:-1]
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        x = (float(column) + 0.5) * image.width / mask.shape[1]
        y = (float(row) + 0.5) * image.height / mask.shape[0]
        left, top, right, bottom = draw.textbbox((0, 0), str(number), font=font)
        corner = (x - (right - left) / 2, y - (bottom - top) / 2)
        for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            draw.text((corner[0] + dx, corner[1] + dy), str(number), fill=_BLACK, font=font)
        draw.text(corner, str(number), fill=_WHITE, font=font)


def rgb(colour: str) -> tuple[int, int, int]:
    """The parts of a colour.

    >>> rgb("#E69F00")
    (230, 159, 0)
    """
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
