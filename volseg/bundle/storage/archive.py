"""A bundle in a zip: read without unpacking, written the same to the last byte."""

from __future__ import annotations

import io
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, cast

from volseg.bundle.storage.files import listing_problems
from volseg.bundle.storage.limits import LIMITS, MIB
from volseg.bundle.storage.zip_records import (
    CENTRAL,
    CENTRAL_MARK,
    END,
    END_MARK,
    LOCAL,
    LOCAL_MARK,
    STORED,
    UTF8,
    Entry,
    Problem,
    kind_problem,
    read_records,
)
from volseg.errors import BundleError

_CHUNK = MIB
_IN_MEMORY = 32 * MIB
#: 1980-01-01 00:00, the first moment a zip knows
_DATE, _TIME = 0x21, 0
_VERSION, _MADE_ON_UNIX, _PLAIN_FILE = 20, 3 << 8, 0o100644 << 16
_LARGEST = 0xFFFFFFFF


@dataclass(frozen=True)
class ZipFiles:
    """The files of a zip that holds one bundle; see :class:`volseg.bundle.storage.files.BundleFiles`."""

    where: str
    name: str
    sizes: Mapping[str, int]
    problems: tuple[Problem, ...]
    _entries: Mapping[str, Entry]
    _file: BinaryIO

    @classmethod
    def at(cls, path: Path) -> ZipFiles:
        """The zip at ``path``, which stays open until the ``with`` block ends."""
        file = path.open("rb")
        try:
            return cls.of(file, os.fspath(path), name=path.stem)
        except BaseException:
            file.close()
            raise

    @classmethod
    def of(cls, file: BinaryIO, where: str, *, name: str = "") -> ZipFiles:
        """A zip that is open; ``name`` is the bundle's where its files lie in no folder of their own."""
        entries, problems = read_records(file, file.seek(0, os.SEEK_END), where)
        problems += listing_problems(entry.name for entry in entries)
        problems += [Problem(entry.name, what) for entry in entries if (what := kind_problem(entry))]
        problems += _bombs(entries)
        tops = {entry.name.partition("/")[0] for entry in entries}
        root = f"{tops.pop()}/" if len(tops) == 1 and not any(e.name in tops for e in entries) else ""
        if not all(entry.name.startswith(root) for entry in entries):
            root = ""
        plain = {e.name[len(root) :]: e for e in sorted(entries, key=lambda e: e.name) if not e.is_folder}
        sizes = {name: entry.size for name, entry in plain.items()}
        return cls(where, root[:-1] or name, sizes, tuple(problems), plain, file)

    def __enter__(self) -> ZipFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def open(self, path: str) -> BinaryIO:
        """The bytes of a file, checked against its size and, once they are read to the end, its checksum."""
        entry = self._entries[path]
        if what := kind_problem(entry):
            raise BundleError(f"the entry {entry.name!a} {what}", where=self.where)
        if entry.method == STORED:
            window = _Window(self._file, entry, self.where)
            return cast(BinaryIO, io.BufferedReader(window, _CHUNK if entry.size > _CHUNK else io.DEFAULT_BUFFER_SIZE))
        spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115 - the caller closes it
        try:
            for piece in self._inflated(entry):
                spool.write(piece)
        except BaseException:
            spool.close()
            raise
        spool.seek(0)
        return spool

    def front(self, path: str, size: int) -> bytes:
        """The first bytes of a file, without unpacking all of it."""
        entry = self._entries[path]
        if entry.method == STORED or kind_problem(entry):
            with self.open(path) as file:
                return file.read(size)
        return next(self._inflated(entry), b"")[:size]

    def _inflated(self, entry: Entry) -> Iterator[bytes]:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        packed, given, crc = 0, 0, 0
        try:
            while not inflate.eof:
                piece = inflate.decompress(inflate.unconsumed_tail, _CHUNK)
                if not piece and not inflate.eof:
                    self._file.seek(entry.start + packed)
                    raw = self._file.read(min(_CHUNK, entry.packed - packed))
                    if not raw:
                        break
                    packed += len(raw)
                    piece = inflate.decompress(raw, _CHUNK)
                given += len(piece)
                crc = zlib.crc32(piece, crc)
                if given > entry.size:
                    break
                yield piece
        except zlib.error:
            raise _damaged(entry, self.where) from None
        if given != entry.size or crc != entry.crc or inflate.unused_data or packed != entry.packed:
            raise _damaged(entry, self.where)


