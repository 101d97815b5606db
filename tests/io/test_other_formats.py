"""NRRD, MetaImage, MGH, PNG and TIFF get the same care as NIfTI."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its users' custom
from PIL import Image

from volseg.errors import UsageError, VolumeError
from volseg.geometry import Grid
from volseg.io import frame_count, read_labels, read_outline, read_volume, write_labels, write_volume

AFFINE = np.array([[-0.7, 0.05, 0, 91.3], [0.05, 0.7, 0, -12.1], [0, 0, 2.5, 7.7], [0, 0, 0, 1]])
GRID = Grid((7, 6, 5), AFFINE)
VOXELS = np.random.default_rng(0).integers(-500, 500, GRID.shape).astype(np.int16)
AGAIN = "copy or export it again"


@pytest.fixture(params=[".nrrd", ".mha"])
def written(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / f"scan{request.param}"
    write_volume(path, VOXELS, GRID)
    return path


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_simpleitk_reads_what_we_write(tmp_path: Path, ending: str, dtype: str) -> None:
    """Every type, voxel for voxel, in the place we mean."""
    array = (VOXELS % 100).astype(dtype)
    write_volume(tmp_path / f"v{ending}", array, GRID)
    image = sitk.ReadImage(str(tmp_path / f"v{ending}"))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, array)
    assert sitk.GetArrayFromImage(image).dtype == array.dtype
    for index in ((0, 0, 0), (6, 0, 4), (3, 5, 1)):
        lps = image.TransformIndexToPhysicalPoint(index)
        assert np.allclose(np.array(lps) * [-1, -1, 1], GRID.to_world(index), atol=1e-9)


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("name", ["v.nrrd", "v.nhdr", "v.mha", "v.mhd"])
def test_we_read_what_simpleitk_writes(tmp_path: Path, name: str, compressed: bool) -> None:
    """Attached and detached, packed and plain."""
    image = sitk.GetImageFromArray(VOXELS.T)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-91.3, 12.1, 7.7))
    image.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / name), compressed)
    volume = read_volume(tmp_path / name)
    assert np.array_equal(volume.array, VOXELS)
    assert volume.array.dtype == np.int16
    assert np.allclose(volume.grid.affine, [[0, -0.8, 0, 91.3], [0.7, 0, 0, -12.1], [0, 0, 2.5, 7.7], [0, 0, 0, 1]])


def test_damage_is_found(written: Path) -> None:
    """Half the file, its last bytes gone, or any bit flipped among the voxels: refused."""
    whole = written.read_bytes()
    data = whole.index(b"\n\n") + 2 if written.suffix == ".nrrd" else whole.index(b"LOCAL\n") + 6
    for keep in (data + 40, len(whole) - 1, len(whole) - 4):
        written.write_bytes(whole[:keep])
        with pytest.raises(VolumeError, match=r"truncated: the (gzip|compressed) data end early"):
            read_volume(written)
    accepted = 0
    for bit in np.random.default_rng(1).integers(8 * data, 8 * len(whole), 200):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        written.write_bytes(flipped)
        try:
            volume = read_volume(written)
        except VolumeError:
            continue
        # the time in a gzip header, the bits between the last code and the next whole byte: they mean nothing
        accepted += 1
        assert np.array_equal(volume.array, VOXELS)
    assert accepted < 20


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("sizes: 7 6 5", "sizes: 7 6 4", f"holds more data than the 7 x 6 x 4 voxels its header promises; {AGAIN}"),
        (
            "sizes: 7 6 5",
            "sizes: 7 6 9",
            f"holds less data than the 7 x 6 x 9 voxels its header promises (336 bytes are missing); {AGAIN}",
        ),
        (
            "space: left-posterior-superior",
            "space dimension: 3",
            "the header does not say where left and right are (no space and space directions);"
            " mend the header, or --assume-ras if it is stored right-anterior-superior",
        ),
        ("encoding: gzip", "encoding: hex", "the voxels are encoded as hex; save it again with encoding gzip or raw"),
        ("endian: little\n", "", None),
        ("type: int16", "type: blob", None),
        ("dimension: 3", "dimension: 17", None),
        ("sizes: 7 6 5", "sizes: 7 6 0", None),
        (
            "sizes: 7 6 5",
            "data file: LIST\nsizes: 7 6 5",
            "the voxels are in several files; save it again as one .nrrd",
        ),
    ],
)
def test_headers_that_lie_nrrd(tmp_path: Path, old: str, new: str, line: str | None) -> None:
    """A NRRD header that promises what is not there, or leaves out what must be known, is refused in one line."""
    path = tmp_path / "v.nrrd"
    write_volume(path, VOXELS, GRID)
    edited(path, old, new)
    refused(path, line)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "DimSize = 7 6 5",
            "DimSize = 7 6 4",
            f"holds more data than the 7 x 6 x 4 voxels its header promises; {AGAIN}",
        ),
        (
            "DimSize = 7 6 5",
            "DimSize = 7 6 9",
            f"holds less data than the 7 x 6 x 9 voxels its header promises (336 bytes are missing); {AGAIN}",
        ),
        ("DimSize = 7 6 5", "DimSize = 7 6", f"sizes that cannot be: NDims 3, DimSize 7 6; {AGAIN}"),
        ("BinaryData = True", "BinaryData = False", "the voxels are written as text; save it again as .mha"),
        ("ElementDataFile = LOCAL", "ElementDataFile = LIST", "the voxels are in several files; save it again as .mha"),
        ("ElementSpacing =", "ElementSpacing = x", None),
        ("TransformMatrix =", "Comment =", "the header does not say where left and right are (no TransformMatrix);"
         " mend the header, or --assume-ras if it is stored right-anterior-superior"),
        ("ElementType = MET_SHORT", "ElementType = MET_NONSENSE", None),
        ("ElementType = MET_SHORT", "ElementNumberOfChannels = 3\nElementType = MET_SHORT",
         "holds 3 values in each voxel (colour, vectors or channels), not grey values or labels;"
         " save one channel by itself"),
        ("NDims = 3", "NDims = 3000000000", None),
    ],
)  # fmt: skip
def test_headers_that_lie_metaimage(tmp_path: Path, old: str, new: str, line: str | None) -> None:
    """A MetaImage header that promises what is not there, or leaves out what must be known, is refused in one line."""
    path = tmp_path / "v.mha"
    write_volume(path, VOXELS, GRID)
    edited(path, old, new)
    refused(path, line)


def test_a_promise_larger_than_any_packing_is_refused_before_memory_is_taken(written: Path) -> None:
    """2048 cubed in a kilobyte cannot be."""
    edited(written, "7 6 5", "2048 2048 2048")
    refused(written, None, match="which cannot be in")


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    """A zlib stream that goes on after the voxels is not followed to its end."""
    path = tmp_path / "v.mha"
    write_volume(path, VOXELS, GRID)
    whole = path.read_bytes()
    head = whole[: whole.index(b"LOCAL\n") + 6]
    path.write_bytes(head + zlib.compress(bytes(1 << 26)))
    refused(path, f"holds more data than the 7 x 6 x 5 voxels its header promises; {AGAIN}")


def test_orientation_assumed_when_told(tmp_path: Path) -> None:
    """A NRRD without a space is read as RAS when told so, and says so."""
    (tmp_path / "v.nrrd").write_bytes(
        b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 3 2\nspacings: 0.5 0.5 2\nencoding: raw\n\n" + bytes(range(24))
    )
    refused(tmp_path / "v.nrrd", None, match="where left and right are")
    volume = read_volume(tmp_path / "v.nrrd", assume_ras=True)
    assert np.array_equal(volume.grid.affine, np.diag([0.5, 0.5, 2, 1]))
    assert volume.array[1, 2, 1] == 1 + 4 * (2 + 3 * 1)
    assert volume.notes == ("no orientation in the header, taken as RAS",)


def test_big_endian_bytes(tmp_path: Path) -> None:
    """Both formats may store the larger byte first."""
    swapped = VOXELS.astype(">i2").tobytes(order="F")
    directions = " ".join(f"({a},{b},{c})" for a, b, c in (AFFINE[:3, :3] * [[-1], [-1], [1]]).T)
    (tmp_path / "v.nrrd").write_bytes(
        b"NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 7 6 5\nspace directions: "
        + directions.encode() + b"\nendian: big\nencoding: raw\nspace origin: (-91.3,12.1,7.7)\n\n" + swapped
    )  # fmt: skip
    (tmp_path / "v.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = True\n"
        b"TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 0 0 0\nElementSpacing = 1 1 1\nDimSize = 7 6 5\n"
        b"ElementType = MET_SHORT\n"
        b"ElementDataFile = LOCAL\n" + swapped
    )
    for name in ("v.nrrd", "v.mha"):
        assert np.array_equal(read_volume(tmp_path / name).array, VOXELS)
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / name))).T, VOXELS)
    assert np.allclose(read_volume(tmp_path / "v.nrrd").grid.affine, AFFINE)


@pytest.mark.parametrize("name", ["v.mgz", "v.mgh"])
def test_mgh(tmp_path: Path, name: str) -> None:
    """FreeSurfer's volumes are read as nibabel reads them, damage apart."""
    path = tmp_path / name
    peer = nib.freesurfer.MGHImage(VOXELS.astype(np.int32), AFFINE.astype(np.float32))
    path.write_bytes(gzip.compress(peer.to_bytes()) if name == "v.mgz" else peer.to_bytes())
    volume = read_volume(path)
    assert np.array_equal(volume.array, np.asarray(peer.dataobj))
    assert np.allclose(volume.grid.affine, peer.affine)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, None, match="truncated|holds less data|promises more voxels")
    if name == "v.mgz":
        path.write_bytes(gzip.compress(b"text of no use at all\n" * 40))
        refused(path, f"no MGH: inside the gzip there is plain text; {AGAIN}")


