"""FreeSurfer's MGH and MGZ: nibabel reads the header, the voxels are read here, to the end and with their checksum."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from volseg.errors import VolumeError
from volseg.io import byte_stream, formats
from volseg.io.geometry_check import grid_of_affine, require_plausible
from volseg.io.plain_volume import PlainVolume
from volseg.io.raw_voxels import Storage, chosen_frame, times
from volseg.io.volume import Outline, ReadOptions, Volume

_START = 284
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
_AGAIN = "copy or export it again"


def frame_count(path: Path) -> int:
    """How many frames a file holds, by its header."""
    return _dims(_header(path), path)[3]


def outline(path: Path, options: ReadOptions) -> Outline:
    """What the header tells of the volume that :func:`read` would give."""
    return _told(path, options).outline


def read(path: Path, options: ReadOptions) -> Volume:
    """Read one volume: the only frame, or the one that is asked for."""
    return _told(path, options).read(options)


def _told(path: Path, options: ReadOptions) -> PlainVolume:
    header = _header(path)
    *shape, frames = _dims(header, path)
    frame = chosen_frame(frames, options.frame, path)
    code = int(header["type"])
    if code not in _TYPES:
        raise VolumeError(f"unknown data type code {code}", where=path, mend=_AGAIN)
    # scan parameters and tags follow the voxels
    storage = Storage(path, 0, "gzip" if _packed(path) else "raw", inner_skip=_START, more_follows=True)
    grid, notes = _grid(header, tuple(shape), options, path)
    return PlainVolume(path, "mgh", storage, np.dtype(_TYPES[code]), grid, notes, frame, frames)


def _header(path: Path) -> Any:
    with byte_stream.opened(path, compressed=_packed(path)) as stream:
        head = byte_stream.take(stream, _START)
    if len(head) < _START:
        raise VolumeError("truncated within the header", where=path, mend=_AGAIN)
    title, kind = formats.content(head)
    if kind != "mgh":
        raise VolumeError(f"no MGH: inside the gzip there is {title}", where=path, mend=_AGAIN)
    klass = nib.freesurfer.mghformat.MGHHeader
    return klass(head[: klass.template_dtype.itemsize], check=False)


def _dims(header: Any, path: Path) -> list[int]:
    dims = [int(n) for n in header["dims"]]
    if min(dims) < 1:
        raise VolumeError(f"a dimension is zero or negative: {times(dims)}", where=path, mend=_AGAIN)
    if math.prod(dims[:3]) == 1:
        raise VolumeError(f"no image: {times(dims[:3])} voxels", where=path)
    return dims


def _grid(header: Any, shape: tuple[int, ...], options: ReadOptions, path: Path) -> tuple[Any, tuple[str, ...]]:
    delta = np.asarray(header["delta"], dtype=np.float64)
    placed = int(header["goodRASFlag"]) > 0
    if not placed and not options.assume_ras:
        raise VolumeError(
            "the header does not say where left and right are (goodRASFlag is 0)",
            where=path,
            mend="mend the header, or --assume-ras if it is stored right-anterior-superior",
        )
    affine = np.asarray(header.get_affine(), dtype=np.float64) if placed else np.diag([*np.abs(delta), 1.0])
    grid = grid_of_affine(shape, affine, path)
    notes = require_plausible(grid, options.spacing_range, path)
    return grid, notes if placed else (*notes, "no orientation in the header, taken as RAS")


def _packed(path: Path) -> bool:
    return formats.ending(path) == ".mgz"
