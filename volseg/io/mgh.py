"""FreeSurfer's MGH and MGZ: nibabel reads the header, the voxels are read here, to the end and with their checksum."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from volseg.errors import MemoryLimitError, VolumeError
from volseg.io import byte_stream, formats
from volseg.io.geometry_check import grid_of_affine, require_plausible
from volseg.io.volume import ReadOptions, Volume
from volseg.io.voxel_check import judge

_START = 284
_TYPES = {0: ">u1", 1: ">i4", 3: ">f4", 4: ">i2", 10: ">u2"}
_AGAIN = "copy or export it again"


def frame_count(path: Path) -> int:
    """How many frames a file holds, by its header."""
    return _dims(_header(path), path)[3]


def read(path: Path, options: ReadOptions) -> Volume:
    """Read one volume: the only frame, or the one that is asked for."""
    header = _header(path)
    *shape, frames = _dims(header, path)
    if frames > 1 and options.frame is None:
        raise VolumeError(
            f"holds {frames} frames, not one volume",
            where=path,
            mend=f"--frame N takes one (0 to {frames - 1}), --each-frame all",
        )
    if (options.frame or 0) >= frames:
        raise VolumeError(f"holds no frame {options.frame}", where=path, mend=f"its frames are 0 to {frames - 1}")
    code = int(header["type"])
    if code not in _TYPES:
        raise VolumeError(f"unknown data type code {code}", where=path, mend=_AGAIN)
    grid, notes = _grid(header, tuple(shape), options, path)
    flat = _voxels(path, np.dtype(_TYPES[code]), math.prod(shape), frames, options.frame or 0)
    found = judge(flat, options, path)
    array = flat.reshape(shape, order="F")
    return Volume(array, grid, {"format": "mgh"}, (*notes, *found.notes), path, found.padding)


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
        raise VolumeError(f"a dimension is zero or negative: {_times(dims)}", where=path, mend=_AGAIN)
    if math.prod(dims[:3]) == 1:
        raise VolumeError(f"no image: {_times(dims[:3])} voxels", where=path)
    return dims


def _grid(header: Any, shape: tuple[int, ...], options: ReadOptions, path: Path) -> tuple[Any, tuple[str, ...]]:
    delta = np.asarray(header["delta"], dtype=np.float64)
    placed = int(header["goodRASFlag"]) > 0
    if not placed and not options.assume_ras:
        raise VolumeError(
            "the header does not say where left and right are (goodRASFlag is 0)",
            where=path,
            mend="--assume-ras if it is stored right-anterior-superior",
        )
    affine = np.asarray(header.get_affine(), dtype=np.float64) if placed else np.diag([*np.abs(delta), 1.0])
    grid = grid_of_affine(shape, affine, path)
    notes = require_plausible(grid, options.spacing_range, path)
    return grid, notes if placed else (*notes, "no orientation in the header, taken as RAS")


def _voxels(path: Path, dtype: np.dtype[Any], count: int, frames: int, frame: int) -> Any:
    """One frame; scan parameters and tags may follow the last, so bytes after it mean nothing here."""
    size = count * dtype.itemsize
    room = path.stat().st_size * (byte_stream.MOST_PER_BYTE if _packed(path) else 1)
    if _START + size * frames > room:
        raise VolumeError("the header promises more voxels than the file can hold", where=path, mend=_AGAIN)
    try:
        flat = np.empty(count, dtype)
    except MemoryError as error:
        raise MemoryLimitError(f"needs {size >> 20} MiB of memory", where=path) from error
    view = flat.view(np.uint8).data
    with byte_stream.opened(path, compressed=_packed(path)) as stream:
        there = byte_stream.skip(stream, _START + frame * size) + byte_stream.fill(stream, view)
        there += byte_stream.skip(stream, (frames - 1 - frame) * size)
        byte_stream.drain(stream, room)
    if there < _START + size * frames:
        missing = _START + size * frames - there
        raise VolumeError(
            f"holds less data than its header promises ({missing} bytes are missing)", where=path, mend=_AGAIN
        )
    return flat if flat.dtype.isnative else flat.byteswap(inplace=True).view(flat.dtype.newbyteorder("="))


def _packed(path: Path) -> bool:
    return formats.ending(path) == ".mgz"


def _times(numbers: list[int]) -> str:
    return " x ".join(map(str, numbers))
