"""From a folder to a zip that is the same to the last byte wherever it is packed, and back."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from volseg.bundle.about import about
from volseg.bundle.storage.archive import Packed, zip_bytes
from volseg.bundle.storage.files import BundleFiles, FilesAround, StrPath, open_bundle, refuse_problems
from volseg.bundle.storage.folder import is_leftover
from volseg.bundle.storage.limits import MIB
from volseg.bundle.storage.manifest import MANIFEST, METADATA, Manifest, bundle_within, check_files, make_manifest
from volseg.bundle.storage.names import name_problem
from volseg.errors import BundleError, VolsegError
from volseg.io.atomic import PREFIX, atomic_write, refusal


@dataclass(frozen=True)
class PackedBundle:
    """What went into a zip."""

    path: Path
    manifest: Manifest
    #: files of the folder that are no part of a bundle: hidden ones, an interpreter's
    left_out: tuple[str, ...]
    #: under which it may be used, as the bundle says
    licence: str


def pack_bundle(bundle: StrPath, out: StrPath, more: Mapping[str, bytes] | None = None) -> PackedBundle:
    """Write a bundle's folder as ``NAME.zip``, which holds ``NAME/…`` and its manifest.

    Args:
        bundle: the folder; nothing in it is changed.
        out: the zip.
        more: files to pack beside those in the folder, by their paths in the bundle.

    Raises:
        BundleError: if the folder is no bundle, or holds what no bundle may.
        WriteError: if the zip cannot be written whole.
    """
    target = Path(out)
    name = target.name.removesuffix(".zip")
    if target.suffix != ".zip" or name_problem(name):
        raise BundleError("a packed bundle is called NAME.zip", where=out)
    if not Path(bundle).is_dir():
        raise BundleError("no such folder", where=bundle)
    with open_bundle(bundle) as folder:
        refuse_problems(folder)
        files = _Joined(folder, more or {})
        if METADATA not in files.sizes:
            raise BundleError(f"no {METADATA} in it: this is no bundle", where=bundle, mend=bundle_within(bundle))
        manifest = make_manifest(files, name=name)
        with atomic_write(target) as file:
            for piece in zip_bytes(_contents(files, manifest)):
                file.write(piece)
        left_out = tuple(path for path in files.sizes if is_leftover(path))
        return PackedBundle(target, manifest, left_out, about(files).license)


@dataclass(frozen=True)
class _Joined(FilesAround):
    """A bundle's files with more of them, in memory."""

    more: Mapping[str, bytes]

    @property
    def sizes(self) -> Mapping[str, int]:
        return dict(sorted({**self.files.sizes, **{path: len(data) for path, data in self.more.items()}}.items()))

    def open(self, path: str) -> BinaryIO:
        return io.BytesIO(self.more[path]) if path in self.more else self.files.open(path)


def check_archive(path: StrPath) -> Manifest:
    """Hold a packed bundle against its manifest, and its bytes against what packing it again gives.

    Raises:
        BundleError: the first difference, in a file or in the zip around it.
    """
    if not Path(path).is_file():
        raise BundleError("no such file" if not Path(path).exists() else "not a packed bundle", where=path)
    with open_bundle(path) as files:
        manifest = check_files(files)
        if files.name != manifest.name:
            raise BundleError(f"holds {files.name!a}, the manifest says {manifest.name!a}", where=path)
        at = 0
        with Path(path).open("rb") as file:
            for piece in zip_bytes(_contents(files, manifest)):
                if (there := file.read(len(piece))) != piece:
                    near = next((i for i, (a, b) in enumerate(zip(there, piece, strict=False)) if a != b), len(there))
                    raise BundleError(f"byte {at + near} of the zip is not what packing gives", where=path)
                at += len(piece)
            if file.read(1):
                raise BundleError(f"bytes after the end of the zip ({at})", where=path)
    return manifest


def unpack_bundle(path: StrPath, out: StrPath, *, without_manifest: bool = False) -> Path:
    """Unpack a zip into ``out/NAME``: the whole bundle, or nothing.

    Args:
        path: the zip.
        out: the folder that gets the bundle's folder; created where there is none.
        without_manifest: take a zip that has no manifest, and whose content nothing vouches for.

    Raises:
        BundleError: if anything in the zip is not safe to unpack, or not as its manifest says.
        WriteError: if it cannot be written whole.
    """
    if not Path(path).is_file():
        raise BundleError("no such file" if not Path(path).exists() else "not a packed bundle", where=path)
    with open_bundle(path) as files:
        refuse_problems(files)
        if MANIFEST in files.sizes:
            check_files(files)
        elif not without_manifest:
            raise BundleError(
                "has no manifest.json, so nothing says what belongs in it",
                where=path,
                mend="look with `volseg bundle inspect`, then unpack with --no-manifest",
            )
        if not files.name or "/" in files.name or name_problem(files.name):
            raise BundleError("its files lie in no folder with a usable name", where=path)
        return _written(files, Path(out))


def _written(files: BundleFiles, folder: Path) -> Path:
    target = folder / files.name
    if os.path.lexists(target):
        raise BundleError("is there already", where=target, mend="unpack somewhere else, or remove it first")
    temporary = folder / f"{PREFIX}{secrets.token_hex(6)}"
    made = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        temporary.mkdir(parents=True)
        for path in files.sizes:
            place = temporary.joinpath(*path.split("/"))
            place.parent.mkdir(parents=True, exist_ok=True)
            with files.open(path) as source, place.open("xb") as file:
                shutil.copyfileobj(source, file, MIB)
                file.flush()
                os.fsync(file.fileno())
        temporary.rename(target)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        for parent in made:
            with suppress(OSError):
                parent.rmdir()
        if isinstance(error, OSError) and not isinstance(error, VolsegError):
            raise refusal(error, target) from error
        raise
    return target


def _contents(files: BundleFiles, manifest: Manifest) -> Iterator[Packed]:
    """The manifest and what it lists, as a zip takes them."""
    raw = manifest.to_bytes()
    yield Packed(f"{manifest.name}/{MANIFEST}", len(raw), zlib.crc32(raw), partial(io.BytesIO, raw))
    for path, record in manifest.files.items():
        opened = partial(files.open, path)
        yield Packed(f"{manifest.name}/{path}", record.size, _crc(opened()), opened)


def _crc(file: BinaryIO) -> int:
    crc = 0
    with file:
        while piece := file.read(MIB):
            crc = zlib.crc32(piece, crc)
    return crc
