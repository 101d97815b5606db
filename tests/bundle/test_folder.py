"""A bundle's folder as it is listed: plain files, nothing that leads elsewhere, a cached model by its main snapshot."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from volseg.bundle.packing import check_archive, pack_bundle, unpack_bundle
from volseg.bundle.storage.folder import FolderFiles
from volseg.bundle.storage.limits import LIMITS
from volseg.errors import BundleError, WriteError


def cached(place: Path, *revisions: str, main: str | None = None) -> Path:
    """A model as the hub's cache keeps it: snapshots of links into ``blobs``."""
    model = place / "models--laboratory--heart"
    (model / "blobs").mkdir(parents=True)
    (model / "refs").mkdir()
    for revision in revisions:
        (model / "blobs" / f"blob-{revision}").write_text(revision)
        (model / "snapshots" / revision).mkdir(parents=True)
        (model / "snapshots" / revision / "LICENSE").symlink_to(f"../../blobs/blob-{revision}")
    if main is not None:
        (model / "refs" / "main").write_text(f"{main}\n")
    return model


def content(files: FolderFiles, path: str) -> str:
    with files.open(path) as file:
        return file.read().decode()


@pytest.mark.parametrize(
    ("revisions", "main", "read"),
    [(("abc", "def"), "def", "def"), (("abc",), None, "abc"), (("abc",), "0123", "abc"), (("abc",), "../abc", "abc")],
)
def test_a_cached_model_is_read_by_its_main_snapshot(
    revisions: tuple[str, ...], main: str | None, read: str, tmp_path: Path
) -> None:
    """By the reference; the only one where that leads nowhere. Links are bytes, and the name is the model's."""
    files = FolderFiles.at(cached(tmp_path, *revisions, main=main))
    assert (files.name, dict(files.sizes), files.problems) == ("heart", {"LICENSE": 3}, ())
    assert content(files, "LICENSE") == read


def test_several_snapshots_and_no_main_one_are_not_guessed_at(tmp_path: Path) -> None:
    """Whoever has several says which; one that is named itself is read."""
    model = cached(tmp_path, "abc", "def")
    with pytest.raises(BundleError, match="2 snapshots and no main one; name one of them"):
        FolderFiles.at(model)
    assert content(FolderFiles.at(model / "snapshots" / "def"), "LICENSE") == "def"


def test_links_out_of_the_cache_and_special_files_are_told(tmp_path: Path) -> None:
    """A link is bytes only where it leads straight to a blob of its own model."""
    snapshot = cached(tmp_path, "abc", main="abc") / "snapshots" / "abc"
    (tmp_path / "secret").write_text("x")
    (snapshot / "out").symlink_to(tmp_path / "secret")
    (snapshot.parents[1] / "blobs" / "hop").symlink_to(tmp_path / "secret")
    (snapshot / "over").symlink_to("../../blobs/hop")
    os.mkfifo(snapshot / "pipe")
    files = FolderFiles.at(snapshot)
    assert list(files.sizes) == ["LICENSE"]
    assert {(p.name, p.what) for p in files.problems} == {
        ("out", "is a symbolic link"),
        ("over", "is a symbolic link"),
        ("pipe", "is a special file (device, pipe or socket)"),
    }


def test_a_folder_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too deep, too many entries, too many bytes: before any of it is read."""
    deep = tmp_path / "deep"
    deep.joinpath(*"a" * (LIMITS.depth + 2)).mkdir(parents=True)
    with pytest.raises(BundleError, match=f"folders more than {LIMITS.depth} deep"):
        FolderFiles.at(deep)
    wide = tmp_path / "wide"
    wide.mkdir()
    for number in range(6):
        (wide / str(number)).write_bytes(bytes(10))
    small = dataclasses.replace(LIMITS, entries=4)
    monkeypatch.setattr("volseg.bundle.storage.folder.LIMITS", small)
    with pytest.raises(BundleError, match="more than 4 files and folders"):
        FolderFiles.at(wide)
    monkeypatch.setattr("volseg.bundle.storage.folder.LIMITS", dataclasses.replace(LIMITS, total=59))
    assert [p.what for p in FolderFiles.at(wide).problems] == ["holds 60 bytes; 59 are allowed"]


def test_what_is_no_plain_file_any_more_is_not_read(tmp_path: Path) -> None:
    """A file that was exchanged for a pipe after it was listed does not hold anybody up."""
    (tmp_path / "LICENSE").write_text("x")
    files = FolderFiles.at(tmp_path)
    (tmp_path / "LICENSE").unlink()
    os.mkfifo(tmp_path / "LICENSE")
    with pytest.raises(BundleError, match="is no plain file any more"):
        files.open("LICENSE")


def test_what_cannot_be_packed_or_unpacked_is_a_line(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """A name that no zip of a bundle has, no folder, no bundle in it; no zip, and a folder in its place."""
    bundle = make_bundle()
    for name in ("heart.tar", "CON.zip", "a?.zip"):
        with pytest.raises(BundleError, match=r"a packed bundle is called NAME\.zip"):
            pack_bundle(bundle, tmp_path / name)
    with pytest.raises(BundleError, match="no such folder"):
        pack_bundle(tmp_path / "nowhere", tmp_path / "heart.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError) as caught:
        pack_bundle(tmp_path / "empty", tmp_path / "heart.zip")
    assert str(caught.value) == f"{tmp_path / 'empty'}: no configs/metadata.json in it: this is no bundle"
    for refuse in (check_archive, lambda path: unpack_bundle(path, tmp_path / "out")):
        with pytest.raises(BundleError, match="no such file"):
            refuse(tmp_path / "nowhere.zip")
        with pytest.raises(BundleError, match="not a packed bundle"):
            refuse(bundle)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing_of_an_unpacking(
    make_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither half of a bundle nor the folders that were made for it; what else fails is not called a full disk."""
    packed = pack_bundle(make_bundle(), tmp_path / "heart.zip").path

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(WriteError, match="no space left"):
        unpack_bundle(packed, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "copyfileobj", broken)
    with pytest.raises(KeyboardInterrupt):
        unpack_bundle(packed, tmp_path / "deep" / "out")
    assert not (tmp_path / "deep").exists()


def test_a_renamed_zip_is_the_same_bundle(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """Whoever renames the zip keeps a bundle: its name is the folder's within."""
    packed = pack_bundle(make_bundle(), tmp_path / "heart.zip").path
    renamed = packed.rename(tmp_path / "other.zip")
    assert check_archive(renamed).name == "heart"
