"""A bundle in a folder: its plain files, and what else lies there."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from volseg.bundle.storage.files import listing_problems
from volseg.bundle.storage.limits import LIMITS
from volseg.bundle.storage.zip_records import Problem
from volseg.errors import BundleError

#: what file managers, version control and interpreters leave behind
_LEFTOVERS = ("__pycache__",)
#: everything that the hub's cache keeps of a model
_CACHE = {"blobs", "refs", "snapshots", ".no_exist"}


@dataclass(frozen=True)
class FolderFiles:
    """The files of a folder; see :class:`volseg.bundle.storage.files.BundleFiles`."""

    where: str
    name: str
    sizes: Mapping[str, int]
    problems: tuple[Problem, ...]
    #: where each file's bytes are: elsewhere than its path says in the hub's cache only
    _places: Mapping[str, Path] = field(repr=False)

    @classmethod
    def at(cls, path: Path) -> FolderFiles:
        """The folder at ``path``, or the newest snapshot in it where it is a model of the hub's cache."""
        root = _snapshot(path)
        blobs = _blobs(root)
        found: dict[str, Path] = {}
        folders: list[str] = []
        problems: list[Problem] = []
        _walk(root, "", blobs, found, folders, problems, where=os.fspath(path))
        problems += listing_problems([*found, *folders])
        sizes = {name: found[name].stat().st_size for name in sorted(found)}
        if sum(sizes.values()) > LIMITS.total:
            problems.append(Problem("", f"holds {sum(sizes.values())} bytes; {LIMITS.total} are allowed"))
        return cls(os.fspath(path), _name(path, root), sizes, tuple(problems), found)

    def open(self, path: str) -> BinaryIO:
        """The bytes of a file, if it is still the plain file that was listed."""
        place = self._places[path]
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        handle = os.open(place, flags)
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise BundleError("is no plain file any more", where=place)
        return os.fdopen(handle, "rb")


def is_leftover(path: str) -> bool:
    """Whether a path is none of a bundle's: hidden, or what an interpreter keeps.

    >>> is_leftover("scripts/__pycache__/net.pyc"), is_leftover(".git/HEAD"), is_leftover("LICENSE")
    (True, True, False)
    """
    return any(part.startswith(".") or part in _LEFTOVERS for part in path.split("/"))


def _walk(
    folder: Path,
    above: str,
    blobs: Path | None,
    found: dict[str, Path],
    folders: list[str],
    problems: list[Problem],
    *,
    where: str,
) -> None:
    if above.count("/") > LIMITS.depth:
        raise BundleError(f"folders more than {LIMITS.depth} deep", where=where)
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if len(found) + len(folders) + len(problems) > LIMITS.entries:
                raise BundleError(f"more than {LIMITS.entries} files and folders", where=where)
            name = above + entry.name
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                folders.append(f"{name}/")
                _walk(Path(entry.path), f"{name}/", blobs, found, folders, problems, where=where)
            elif stat.S_ISREG(mode):
                found[name] = Path(entry.path)
            elif not stat.S_ISLNK(mode):
                problems.append(Problem(name, "is a special file (device, pipe or socket)"))
            elif blob := _blob(Path(entry.path), blobs):
                found[name] = blob
            else:
                problems.append(Problem(name, "is a symbolic link"))


def _snapshot(path: Path) -> Path:
    """The folder with the files: ``path``, or what the main reference of a cached model points at."""
    snapshots = path / "snapshots"
    # beside a bundle's own files, folders of these names would hide them
    if not {"snapshots", "refs"} <= {entry.name for entry in path.iterdir()} <= _CACHE or not snapshots.is_dir():
        return path
    reference = path / "refs" / "main"
    if reference.is_file() and not reference.is_symlink():
        with reference.open("rb") as file:
            revision = file.read(65).decode("ascii", "replace").strip()
        if revision.isalnum() and (snapshots / revision).is_dir():
            return snapshots / revision
    revisions = [entry for entry in snapshots.iterdir() if entry.is_dir() and not entry.is_symlink()]
    if len(revisions) != 1:
        raise BundleError(f"{len(revisions)} snapshots and no main one", where=path, mend="name one of them")
    return revisions[0]


def _blobs(root: Path) -> Path | None:
    """Where the hub's cache keeps the bytes that a snapshot's links name."""
    blobs = root.absolute().parent.parent / "blobs"
    return blobs if root.absolute().parent.name == "snapshots" and blobs.is_dir() and not blobs.is_symlink() else None


def _blob(link: Path, blobs: Path | None) -> Path | None:
    if blobs is None:
        return None
    target = Path(os.path.normpath(link.parent.absolute() / link.readlink()))
    is_blob = target.parent == blobs and target.is_file() and not target.is_symlink()
    return target if is_blob else None


def _name(path: Path, root: Path) -> str:
    if root is path and _blobs(root) is None:
        return path.absolute().name
    cached = root.absolute().parent.parent.name
    return cached.rpartition("--")[2]