def test_mgh_frames(tmp_path: Path) -> None:
    """Frames are refused until one is chosen."""
    frames = np.stack([VOXELS, VOXELS + 1], axis=-1).astype(np.float32)
    nib.save(nib.freesurfer.MGHImage(frames, AFFINE.astype(np.float32)), tmp_path / "v.mgz")
    refused(tmp_path / "v.mgz", "holds 2 frames, not one volume; --frame N takes one (0 to 1), --each-frame all")
    assert frame_count(tmp_path / "v.mgz") == 2
    assert np.array_equal(read_volume(tmp_path / "v.mgz", frame=1).array, VOXELS + 1)
    refused(tmp_path / "v.mgz", "holds no frame 2; its frames are 0 to 1", frame=2)


@pytest.mark.parametrize("ending", [".png", ".tif", ".tiff"])
def test_pictures_round_trip(tmp_path: Path, ending: str) -> None:
    """Label maps and images of one and two bytes come back, rows first, on a 2-D grid of unit pixels."""
    for dtype in (np.uint8, np.uint16):
        array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (20, 30)).astype(dtype)
        write_volume(tmp_path / f"p{ending}", array, Grid.from_spacing((20, 30), (1, 1)))
        volume = read_volume(tmp_path / f"p{ending}")
        assert np.array_equal(volume.array, array)
        assert volume.array.dtype == dtype
        assert volume.grid == Grid.from_spacing((20, 30), (1, 1))
    write_labels(tmp_path / f"m{ending}", array > 99, volume.grid)
    assert np.array_equal(read_labels(tmp_path / f"m{ending}").array, array > 99)
    with pytest.raises(UsageError, match="2-D images only"):
        write_volume(tmp_path / f"v{ending}", VOXELS, GRID)


