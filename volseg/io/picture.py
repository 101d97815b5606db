"""PNG and TIFF, for microscopy: 2-D, rows first, one grey value or label in each pixel."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from volseg.errors import UsageError, VolsegError, VolumeError
from volseg.geometry import Grid
from volseg.io.atomic import atomic_write
from volseg.io.formats import ending
from volseg.io.raw_voxels import chosen_frame
from volseg.io.volume import Outline, ReadOptions, Volume
from volseg.io.voxel_check import judge

_AGAIN = "copy or export it again"


def frame_count(path: Path) -> int:
    """How many pages a file holds."""
    with _opened(path) as image:
        return int(getattr(image, "n_frames", 1))


def outline(path: Path, options: ReadOptions) -> Outline:
    """What the header tells of the image that :func:`read` would give."""
    with _turned_to(path, options) as image:
        return Outline(_grid(image.size[::-1], path))


def read(path: Path, options: ReadOptions) -> Volume:
    """Read one image: the only page, or the one that is asked for. Pixels are 1 by 1: no size is made up."""
    if ending(path) == ".png":
        with _opened(path) as image:
            image.verify()  # the checksum of every chunk; loading alone does not look at all of them
    with _turned_to(path, options) as image:
        image.load()
        array, notes = _grey(image, options, path)
    grid = _grid(array.shape, path)
    array = np.array(array.astype(array.dtype.newbyteorder("="), copy=False))
    found = judge(array, options, path)
    return Volume(array, grid, {"format": "picture"}, (*notes, *found.notes), path, found.padding)


def write(path: Path, array: npt.NDArray[Any], grid: Grid) -> None:
    """Write a 2-D image or label map; a picture says nothing of space, so that only a grid of pixels fits it."""
    png = ending(path) == ".png"
    if array.ndim != 2:
        raise UsageError(f"{ending(path)} holds 2-D images only", where=path, mend="write .nii.gz, .nrrd or .mha")
    if not grid.same_as(Grid.from_spacing(array.shape, (1.0, 1.0))):
        raise UsageError(
            f"{ending(path)} cannot say where the voxels are ({grid.spacing[0]:g} x {grid.spacing[1]:g} mm)",
            where=path,
            mend="write .nii.gz, .nrrd or .mha",
        )
    fits = array.dtype in (np.dtype("u1"), np.dtype("u2")) or (
        not png and array.dtype in (np.dtype("f4"), np.dtype("i4"))
    )
    if not fits:
        raise UsageError(f"{ending(path)} cannot hold {array.dtype}", where=path, mend="write .nii.gz, .nrrd or .mha")
    image = Image.fromarray(np.ascontiguousarray(array))
    with atomic_write(path) as file:
        if png:
            image.save(file, format="PNG")
        else:
            image.save(file, format="TIFF", compression="tiff_adobe_deflate")


@contextmanager
def _turned_to(path: Path, options: ReadOptions) -> Iterator[Any]:
    """A picture at the page that is asked for, not loaded yet."""
    with _opened(path) as image:
        pages = int(getattr(image, "n_frames", 1))
        page = chosen_frame(pages, options.frame, path, word="page")
        if pages > 1:
            image.seek(page)
        yield image


def _grid(shape: tuple[int, ...], path: Path) -> Grid:
    if math.prod(shape) == 1:
        raise VolumeError("no image: 1 x 1 pixels", where=path)
    return Grid.from_spacing(shape, (1.0, 1.0))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A picture that is being read, everything Pillow may say about it turned into one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes and contents are judged here, not announced
            with Image.open(path, formats=["PNG"] if ending(path) == ".png" else ["TIFF"]) as image:
                yield image
    except Image.DecompressionBombError as error:
        raise VolumeError("too many pixels for a picture", where=path, mend="save it as .nrrd or .nii.gz") from error
    except UnidentifiedImageError as error:
        raise VolumeError("damaged: the picture's header cannot be read", where=path, mend=_AGAIN) from error
    except VolsegError:
        raise
    except Exception as error:  # Pillow meets damage with whatever error it happens to run into
        said = " ".join((str(error) or type(error).__name__).split())[:120]
        raise VolumeError(f"damaged: {said}", where=path, mend=_AGAIN) from error


def _grey(image: Any, options: ReadOptions, path: Path) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    mode = image.mode
    if mode == "1":
        return np.asarray(image).astype(np.uint8), ()
    if mode in ("L", "I", "F") or mode.startswith("I;16"):
        return np.asarray(image), ()
    if mode == "P" and options.as_labels:
        return np.asarray(image), ()  # a palette colours labels; their values are the indices
    if mode in ("RGB", "RGBA", "LA"):
        pixels = np.asarray(image)
        colours = pixels[..., :1] if mode == "LA" else pixels[..., :3]
        opaque = mode == "RGB" or bool((pixels[..., -1] == 255).all())
        if opaque and bool((colours == colours[..., :1]).all()):
            return colours[..., 0], (f"{mode} with equal channels taken as grey",)
    raise VolumeError(
        f"holds colour ({mode}), not grey values or labels", where=path, mend="save one channel by itself"
    )
