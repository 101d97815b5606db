"""Bytes of a file, plain or gzip, read to the end with every checksum verified."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

from volseg.errors import VolumeError

deflate: Any
try:
    from isal import isal_zlib

    deflate = isal_zlib
except ImportError:
    deflate = zlib

_DAMAGE: tuple[type[Exception], ...] = (zlib.error, deflate.error)

# Deflate cannot pack more than 1032 bytes into one: a header that promises more than that lies.
MOST_PER_BYTE = 1032

_MAGIC = b"\x1f\x8b"

# Larger pieces leave the processor's cache between decompression and copying.
PIECE = 1 << 18

_EXPORT = "copy or export it again"


class Stream(Protocol):
    """Bytes that are read once, from the beginning to the end."""

    def read(self, size: int, /) -> bytes | None: ...


@contextmanager
def opened(path: Path, *, compressed: bool, offset: int = 0) -> Iterator[Stream]:
    """The bytes of a file from ``offset`` on, decompressed if need be; damage found while reading is a VolumeError."""
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            yield GzipMembers(file) if compressed else file
    except EOFError as error:
        raise VolumeError("truncated: the gzip data end early", where=path, mend=_EXPORT) from error
    except _DAMAGE as error:
        checksum = "check" in str(error)  # "incorrect data check", "Incorrect checksum found"
        what = "the gzip checksum does not match" if checksum else "the gzip data are damaged"
        raise VolumeError(f"damaged: {what}", where=path, mend=_EXPORT) from error
    except MemoryError as error:
        raise VolumeError("does not fit into memory", where=path) from error
    except OSError as error:
        raise unreadable(error, path) from error


class GzipMembers:
    """The content of a gzip file, one member after another, each with its checksum and length verified.

    Foreign bytes after a whole member end the stream and are remembered: what came before them is sound.
    """

    def __init__(self, file: Stream) -> None:
        self._file = file
        self._packed: bytes = b""
        self._inflate: Any = None
        #: whether something that is not gzip follows the last member
        self.foreign = False

    def read(self, size: int, /) -> bytes:
        while True:
            if self._inflate is None and not self._next_member():
                return b""
            data: bytes = self._inflate.decompress(self._packed, size)
            if self._inflate.eof:
                self._packed, self._inflate = self._inflate.unused_data, None
            else:
                self._packed = self._inflate.unconsumed_tail or self._more()
                if not (self._packed or data):
                    raise EOFError
            if data:
                return data

    def _next_member(self) -> bool:
        if len(self._packed) < len(_MAGIC):
            self._packed += self._more()
        if not self._packed.startswith(_MAGIC):
            self.foreign = bool(self._packed.strip(b"\0"))  # zeros may pad a gzip file
            return False
        self._inflate = deflate.decompressobj(wbits=31)
        return True

    def _more(self) -> bytes:
        return self._file.read(PIECE) or b""


def unreadable(error: OSError, path: object) -> VolumeError:
    """What the operating system's refusal to read means."""
    return VolumeError(f"could not be read: {(error.strerror or str(error)).lower()}", where=path)


def fill(stream: Stream, view: memoryview) -> int:
    """Fill a buffer from a stream; returns how many bytes there were, fewer only at the end of the stream."""
    done, size = 0, len(view)
    while done < size:
        data = stream.read(min(PIECE, size - done))
        if not data:
            break
        view[done : done + len(data)] = data
        done += len(data)
    return done


def take(stream: Stream, count: int) -> bytes:
    """So many bytes, fewer only at the end of the stream."""
    data = bytearray(count)
    return bytes(memoryview(data)[: fill(stream, memoryview(data))])


def skip(stream: Stream, count: int) -> int:
    """Pass over bytes; returns how many there were."""
    done = 0
    while done < count:
        data = stream.read(min(PIECE, count - done))
        if not data:
            break
        done += len(data)
    return done


def drain(stream: Stream, most: int) -> int:
    """Read to the end, where gzip keeps its checksum; returns how many bytes were left, counting a little past most."""
    left = 0
    while left <= most:
        data = stream.read(PIECE)
        if not data:
            break
        left += len(data)
    return left + int(isinstance(stream, GzipMembers) and stream.foreign)


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
