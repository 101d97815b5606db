"""Bytes of a file, plain or gzip, read to the end with every checksum verified."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal

from volseg.errors import VolumeError

gzip_format: Any
deflate: Any
try:
    from isal import igzip, isal_zlib

    gzip_format, deflate = igzip, isal_zlib
except ImportError:
    gzip_format, deflate = gzip, zlib

_DAMAGE: tuple[type[Exception], ...] = (zlib.error, deflate.error)

# Deflate cannot pack more than 1032 bytes into one: a header that promises more than that lies.
MOST_PER_BYTE = 1032

# Larger pieces leave the processor's cache between decompression and copying.
PIECE = 1 << 18

_EXPORT = "copy or export it again"


@contextmanager
def opened(path: Path, *, compressed: bool, offset: int = 0) -> Iterator[BinaryIO]:
    """The bytes of a file from ``offset`` on, decompressed if need be; damage found while reading is a VolumeError."""
    try:
        with path.open("rb", buffering=0 if compressed else io.DEFAULT_BUFFER_SIZE) as file:
            file.seek(offset)
            if compressed:
                with gzip_format.GzipFile(fileobj=file, mode="rb") as stream:
                    yield stream
            else:
                yield file
    except EOFError as error:
        raise VolumeError("truncated: the gzip data end early", where=path, mend=_EXPORT) from error
    except gzip.BadGzipFile as error:
        what = "the gzip checksum does not match" if "check" in str(error) else "the gzip data are damaged"
        raise VolumeError(f"damaged: {what}", where=path, mend=_EXPORT) from error
    except _DAMAGE as error:
        raise VolumeError("damaged: the gzip data are damaged", where=path, mend=_EXPORT) from error
    except MemoryError as error:
        raise VolumeError("does not fit into memory", where=path) from error
    except OSError as error:
        raise unreadable(error, path) from error


def unreadable(error: OSError, path: object) -> VolumeError:
    """What the operating system's refusal to read means."""
    return VolumeError(f"could not be read: {(error.strerror or str(error)).lower()}", where=path)


def fill(stream: BinaryIO, view: memoryview) -> int:
    """Fill a buffer from a stream; returns how many bytes there were, fewer only at the end of the stream."""
    done, size = 0, len(view)
    while done < size:
        got = stream.readinto(view[done : done + PIECE])  # type: ignore[attr-defined]
        if not got:
            break
        done += got
    return done


def skip(stream: BinaryIO, count: int) -> int:
    """Pass over bytes; returns how many there were."""
    done = 0
    while done < count:
        got = len(stream.read(min(PIECE, count - done)))
        if not got:
            break
        done += got
    return done


def drain(stream: BinaryIO, most: int) -> int:
    """Read to the end, where gzip keeps its checksum; returns how many bytes were left, counting a little past most."""
    left = 0
    while left <= most:
        try:
            got = len(stream.read(PIECE))
        except gzip.BadGzipFile as error:
            # Checksums are verified by then: what follows the gzip data are foreign bytes.
            if "Not a gzipped file" not in str(error):
                raise
            return left + 1
        if not got:
            break
        left += got
    return left


def inflated(path: Path, packed: bytes, size: int) -> tuple[bytes, int]:
    """Decompress a zlib stream of at most ``size`` bytes, its checksum verified; also how many bytes followed it."""
    try:
        inflate = deflate.decompressobj()
        data: bytes = inflate.decompress(packed, size + 1)
        if len(data) == size and not inflate.eof:  # all voxels are there, the checksum is still to be read
            data += inflate.decompress(inflate.unconsumed_tail, 1)
    except _DAMAGE as error:
        raise VolumeError("damaged: the compressed data are damaged", where=path, mend=_EXPORT) from error
    if len(data) > size:
        return data[:size], size
    if not inflate.eof:
        raise VolumeError("truncated: the compressed data end early", where=path, mend=_EXPORT)
    return data, len(inflate.unused_data)


class Compressor:
    """A gzip or zlib compressor whose output depends on its input alone: no name, no time of day."""

    def __init__(self, container: Literal["gzip", "zlib"] = "gzip") -> None:
        level = 6 if deflate is zlib else 2  # isal's second level packs about as well as zlib's fourth
        self._deflate = deflate.compressobj(level, deflate.DEFLATED, 31 if container == "gzip" else 15)

    def compress(self, data: memoryview | bytes) -> bytes:
        packed: bytes = self._deflate.compress(data)
        return packed

    def flush(self) -> bytes:
        packed: bytes = self._deflate.flush()
        return packed
