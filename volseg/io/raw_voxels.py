"""Voxels of formats with a text header: plain, gzip or zlib from some byte on, exactly as many as promised."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    #: the format puts other things after the voxels
    more_follows: bool = False


def beside(path: Path, named: str) -> Path:
    """The data file that a header names: in the header's own folder or below it, nowhere else on the machine."""
    if not named.isprintable() or Path(named).is_absolute() or ".." in Path(named).parts:
        raise VolumeError("names a data file outside its folder", where=path, mend="save it again as one file")
    return path.parent / named


def read_voxels(
    storage: Storage, shape: tuple[int, ...], dtype: np.dtype[Any], where: Path, *, frame: int = 0, frames: int = 1
) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """The voxels of one frame in native byte order, first axis fastest, and notes.

    The whole file is read: it must hold exactly as many voxels as promised, in all frames together.
    """
    one = math.prod(shape) * dtype.itemsize
    dims = (*shape, frames) if frames > 1 else shape
    try:
        there = storage.path.stat().st_size
    except OSError as error:
        raise byte_stream.unreadable(error, storage.path) from error
    start = there - one if storage.at_end else storage.start
    _require_room(storage, one * frames, there - start, dims, where)
    try:
        flat = np.empty(math.prod(shape), dtype)
    except MemoryError as error:
        raise MemoryLimitError(f"needs {_size(one)} of memory", where=where) from error
    view = flat.view(np.uint8).data
    few = min(FEW_BYTES, one // shape[-1] - 1)
    with byte_stream.opened(storage.path, compressed=storage.packing == "gzip", offset=start) as stream:
        if storage.packing == "zlib":
            data, left = byte_stream.inflated(where, byte_stream.take(stream, there - start), one)
            view[: len(data)] = data
            got = len(data)
        else:
            got = byte_stream.skip(stream, storage.inner_skip + frame * one) - storage.inner_skip
            got += byte_stream.fill(stream, view)
            got += byte_stream.skip(stream, (frames - 1 - frame) * one)
            left = byte_stream.drain(stream, there * byte_stream.MOST_PER_BYTE if storage.more_follows else few)
    if got < one * frames:
        raise _too_few(where, dims, one * frames - got)
    if storage.more_follows:
        left = 0
    if left > few:
        raise VolumeError(
            f"holds more data than the {times(dims)} voxels its header promises", where=where, mend=_AGAIN
        )
    if not flat.dtype.isnative:
        flat = flat.byteswap(inplace=True).view(flat.dtype.newbyteorder("="))
    return flat, ("a few bytes after the last voxel ignored",) if left else ()


def chosen_frame(frames: int, frame: int | None, where: Path, word: str = "frame") -> int:
    """The frame that was asked for, or the only one; refused where it is not clear which, or there is no such."""
    if frame is None and frames > 1:
        whole = "volume" if word == "frame" else "image"
        raise VolumeError(
            f"holds {frames} {word}s, not one {whole}",
            where=where,
            mend=f"--frame N takes one (0 to {frames - 1}), --each-frame all",
        )
    if (frame or 0) >= frames:
        mend = f"its {word}s are 0 to {frames - 1}" if frames > 1 else f"it has {word} 0 only"
        raise VolumeError(f"holds no {word} {frame}", where=where, mend=mend)
    return frame or 0


def times(numbers: Sequence[int]) -> str:
    """Sizes in words: ``512 x 512 x 60``."""
    return " x ".join(map(str, numbers))


def _require_room(storage: Storage, size: int, there: int, dims: tuple[int, ...], where: Path) -> None:
    """Judge the promise against the file before any memory is taken."""
    if storage.packing == "raw":
        if there - storage.inner_skip < size or (storage.at_end and storage.path.stat().st_size < size):
            raise _too_few(where, dims, size - min(there - storage.inner_skip, storage.path.stat().st_size))
    elif size + storage.inner_skip > there * byte_stream.MOST_PER_BYTE:
        raise VolumeError(
            f"the header promises {times(dims)} voxels ({_size(size)}), which cannot be in {_size(there)} of compressed"
            " data",
            where=where,
            mend=_AGAIN,
        )


def _too_few(where: Path, dims: tuple[int, ...], missing: int) -> VolumeError:
    return VolumeError(
        f"holds less data than the {times(dims)} voxels its header promises ({missing} bytes are missing)",
        where=where,
        mend=_AGAIN,
    )


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if unit != "bytes" else f"{count} bytes"
        count /= 1024
    return f"{count:.4g} TiB"