def test_colour_is_refused_unless_it_is_grey(tmp_path: Path) -> None:
    """Three channels that differ are no grey values; three equal ones are one."""
    grey = np.random.default_rng(0).integers(0, 255, (20, 30)).astype(np.uint8)
    Image.fromarray(np.stack([grey] * 3, axis=-1)).save(tmp_path / "grey.png")
    volume = read_volume(tmp_path / "grey.png")
    assert np.array_equal(volume.array, grey)
    assert volume.notes == ("RGB with equal channels taken as grey",)
    Image.fromarray(np.stack([grey, grey, 255 - grey], axis=-1)).save(tmp_path / "colour.png")
    refused(tmp_path / "colour.png", "holds colour (RGB), not grey values or labels; save one channel by itself")


def test_damaged_pictures(tmp_path: Path) -> None:
    """A PNG's checksums are all verified; a TIFF's strips must all be there."""
    grey = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    for name in ("p.png", "p.tif"):
        path = tmp_path / name
        Image.fromarray(grey).save(path)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(VolumeError, match="damaged: "):
            read_volume(path)
    for bit in np.random.default_rng(2).integers(0, 8 * len(whole := png(grey)), 100):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << (bit % 8)
        (tmp_path / "p.png").write_bytes(flipped)
        with pytest.raises(VolumeError):
            read_volume(tmp_path / "p.png")


