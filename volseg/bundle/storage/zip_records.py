"""The records of a zip file, each held against the others.

A zip tells everything twice: in front of each file and in a table at its end. Programs differ in which they believe, so
that two readers can see two different contents. Here both must agree, byte for byte must belong to exactly one record,
and what is odd is told instead of mended.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from volseg.bundle.storage.limits import LIMITS
from volseg.errors import BundleError

STORED, DEFLATED = 0, 8
ENCRYPTED, DESCRIPTOR, STRONG, UTF8, MASKED = 0x1, 0x8, 0x40, 0x800, 0x2000

END = struct.Struct("<4s4H2LH")
END64_LOCATOR = struct.Struct("<4sLQL")
END64 = struct.Struct("<4sQ2H2L4Q")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
END_MARK, LOCATOR_MARK, END64_MARK = b"PK\5\6", b"PK\6\7", b"PK\6\6"
CENTRAL_MARK, LOCAL_MARK, DESCRIPTOR_MARK = b"PK\1\2", b"PK\3\4", b"PK\7\x08"
_LONGEST_COMMENT = 0xFFFF
_FULL = 0xFFFFFFFF
_ZIP64, _UNICODE_NAME = 0x0001, 0x7075
_UNIX = 3
_FOLDER = 0x10


@dataclass(frozen=True)
class Entry:
    """One file or folder as the table at the end lists it."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    folder: bool
    offset: int
    #: where its bytes begin, as the record in front of them says
    start: int = 0

    @property
    def is_folder(self) -> bool:
        return self.raw_name.endswith(b"/")


@dataclass(frozen=True)
class Problem:
    """What is wrong with an entry, or with the archive where ``name`` is empty."""

    name: str
    what: str


def read_records(file: BinaryIO, size: int, where: str) -> tuple[list[Entry], list[Problem]]:
    """The entries of a zip file, and everything in which its records contradict each other.

    Raises:
        BundleError: if there is no table to be read at all.
    """
    begin, length, count, table_end = _end(file, size, where)
    if count > LIMITS.entries:
        raise BundleError(f"{count} entries in the zip; no bundle needs more than {LIMITS.entries}", where=where)
    if length > LIMITS.table:
        raise BundleError(f"a table of contents of {length} bytes", where=where)
    if begin + length != table_end:
        raise BundleError("the zip's table of contents is not where its end record says", where=where)
    table = _at(file, begin, length, where)
    problems: list[Problem] = []
    listed = list(_central(table, where, problems))
    if len(listed) != count:
        raise BundleError(f"the zip lists {len(listed)} entries and counts {count}", where=where)
    entries = [_with_local(file, entry, begin, where, problems) for entry in listed]
    problems += _gaps(file, entries, begin, where)
    return entries, list(dict.fromkeys(problems))  # what both of an entry's records do wrong is told once


def _end(file: BinaryIO, size: int, where: str) -> tuple[int, int, int, int]:
    """Where the table begins, its length, its count, and where it must end."""
    reach = min(size, END.size + _LONGEST_COMMENT)
    tail = _at(file, size - reach, reach, where)
    found = [i for i in _occurrences(tail, END_MARK) if i + END.size <= len(tail)]
    if not found:
        raise BundleError("no zip file, or one that is cut short: its end record is missing", where=where)
    at = found[0]
    _, disk, first_disk, here, count, length, begin, comment = END.unpack_from(tail, at)
    if len(found) > 1 and at + END.size + comment != len(tail):
        at = found[-1]
        _, disk, first_disk, here, count, length, begin, comment = END.unpack_from(tail, at)
    if at + END.size + comment != len(tail):
        raise BundleError("bytes after the end of the zip", where=where)
    if len([i for i in found if i >= at]) > 1:
        raise BundleError("two end records: programs would see two different contents", where=where)
    end = size - reach + at
    if end >= END64_LOCATOR.size:
        mark, locator_disk, end64, disks = END64_LOCATOR.unpack(
            _at(file, end - END64_LOCATOR.size, END64_LOCATOR.size, where)
        )
        if mark == LOCATOR_MARK:
            if end64 + END64.size + END64_LOCATOR.size != end or locator_disk or disks > 1:
                raise BundleError("the zip's two end records do not lie together", where=where)
            old = (here, count, length, begin)
            mark, record, _, _, disk, first_disk, here, count, length, begin = END64.unpack(
                _at(file, end64, END64.size, where)
            )
            new = (here, count, length, begin)
            if mark != END64_MARK or record != END64.size - 12:
                raise BundleError("the zip's large end record is damaged", where=where)
            full = (0xFFFF, 0xFFFF, _FULL, _FULL)
            if any(a not in (b, top) for a, b, top in zip(old, new, full, strict=True)):
                raise BundleError("the zip's two end records contradict each other", where=where)
            end = end64
    if disk or first_disk or here != count:
        raise BundleError("a part of a zip in several volumes", where=where)
    return begin, length, count, end


