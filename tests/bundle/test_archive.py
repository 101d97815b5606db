"""Bundles in zips: their files read from any place, and their bytes written from files that stay as they are."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bundle.conftest import files_of, zipped
from tests.hostile import zip_of
from volseg.bundle.packing import unpack_bundle
from volseg.bundle.storage.archive import Packed, ZipFiles, zip_bytes
from volseg.bundle.storage.files import open_bundle, refuse_problems
from volseg.bundle.storage.limits import LIMITS
from volseg.errors import BundleError

CONTENT = bytes(range(256)) * 3
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.integers(-1, 900)),
        st.tuples(st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]), st.integers(-900, 900)),
    ),
    max_size=12,
)


@given(steps=STEPS, method=st.sampled_from([0, 8]))
def test_a_file_in_a_zip_is_read_as_one_of_its_own(steps: list[tuple[object, int]], method: int) -> None:
    """Reading and seeking in any order, stored or deflated, gives what the bytes alone would give."""
    zipped = io.BytesIO(zip_of({"heart/a": b"first", "heart/b": CONTENT, "heart/c": b"last"}, method=method))
    with ZipFiles.of(zipped, "x").open("b") as file:
        alone = io.BytesIO(CONTENT)
        for what, number in steps:
            if what == "read":
                assert file.read(number) == alone.read(number)
            elif isinstance(what, int):
                start = {os.SEEK_SET: 0, os.SEEK_CUR: alone.tell(), os.SEEK_END: len(CONTENT)}[what]
                number = max(number, -start)  # in front of the first byte there is none
                assert file.seek(number, what) == alone.seek(number, what)
            assert file.tell() == alone.tell()


def test_names_are_those_within_the_one_folder(tmp_path: Path) -> None:
    """Or those in the zip, where its files lie in several; the bundle is called as that folder, or as the zip."""
    for names, name, told in (
        (["heart/a", "heart/b/c"], "heart", ["a", "b/c"]),
        (["a", "b/c"], "given", ["a", "b/c"]),
        (["a"], "given", ["a"]),
        (["heart/a", "brain/a"], "given", ["brain/a", "heart/a"]),
    ):
        with open_bundle(zipped(dict.fromkeys(names, b"x"), tmp_path / "given.zip")) as files:
            assert (files.name, list(files.sizes)) == (name, told)


def test_all_files_together_are_bounded(
    make_bundle: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored bytes too; exactly as many as are allowed pass."""
    files = files_of(make_bundle())
    total = sum(map(len, files.values()))
    path = zipped(files, tmp_path / "heart.zip")
    for allowed in (total, total - 1):
        monkeypatch.setattr("volseg.bundle.storage.archive.LIMITS", replace(LIMITS, total=allowed))
        with open_bundle(path) as found:
            if allowed == total:
                refuse_problems(found)
            else:
                with pytest.raises(BundleError) as caught:
                    refuse_problems(found)
                assert str(caught.value) == f"{path}: the archive unpacks to {total} bytes; {allowed} are allowed"


def test_what_cannot_be_packed_is_told_before_or_as_it_happens() -> None:
    """More than the format holds, and a file that is not what it was when it was listed."""

    def packed(content: bytes, **listed: int) -> Packed:
        told = {"size": len(content), "crc": zlib.crc32(content), **listed}
        return Packed("heart/a", told["size"], told["crc"], lambda: io.BytesIO(content))

    assert b"".join(zip_bytes([packed(b"abc")])).count(b"abc") == 1
    for changed in ({"size": 4}, {"crc": 1}):
        with pytest.raises(BundleError) as caught:
            list(zip_bytes([packed(b"abc", **changed)]))
        assert str(caught.value) == "heart/a: changed while it was being packed; run it again"
    with pytest.raises(BundleError) as caught:
        next(zip_bytes([packed(b"", size=2**32 - 36)]))
    assert str(caught.value) == "heart/a: more than 4 GiB do not go into one bundle"


@pytest.mark.parametrize("method", [0, 8])
def test_damage_within_a_file_is_told_when_it_is_read(method: int, tmp_path: Path) -> None:
    """By its checksum, or by what unpacks it; unpacking without a manifest leaves nothing."""
    data = bytearray(zip_of({"heart/a": CONTENT}, method=method))
    data[60] ^= 0x10
    (tmp_path / "heart.zip").write_bytes(data)
    told = f"{tmp_path / 'heart.zip'}: the entry 'heart/a' is damaged, or not what the zip says it is"
    with open_bundle(tmp_path / "heart.zip") as files, pytest.raises(BundleError) as caught, files.open("a") as file:
        file.read()
    assert str(caught.value) == told
    with pytest.raises(BundleError) as caught:
        unpack_bundle(tmp_path / "heart.zip", tmp_path / "out", without_manifest=True)
    assert str(caught.value) == told
    assert not (tmp_path / "out").exists()


def test_places_that_are_no_bundle(tmp_path: Path) -> None:
    """Nothing there, or something that is neither file nor folder."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    for name, told in (("gone", "no such file or folder"), ("pipe", "not a file or folder"),
                       ("nowhere", "not a file or folder")):  # fmt: skip
        with pytest.raises(BundleError) as caught, open_bundle(tmp_path / name):
            pass
        assert str(caught.value) == f"{tmp_path / name}: {told}"
