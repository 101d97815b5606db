"""Files that appear whole or not at all.

A result is written to a temporary in its own folder, flushed to the disk, renamed, and the folder is flushed. Whatever
goes wrong on the way, the final name never holds a part of a file.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from volseg.errors import WriteError
from volseg.io.locks import lock

# Temporaries start with this and a dot hides them from folder listings and from our own search for cases.
PREFIX = ".volseg-partial-"

# A temporary is locked for as long as its writer lives. One that is unlocked and older than this is a dead one's.
STALE_SECONDS = 60.0

_REASONS = {
    errno.ENOSPC: ("no space left on the device", "free some space and run it again"),
    errno.EDQUOT: ("the disk quota is used up", "free some space and run it again"),
    errno.EROFS: ("the file system is read-only", "choose another output folder"),
    errno.EACCES: ("no permission to write there", "choose another output folder"),
    errno.EPERM: ("no permission to write there", "choose another output folder"),
    errno.ENAMETOOLONG: ("the file name is too long", "shorten the name of the input"),
    errno.ENOENT: ("the folder does not exist", "create it first"),
    errno.ENOTDIR: ("the folder is a file", "choose another output folder"),
    errno.EISDIR: ("a folder of that name is in the way", "choose another output name"),
    errno.EFBIG: ("the file would be larger than allowed", None),
    errno.EIO: ("the device reports an input/output error", "check the disk"),
}

_swept: set[Path] = set()


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that takes its name only when all of it is on the disk.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_write(folder / "mask.bin") as file:
    ...     _ = file.write(b"whole")
    >>> [entry.name for entry in folder.iterdir()]
    ['mask.bin']

    Raises:
        WriteError: if it could not be written whole; nothing of it is left behind, an older file is left as it was.
    """
    with _temporary(Path(path)) as handle, os.fdopen(os.dup(handle), "wb") as file:
        yield file


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write bytes, whole or not at all."""
    with atomic_write(path) as file:
        file.write(data)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], value: Any, *, indent: int | None = 2) -> None:
    """Write JSON, whole or not at all; NaN and infinity, which JSON does not have, are refused."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def sweep(folder: Path) -> int:
    """Remove the temporaries that killed processes left in a folder; returns how many."""
    removed = 0
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and _abandoned(Path(entry.path)):
                with suppress(OSError):
                    Path(entry.path).unlink()
                    removed += 1
    return removed


@contextmanager
def _temporary(path: Path) -> Iterator[int]:
    folder = path.parent
    if folder not in _swept:  # once per folder: listing a folder of thousands for each of thousands would cost
        _swept.add(folder)
        sweep(folder)
    temporary = folder / f"{PREFIX}{secrets.token_hex(6)}"
    handle = -1
    try:
        if path.is_dir() and not path.is_symlink():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with suppress(FileNotFoundError):
            path.lstat()  # a name too long fails here, before the work
        handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o666)
        lock(handle)  # where there are no locks, sweep leaves temporaries alone
        yield handle
        os.fsync(handle)
        temporary.replace(path)
    except BaseException as error:
        _discard(handle, temporary)
        if isinstance(error, OSError) and not isinstance(error, WriteError):
            raise refusal(error, path) from error
        raise
    os.close(handle)
    _flush_folder(folder)


def refusal(error: OSError, path: object) -> WriteError:
    """What an error of the operating system means to the person who waits for the file."""
    reason, mend = _REASONS.get(error.errno or 0, (error.strerror or str(error), None))
    return WriteError(f"could not be written: {reason}", where=path, mend=mend)


def _discard(handle: int, temporary: Path) -> None:
    if handle >= 0:
        os.close(handle)
        with suppress(OSError):
            temporary.unlink()


def _flush_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _abandoned(temporary: Path) -> bool:
    try:
        if time.time() - temporary.stat().st_mtime < STALE_SECONDS:
            return False  # perhaps created this moment and not locked yet
        with temporary.open("rb") as file:
            return lock(file.fileno()) is True
    except OSError:
        return False