class _Window(io.RawIOBase):
    """The part of a zip that is a stored entry, as a file."""

    def __init__(self, file: BinaryIO, entry: Entry, where: str) -> None:
        self._file, self._entry, self._where = file, entry, where
        self._at = self._summed = self._crc = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._entry.size}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), max(0, self._entry.size - self._at))
        self._file.seek(self._entry.start + self._at)
        data = self._file.read(wanted)
        buffer[: len(data)] = data
        if self._at == self._summed:  # as far as it is read in order
            self._crc = zlib.crc32(data, self._crc)
            self._summed += len(data)
            if self._summed == self._entry.size and self._crc != self._entry.crc:
                raise _damaged(self._entry, self._where)
        self._at += len(data)
        return len(data)


def _damaged(entry: Entry, where: str) -> BundleError:
    return BundleError(f"the entry {entry.name!a} is damaged, or not what the zip says it is", where=where)


def _bombs(entries: Iterable[Entry]) -> Iterator[Problem]:
    total = inflated = 0
    for entry in entries:
        total += entry.size
        inflated += entry.size if entry.method != STORED else 0
        if entry.size > MIB and entry.size > LIMITS.ratio * entry.packed:
            yield Problem(entry.name, f"unpacks {entry.packed} bytes to {entry.size}: a bomb")
    if total > LIMITS.total:
        yield Problem("", f"unpacks to {total} bytes; {LIMITS.total} are allowed")
    elif inflated > LIMITS.inflated:
        yield Problem("", f"inflates to {inflated} bytes; {LIMITS.inflated} are allowed")


@dataclass(frozen=True)
class Packed:
    """A file on its way into a zip."""

    name: str
    size: int
    crc: int
    open: Callable[[], BinaryIO]


def zip_bytes(files: Iterable[Packed]) -> Iterator[bytes]:
    """The bytes of a zip: the same for the same files, on every machine and with every compressor.

    Names are sorted, dates and permissions fixed, and the files are stored as they are: what zlib makes of them differs
    from build to build, and weights hardly shrink.

    >>> import io
    >>> hello = Packed("greeting/hello.txt", 2, zlib.crc32(b"hi"), lambda: io.BytesIO(b"hi"))
    >>> len(b"".join(zip_bytes([hello])))
    136
    """
    table = b""
    at = count = 0
    for file in sorted(files, key=lambda file: file.name):
        raw = file.name.encode()
        flags = 0 if file.name.isascii() else UTF8
        what = (_VERSION, flags, STORED, _TIME, _DATE, file.crc, file.size, file.size, len(raw), 0)
        if at + file.size + LOCAL.size + len(raw) > _LARGEST:
            raise BundleError("more than 4 GiB do not go into one bundle", where=file.name)
        yield LOCAL.pack(LOCAL_MARK, *what) + raw
        yield from _pieces(file)
        table += CENTRAL.pack(CENTRAL_MARK, _MADE_ON_UNIX | _VERSION, *what, 0, 0, 0, _PLAIN_FILE, at) + raw
        at += LOCAL.size + len(raw) + file.size
        count += 1
    yield table + END.pack(END_MARK, 0, 0, count, count, len(table), at, 0)


def _pieces(file: Packed) -> Iterator[bytes]:
    size = crc = 0
    with file.open() as stream:
        while piece := stream.read(_CHUNK):
            size, crc = size + len(piece), zlib.crc32(piece, crc)
            yield piece
    if (size, crc) != (file.size, file.crc):
        raise BundleError("changed while it was being packed", where=file.name, mend="run it again")
