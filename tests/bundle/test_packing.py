"""Packing gives the same bytes everywhere, unpacking gives the folder back, and no change goes unnoticed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bundle.conftest import zipped
from tests.refusals import refusal
from volseg.bundle.packing import check_archive, pack_bundle, unpack_bundle
from volseg.bundle.storage.manifest import MANIFEST, Manifest, check_manifest, read_manifest
from volseg.bundle.verifying.golden_files import GoldenFiles
from volseg.errors import BundleError, VolsegError


@pytest.fixture
def packed(make_bundle: Callable[..., Path], tmp_path: Path) -> Path:
    return pack_bundle(make_bundle(), tmp_path / "heart.zip").path


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_folder_gives_the_same_bytes(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """Dates, permissions, the order of creation and the time zone leave no trace in the zip."""
    bundle = make_bundle()
    first = pack_bundle(bundle, tmp_path / "heart.zip").path.read_bytes()
    copy = tmp_path / "elsewhere"
    for path in sorted((p for p in bundle.rglob("*") if p.is_file()), reverse=True):
        target = copy / path.relative_to(bundle)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        target.chmod(0o600)
        os.utime(target, (1e9, 1e9))
    (tmp_path / "out").mkdir()
    code = "from volseg.bundle.packing import pack_bundle; import sys; pack_bundle(*sys.argv[1:])"
    subprocess.run(
        [sys.executable, "-c", code, copy, tmp_path / "out" / "heart.zip"],
        check=True,
        env={**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"},
    )
    assert (tmp_path / "out" / "heart.zip").read_bytes() == first


def test_other_programs_read_the_zip(packed: Path, make_bundle: Callable[..., Path]) -> None:
    """Python's own reader finds every file whole, below one folder with the zip's name."""
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert all(name.startswith("heart/") for name in names)
        assert names == sorted(names)
        assert archive.read("heart/LICENSE") == b"Apache-2.0\n"


def test_unpacking_gives_the_folder_back(packed: Path, make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """What was packed comes out, with the manifest beside it, and holds against that manifest."""
    folder = unpack_bundle(packed, tmp_path / "new" / "place")
    assert folder == tmp_path / "new" / "place" / "heart"
    assert {k: v for k, v in _tree(folder).items() if k != MANIFEST} == _tree(make_bundle())
    assert check_manifest(folder) == check_archive(packed) == read_manifest(packed)


def test_leftovers_stay_behind(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """Hidden files and an interpreter's are told and not packed."""
    bundle = make_bundle({".DS_Store": "x", "scripts/__pycache__/a.pyc": "x"})
    packed = pack_bundle(bundle, tmp_path / "heart.zip")
    assert packed.left_out == (".DS_Store", "scripts/__pycache__/a.pyc")
    assert not any("pycache" in path for path in packed.manifest.files)


def test_the_manifest_names_the_recipe_the_versions_and_the_golden_case(
    make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    """A reader learns what it stands on without opening another file."""
    bundle = make_bundle({"golden/image.nii": "i", "golden/mask.nii": "m"})
    manifest = pack_bundle(bundle, tmp_path / "heart.zip").manifest
    assert manifest.golden == GoldenFiles(("golden/image.nii",), "golden/mask.nii", 0.005)
    assert manifest.versions["monai_version"] == "1.6.1"
    from volseg.recipe import load_recipe

    assert manifest.recipe == load_recipe(bundle / "configs/recipe.yaml").digest()
    assert Manifest.from_bytes(manifest.to_bytes()) == manifest


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda f: (f / "LICENSE").write_bytes(b"MIT-license"), "LICENSE is not the file that was packed"),
        (lambda f: (f / "LICENSE").unlink(), "LICENSE is missing"),
        (lambda f: (f / "more.txt").write_bytes(b"x"), "more.txt is not in the manifest"),
        (lambda f: (f / "LICENSE").rename(f / "License.txt"), "LICENSE is missing"),
    ],
)
def test_a_folder_that_changed_is_told_by_its_first_difference(
    packed: Path, tmp_path: Path, spoil: Callable[[Path], object], told: str
) -> None:
    """A changed, missing, added or renamed file is one line that names it."""
    folder = unpack_bundle(packed, tmp_path / "new")
    spoil(folder)
    with pytest.raises(BundleError) as caught:
        check_manifest(folder)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_500_mutations_are_500_refusals(packed: Path, tmp_path: Path) -> None:
    """A byte changed, cut, added or doubled anywhere in the zip, or a file added, removed or renamed with every record
    of the zip in order, never passes.
    """
    good = packed.read_bytes()
    random_ = random.Random(20240725)
    spoiled = tmp_path / "spoiled" / "heart.zip"
    spoiled.parent.mkdir()
    refused = 0
    for number in range(500):
        spoiled.write_bytes(_mutated(good, number, random_, tmp_path))
        with pytest.raises(VolsegError) as caught:
            check_archive(spoiled)
        assert "\n" not in str(caught.value)
        refused += 1
    assert refused == 500
    spoiled.write_bytes(good)
    check_archive(spoiled)


