"""The files of a bundle, wherever it lies: a folder, a zip, or a folder of the Hugging Face hub's cache."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from volseg.bundle.storage.limits import LIMITS
from volseg.bundle.storage.names import collision_key, name_problem
from volseg.bundle.storage.zip_records import Problem
from volseg.errors import BundleError, VolsegError

StrPath = str | os.PathLike[str]


class BundleFiles(Protocol):
    """What a folder and a zip have in common. Paths are relative to the bundle's own folder, with slashes."""

    @property
    def where(self) -> str:
        """What errors call it."""

    @property
    def name(self) -> str:
        """The bundle's name: that of its folder."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """The plain files and their sizes, in the order of their paths."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is odd about entries, and keeps careful programs from unpacking them."""

    def open(self, path: str) -> BinaryIO:
        """The bytes of a file; for seeking as well."""


@dataclass(frozen=True)
class FilesAround:
    """A bundle's files, read in another way: everything is as it is there but for what a subclass says otherwise."""

    files: BundleFiles

    @property
    def where(self) -> str:
        return self.files.where

    @property
    def name(self) -> str:
        return self.files.name

    @property
    def sizes(self) -> Mapping[str, int]:
        return self.files.sizes

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self.files.problems

    def open(self, path: str) -> BinaryIO:
        return self.files.open(path)


@contextmanager
def open_bundle(path: StrPath) -> Iterator[BundleFiles]:
    """The files of the bundle at ``path``; nothing is unpacked, no link is followed out of it.

    Raises:
        BundleError: if there is none.
    """
    from volseg.bundle.storage.archive import ZipFiles
    from volseg.bundle.storage.folder import FolderFiles

    place = Path(path)
    try:
        if place.is_dir():
            yield FolderFiles.at(place)
        elif place.is_file():
            with ZipFiles.at(place) as files:
                yield files
        else:
            raise BundleError(
                "not a file or folder" if os.path.lexists(place) else "no such file or folder", where=path
            )
    except OSError as error:
        if isinstance(error, VolsegError):  # a WriteError is one as well
            raise
        raise BundleError(f"cannot be read ({error.strerror or error})", where=path) from None


def read_whole(files: BundleFiles, path: str, limit: int = LIMITS.text) -> bytes:
    """The bytes of a small file.

    Raises:
        BundleError: if there is no such file, or it is larger than ``limit``.
    """
    if path not in files.sizes:
        raise BundleError(f"no {path} in the bundle", where=files.where)
    if files.sizes[path] > limit:
        raise BundleError(f"{files.sizes[path]} bytes, which is more than is read of such a file", where=path)
    with files.open(path) as file:
        return file.read(limit + 1)


def refuse_problems(files: BundleFiles) -> None:
    """Raise for the first thing that makes a bundle's files untrustworthy."""
    for problem in files.problems:
        more = f" ({len(files.problems) - 1} more)" if len(files.problems) > 1 else ""
        raise BundleError(told(problem) + more, where=files.where)


def told(problem: Problem) -> str:
    """A problem as the text of an error."""
    return f"the entry {problem.name!a} {problem.what}" if problem.name else f"the archive {problem.what}"


def listing_problems(names: Iterable[str]) -> Iterator[Problem]:
    """What is wrong with a set of paths: bad names, names that stand twice, names that some file systems mix up."""
    seen: dict[str, str] = {}
    files = set()
    for name in names:
        plain = name.rstrip("/")
        files.add(collision_key(plain)) if not name.endswith("/") else None
        if what := name_problem(plain):
            yield Problem(name, what)
        key = collision_key(plain)
        if key in seen:
            same = seen[key] == name
            yield Problem(name, "stands twice" if same else f"is the same as {seen[key]!a} on some systems")
        seen.setdefault(key, name)
    spelled: dict[str, str] = {}
    for name in seen.values():
        parts = name.rstrip("/").split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            key = collision_key(folder)
            if key in files:
                yield Problem(name, f"lies in {folder!a}, which is a file")
            if spelled.setdefault(key, folder) != folder:
                yield Problem(name, f"lies in {folder!a}, which is {spelled[key]!a} on some systems")