def _central(table: bytes, where: str, problems: list[Problem]) -> Iterator[Entry]:
    at = 0
    while at < len(table):
        if at + CENTRAL.size > len(table):
            raise BundleError("the zip's table of contents is cut short", where=where)
        fields = CENTRAL.unpack_from(table, at)
        mark, made, _, flags, method, _, _, crc, packed, size, n, e, c, disk, _, attributes, offset = fields
        end = at + CENTRAL.size + n + e + c
        if mark != CENTRAL_MARK or end > len(table):
            raise BundleError("the zip's table of contents is damaged", where=where)
        raw = table[at + CENTRAL.size : at + CENTRAL.size + n]
        extra = table[at + CENTRAL.size + n : end - c]
        name = _decoded(raw, flags, problems)
        try:
            wide = _wide(extra, [size, packed, offset])
        except ValueError as error:
            problems.append(Problem(name, str(error)))
            wide = [size, packed, offset]
        if disk not in (0, 0xFFFF):
            problems.append(Problem(name, "lies in another volume of the zip"))
        mode = attributes >> 16 if made >> 8 == _UNIX else 0
        yield Entry(name, raw, flags, method, crc, wide[1], wide[0], mode, bool(attributes & _FOLDER), wide[2])
        at = end


def _with_local(file: BinaryIO, entry: Entry, table: int, where: str, problems: list[Problem]) -> Entry:
    """``entry`` with the place of its bytes; what the record in front of them says otherwise is a problem."""
    if entry.offset + LOCAL.size > table:
        raise BundleError(f"the entry {entry.name!a} points outside of the zip", where=where)
    mark, _, flags, method, _, _, crc, packed, size, n, e = LOCAL.unpack(_at(file, entry.offset, LOCAL.size, where))
    if mark != LOCAL_MARK:
        raise BundleError(f"the entry {entry.name!a} points at something else", where=where)
    start = entry.offset + LOCAL.size + n + e
    if start + entry.packed > table:
        raise BundleError(f"the entry {entry.name!a} reaches outside of the zip", where=where)
    after = _at(file, entry.offset + LOCAL.size, n + e, where)
    try:
        size, packed = _wide(after[n:], [size, packed])
    except ValueError as error:
        problems.append(Problem(entry.name, str(error)))
    told = [("name", after[:n], entry.raw_name), ("flags", flags, entry.flags), ("method", method, entry.method)]
    # a streaming writer learns these later and leaves them out here
    if not (flags & DESCRIPTOR and (crc, packed, size) == (0, 0, 0)):
        told += [("checksum", crc, entry.crc), ("packed size", packed, entry.packed), ("size", size, entry.size)]
    problems += [
        Problem(entry.name, f"has another {what} in its own header ({_shown(local)}) than in the zip's table")
        for what, local, listed in told
        if local != listed
    ]
    return Entry(**{**entry.__dict__, "start": start})


