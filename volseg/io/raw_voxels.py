"""Voxels of formats with a text header: plain, gzip or zlib from some byte on, exactly as many as promised."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from volseg.errors import MemoryLimitError, VolumeError
from volseg.io import byte_stream

_AGAIN = "copy or export it again"

# Up to here, and less than a slice, bytes after the last voxel are a writer's padding; more are voxels.
FEW_BYTES = 4096


@dataclass(frozen=True)
class Storage:
    """Where the bytes of the voxels are."""

    path: Path
    start: int
    packing: Literal["raw", "gzip", "zlib"]
    #: bytes to pass over, counted after unpacking
    inner_skip: int = 0
    #: the voxels are the last bytes of the file, wherever they start
    at_end: bool = False


def beside(path: Path, named: str) -> Path:
    """The data file that a header names: in the header's own folder or below it, nowhere else on the machine."""
    if not named.isprintable() or Path(named).is_absolute() or ".." in Path(named).parts:
        raise VolumeError("names a data file outside its folder", where=path, mend="save it again as one file")
    return path.parent / named


def read_voxels(
    storage: Storage, shape: tuple[int, ...], dtype: np.dtype[Any], where: Path
) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """All voxels in native byte order, first axis fastest, and notes; refused unless there are exactly so many."""
    size = math.prod(shape) * dtype.itemsize
    try:
        there = storage.path.stat().st_size
    except OSError as error:
        raise byte_stream.unreadable(error, storage.path) from error
    start = there - size if storage.at_end else storage.start
    few = min(FEW_BYTES, size // shape[-1] - 1)
    _require_room(storage, size, there - start, shape, where)
    try:
        flat = np.empty(math.prod(shape), dtype)
    except MemoryError as error:
        raise MemoryLimitError(f"needs {size >> 20} MiB of memory", where=where) from error
    view = flat.view(np.uint8).data
    if storage.packing == "zlib":
        with byte_stream.opened(storage.path, compressed=False, offset=start) as stream:
            data, left = byte_stream.inflated(where, byte_stream.take(stream, there - start), size)
        view[: len(data)] = data
        got = len(data)
    else:
        with byte_stream.opened(storage.path, compressed=storage.packing == "gzip", offset=start) as stream:
            got = byte_stream.skip(stream, storage.inner_skip) - storage.inner_skip
            got += byte_stream.fill(stream, view)
            left = byte_stream.drain(stream, few)
    if got < size:
        raise _too_few(where, shape, size - got)
    if left > few:
        raise VolumeError(
            f"holds more data than the {_times(shape)} voxels its header promises", where=where, mend=_AGAIN
        )
    if not flat.dtype.isnative:
        flat = flat.byteswap(inplace=True).view(flat.dtype.newbyteorder("="))
    return flat, ("a few bytes after the last voxel ignored",) if left else ()


def _require_room(storage: Storage, size: int, there: int, shape: tuple[int, ...], where: Path) -> None:
    """Judge the promise against the file before any memory is taken."""
    if storage.packing == "raw":
        if there - storage.inner_skip < size or (storage.at_end and there < size):
            raise _too_few(where, shape, size - there + storage.inner_skip)
    elif size + storage.inner_skip > there * byte_stream.MOST_PER_BYTE:
        raise VolumeError(
            f"the header promises {_times(shape)} voxels, which cannot be in {there} bytes of compressed data",
            where=where,
            mend=_AGAIN,
        )


def _too_few(where: Path, shape: tuple[int, ...], missing: int) -> VolumeError:
    return VolumeError(
        f"holds less data than the {_times(shape)} voxels its header promises ({missing} bytes are missing)",
        where=where,
        mend=_AGAIN,
    )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