def test_pages_are_frames(tmp_path: Path) -> None:
    """A TIFF of several pages is refused until one is chosen."""
    pages = [Image.fromarray(np.full((8, 9), value, np.uint8)) for value in (1, 2, 3)]
    pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:])
    refused(tmp_path / "p.tif", "holds 3 pages, not one image; --frame N takes one (0 to 2), --each-frame all")
    assert frame_count(tmp_path / "p.tif") == 3
    assert int(read_volume(tmp_path / "p.tif", frame=2).array.max()) == 3


@pytest.mark.parametrize("name", ["mask.png", "mask.tif"])
def test_a_picture_takes_no_grid_that_it_cannot_keep(tmp_path: Path, name: str) -> None:
    """Pixels of 1 by 1 are written; a spacing or a place that reading back would lose is refused, nothing written."""
    array = np.arange(30, dtype=np.uint8).reshape(5, 6)
    place = Grid(array.shape, np.array([[1.0, 0, 7], [0, 1, 0], [0, 0, 1]]))
    for grid in (Grid.from_spacing(array.shape, (2, 3)), place):
        with pytest.raises(UsageError, match="cannot say where the voxels are"):
            write_labels(tmp_path / name, array, grid)
        assert not (tmp_path / name).exists()
    write_labels(tmp_path / name, array, Grid.from_spacing(array.shape, (1, 1)))
    assert np.array_equal(read_labels(tmp_path / name).array, array)


def png(grey: Any) -> bytes:
    from io import BytesIO

    file = BytesIO()
    Image.fromarray(grey).save(file, format="PNG")
    return file.getvalue()


def edited(path: Path, old: str, new: str) -> None:
    data = path.read_bytes()
    assert old.encode() in data
    path.write_bytes(data.replace(old.encode(), new.encode(), 1))


def refused(path: Path, line: str | None, match: str | None = None, **options: Any) -> None:
    with pytest.raises(VolumeError, match=match) as caught:
        read_volume(path, **options)
    assert "\n" not in str(caught.value)
    if line is not None:
        assert str(caught.value) == f"{path}: {line}"


@pytest.mark.parametrize("name", ["v.nrrd", "v.mha", "v.mgz", "v.png"])
def test_the_header_alone_tells_the_grid(tmp_path: Path, name: str) -> None:
    """The same as with the voxels; and still where the voxels are damaged, which only reading them finds."""
    path = tmp_path / name
    if name.endswith("mgz"):
        nib.save(nib.MGHImage(VOXELS.astype(np.int32), AFFINE), path)
    elif name.endswith("png"):
        write_volume(path, VOXELS[..., 0].astype(np.uint16), Grid.from_spacing((7, 6), (1, 1)))
    else:
        write_volume(path, VOXELS, GRID)
    grid = read_volume(path).grid
    assert read_outline(path).grid == grid
    path.write_bytes(path.read_bytes()[:-24])
    with pytest.raises(VolumeError):
        read_volume(path)
    if not name.endswith("mgz"):  # all of a small gzip is one block
        assert read_outline(path).grid == grid