def _gaps(file: BinaryIO, entries: list[Entry], table: int, where: str) -> Iterator[Problem]:
    """Bytes that belong to no entry, or to two."""
    at = 0
    last = ""
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if entry.offset < at:
            yield Problem(entry.name, f"shares bytes with {last!a}")
        elif entry.offset > at:
            where_ = "in front of the zip" if not last else "between its entries"
            yield Problem("" if not last else entry.name, f"has {entry.offset - at} hidden bytes {where_}")
        at = entry.start + entry.packed
        if entry.flags & DESCRIPTOR:
            at += _descriptor(file, at, entry, where)
        last = entry.name
    if at < table:
        yield Problem("", f"has {table - at} hidden bytes in front of its table")
    elif at > table:
        yield Problem(last, "shares bytes with the zip's table")


def _descriptor(file: BinaryIO, at: int, entry: Entry, where: str) -> int:
    """The length of the record behind a streamed entry; 0 where there is none that agrees."""
    file.seek(at)
    found = file.read(24)
    for sizes in ("<LLL", "<LQQ"):
        record = (
            struct.pack(sizes, entry.crc, entry.packed & (2**64 - 1 if "Q" in sizes else _FULL), entry.size)
            if ("Q" in sizes or max(entry.packed, entry.size) <= _FULL)
            else b"\0"
        )
        for mark in (DESCRIPTOR_MARK, b""):
            if found.startswith(mark + record):
                return len(mark + record)
    return 0


def _wide(extra: bytes, fields: list[int]) -> list[int]:
    """Sizes and offsets, taken from the extra field where they do not fit their own."""
    at = 0
    seen = False
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        body = extra[at + 4 : at + 4 + length]
        at += 4 + length
        if kind == _UNICODE_NAME:
            raise ValueError("carries a second name, which some programs use instead of the first")
        if kind == _ZIP64:
            if seen:
                raise ValueError("states its sizes three times")
            seen = True
            wanted = [i for i, value in enumerate(fields) if value == _FULL]
            if len(body) < 8 * len(wanted):
                raise ValueError("has a damaged extra field")
            values = struct.unpack_from(f"<{len(wanted)}Q", body)
            fields = [values[wanted.index(i)] if i in wanted else value for i, value in enumerate(fields)]
    return fields


def _decoded(raw: bytes, flags: int, problems: list[Problem]) -> str:
    try:
        return raw.decode("utf-8" if flags & UTF8 else "ascii")
    except UnicodeDecodeError:
        name = raw.decode("cp437")
        problems.append(Problem(name, "has a name that is not UTF-8"))
        return name


def kind_problem(entry: Entry) -> str | None:
    """Why an entry is neither a plain file nor a folder that this reader opens."""
    kind = stat.S_IFMT(entry.mode)
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a special file (device, pipe or socket)"
    if entry.is_folder:
        return "is a folder with content" if entry.size or entry.packed else None
    if kind == stat.S_IFDIR or entry.folder:
        return "is a folder and a file at the same time"
    if entry.flags & (ENCRYPTED | STRONG | MASKED):
        return "is encrypted"
    if entry.method not in (STORED, DEFLATED):
        return f"is packed by method {entry.method}; stored and deflated are read"
    if entry.method == STORED and entry.packed != entry.size:
        return "is stored in another size than its own"
    return None


def _occurrences(data: bytes, mark: bytes) -> Iterator[int]:
    at = data.find(mark)
    while at >= 0:
        yield at
        at = data.find(mark, at + 1)


def _at(file: BinaryIO, offset: int, length: int, where: str) -> bytes:
    if offset < 0:
        raise BundleError("the zip is cut short", where=where)
    try:
        file.seek(offset)
        data = file.read(length)
    except (OSError, OverflowError, ValueError):
        raise BundleError("the zip points outside of itself", where=where) from None
    if len(data) != length:
        raise BundleError("the zip is cut short", where=where)
    return data


def _shown(value: object) -> str:
    return ascii(value.decode("utf-8", "replace")) if isinstance(value, bytes) else str(value)