def _mutated(good: bytes, number: int, random_: random.Random, tmp_path: Path) -> bytes:
    kind = number % 10
    data = bytearray(good)
    at = random_.randrange(len(good))
    if kind < 4:
        data[at] ^= 1 << random_.randrange(8)
    elif kind == 4:
        del data[at : at + random_.randint(1, 40)]
    elif kind == 5:
        data[at:at] = random_.randbytes(random_.randint(1, 40))
    elif kind == 6:
        data += data[at:]
    else:
        return _rezipped(good, kind, random_, tmp_path)
    return bytes(data)


def _rezipped(good: bytes, kind: int, random_: random.Random, tmp_path: Path) -> bytes:
    source = tmp_path / "good.zip"
    source.write_bytes(good)
    with zipfile.ZipFile(source) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    chosen = random_.randrange(len(members))
    if kind == 7:
        del members[chosen]
    elif kind == 8:
        info = members[chosen][0]
        info.filename = info.orig_filename = f"heart/{random_.randbytes(4).hex()}.json"
    else:
        extra = zipfile.ZipInfo(f"heart/{random_.randbytes(4).hex()}.json")
        members.insert(chosen, (extra, b"{}"))
    made = tmp_path / "made.zip"
    with zipfile.ZipFile(made, "w") as archive:
        for info, content in members:
            archive.writestr(info, content)
    return made.read_bytes()


def test_unpacking_leaves_nothing_when_it_fails(packed: Path, tmp_path: Path) -> None:
    """A damaged file in the middle: no folder, no part of one, and no new parents."""
    data = bytearray(packed.read_bytes())
    data[data.find(b"A. Nother")] ^= 1
    packed.write_bytes(data)
    with pytest.raises(BundleError):
        unpack_bundle(packed, tmp_path / "new" / "place")
    assert not (tmp_path / "new").exists()


def test_a_folder_in_the_way_is_left_alone(packed: Path, tmp_path: Path) -> None:
    """What is there already is neither mixed with the bundle nor replaced."""
    (tmp_path / "new" / "heart").mkdir(parents=True)
    with pytest.raises(BundleError) as caught:
        unpack_bundle(packed, tmp_path / "new")
    assert str(caught.value) == (
        f"{tmp_path / 'new' / 'heart'}: is there already; unpack somewhere else, or remove it first"
    )
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "heart"]


def test_without_a_manifest_only_on_request(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """A zip that nothing vouches for is unpacked when asked for by name."""
    bundle = make_bundle()
    made = shutil.make_archive(str(tmp_path / "heart"), "zip", bundle.parent, bundle.name)
    with pytest.raises(BundleError) as caught:
        unpack_bundle(made, tmp_path / "new")
    assert str(caught.value) == (
        f"{made}: has no manifest.json, so nothing says what belongs in it; "
        "look with `volseg bundle inspect`, then unpack with --no-manifest"
    )
    assert _tree(unpack_bundle(made, tmp_path / "new", without_manifest=True)) == _tree(bundle)


def test_a_zip_is_packed_as_ours_are(packed: Path, make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    """The first byte that is otherwise is told, another name than the manifest's too, and files without a folder."""
    with zipfile.ZipFile(packed) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    dated = tmp_path / "dated.zip"
    with zipfile.ZipFile(dated, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (1981, 1, 1, 0, 0, 0)), content)
    assert refusal(check_archive, dated) == "byte 13 of the zip is not what packing gives"
    zipped({name.replace("heart/", "brain/"): content for name, content in members.items()}, tmp_path / "brain.zip")
    assert refusal(check_archive, tmp_path / "brain.zip") == "holds 'brain', the manifest says 'heart'"
    loose = {name.removeprefix("heart/"): content for name, content in members.items() if not name.endswith(MANIFEST)}
    zipped(loose, tmp_path / "nul.zip")
    assert refusal(unpack_bundle, tmp_path / "nul.zip", out=tmp_path / "out", without_manifest=True) == (
        "its files lie in no folder with a usable name"
    )
