"""Headers of NRRD, MetaImage, MGH and pictures that mean no volume of ours: each is refused in one line."""

from __future__ import annotations

import gzip
import zlib
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its users' custom
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.refusals import refusal
from volseg.errors import GridMismatch, LabelError, UsageError, VolumeError
from volseg.geometry import Grid
from volseg.io import ReadOptions, Volume, frame_count, read_labels, read_volume, write_labels, write_volume
from volseg.io.dicom.files import is_segmentation

NRRD = {
    "type": "uint8",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "4 3 2",
    "space directions": "(1,0,0) (0,1,0) (0,0,2)",
    "encoding": "raw",
}
META = {
    "NDims": "3",
    "BinaryData": "True",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "ElementSpacing": "1 1 2",
    "DimSize": "4 3 2",
    "ElementType": "MET_UCHAR",
    "ElementDataFile": "LOCAL",
}
VOXELS = np.arange(24, dtype=np.uint8)
AGAIN = "copy or export it again"


def nrrd(path: Path, *, data: bytes = VOXELS.tobytes(), **fields: str | None) -> Path:
    """A NRRD whose header says this beside the rest; underscores are spaces, None leaves a field out."""
    told = {**NRRD, **{name.replace("_", " "): value for name, value in fields.items()}}
    told["space directions"] = told.pop("space directions")  # behind what says in how many dimensions they are
    lines = [f"{name}: {value}" for name, value in told.items() if value is not None]
    path.write_bytes("\n".join(["NRRD0004", *lines, "", ""]).encode() + data)
    return path


def meta(path: Path, *, data: bytes = VOXELS.tobytes(), **fields: str | None) -> Path:
    """A MetaImage whose header says this beside the rest, the name of its data last."""
    told = {**META, **fields}
    told["ElementDataFile"] = told.pop("ElementDataFile")
    path.write_bytes(
        "".join(f"{name} = {value}\n" for name, value in told.items() if value is not None).encode() + data
    )
    return path


line_of = partial(refusal, read_volume)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"line_skip": "2"}, "lines are to be skipped before the voxels; save it again as one .nrrd"),
        ({"byte_skip": "-2"}, "byte skip -2 means nothing here; save it again as one .nrrd"),
        ({"byte_skip": "-1", "encoding": "gzip"}, "byte skip -1 means nothing here; save it again as one .nrrd"),
        ({"byteskip": "some"}, "byte skip is no number: some"),
        ({"encoding": "bzip2"}, "the voxels are encoded as bzip2; save it again with encoding gzip or raw"),
        ({"datafile": "slice%02d.raw 0 1 1"}, "the voxels are in several files; save it again as one .nrrd"),
        ({"space": "scanner-xyz"}, "the space 'scanner-xyz' is not one of a patient; save it again in LPS"),
        (
            {"dimension": "4", "sizes": "2 3 2 2", "kinds": "vector domain domain domain",
             "space_directions": "none (1,0,0) (0,1,0) (0,0,2)"},
            "holds 2 values in each voxel (colour, vectors or channels), not grey values or labels;"
            " save one channel by itself",
        ),
        ({"sizes": "1 1 1"}, "no image: 1 x 1 x 1 voxels"),
    ],
)  # fmt: skip
def test_a_nrrd_is_refused(tmp_path: Path, fields: dict[str, str | None], line: str) -> None:
    """What a header asks for that is not done, or says that cannot be, is named with the way to mend it."""
    assert line_of(nrrd(tmp_path / "v.nrrd", **fields)) == line


def test_a_nrrd_without_these_faults_is_read(tmp_path: Path) -> None:
    """The file that the tables above spoil; bytes are skipped from either end where the header says so."""
    array, path = VOXELS.reshape(2, 3, 4).T, tmp_path / "v.nrrd"
    for skip, data in ((None, b""), ("5", b"begin"), ("-1", b"what ever is before the voxels")):
        volume = read_volume(nrrd(tmp_path / "v.nrrd", byte_skip=skip, data=data + VOXELS.tobytes()))
        assert np.array_equal(volume.array, array)
        assert np.array_equal(volume.grid.affine, np.diag([-1, -1, 2, 1]))
        assert (volume.source, volume.padding, volume.header) == (path, None, {"format": "nrrd"})
    unix = path.read_bytes()
    end = unix.index(b"\n\n") + 2
    path.write_bytes(unix[:end].replace(b"\n", b"\r\n") + unix[end:])  # as programs on Windows write it
    assert np.array_equal(read_volume(path).array, array)


@pytest.mark.parametrize("name", ["v.nrrd", "v.mha"])
@pytest.mark.parametrize("kind", [sitk.sitkVectorFloat32, sitk.sitkComplexFloat32])
def test_several_values_in_a_voxel_are_refused(tmp_path: Path, name: str, kind: int) -> None:
    """They are neither grey values nor labels."""
    if name == "v.nrrd" and kind == sitk.sitkComplexFloat32:
        pytest.skip("SimpleITK writes no such NRRD")
    sitk.WriteImage(sitk.Image([4, 3, 2], kind, 2 if kind == sitk.sitkVectorFloat32 else 0), tmp_path / name)
    assert line_of(tmp_path / name) == (
        "holds 2 values in each voxel (colour, vectors or channels), not grey values or labels;"
        " save one channel by itself"
    )


def test_a_nrrd_header_without_end_is_not_read_for_ever(tmp_path: Path) -> None:
    """A megabyte of comments is no header."""
    path = tmp_path / "v.nrrd"
    path.write_bytes(b"NRRD0004\n" + b"# and so on\n" * 100_000)
    assert line_of(path) == f"the header does not end; {AGAIN}"


@pytest.mark.parametrize(
    ("fields", "diagonal"),
    [
        ({"spacings": "0.5 -0.5 2"}, [0.5, 0.5, 2, 1]),
        ({}, [1, 1, 1, 1]),
        ({"space_dimension": "3", "space_directions": "(1,0,0) (0,1,0) (0,0,2)"}, [1, 1, 2, 1]),
    ],
)
def test_a_nrrd_that_is_taken_as_ras(tmp_path: Path, fields: dict[str, str], diagonal: list[float]) -> None:
    """Sizes of voxels count without a sign, directions in no space as they are; without any a voxel is a millimetre."""
    path = nrrd(tmp_path / "v.nrrd", **{"space": None, "space_directions": None, **fields})
    volume = read_volume(path, assume_ras=True)
    assert np.array_equal(volume.grid.affine, np.diag(diagonal))
    assert "no orientation in the header, taken as RAS" in volume.notes


def test_spacings_that_are_none(tmp_path: Path) -> None:
    """Where they alone would say how large a voxel is."""
    for spacings in ("1 1", "1 1 inf", "1 1 x"):
        path = nrrd(tmp_path / "v.nrrd", space=None, space_directions=None, spacings=spacings)
        assert line_of(path, assume_ras=True).startswith(("the spacings ", "the header cannot be read"))


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"HeaderSize": "-2"}, "HeaderSize -2 means nothing here; save it again as .mha"),
        ({"HeaderSize": "1 2"}, "headersize needs 1 numbers, it has '1 2'"),
        ({"HeaderSize": "-1", "CompressedData": "True"}, "HeaderSize -1 means nothing here; save it again as .mha"),
        ({"ElementType": None}, "the header does not name the type of its voxels (ElementType)"),
        ({"a name with spaces": "1"}, f"the header is damaged; {AGAIN}"),
        *(({name: "1 2 3 4"}, f"{name.lower()} needs 3 numbers, it has '1 2 3 4'")
          for name in ("ElementSpacing", "ElementSize", "Offset", "Position", "Origin")),
        *(({name: "1 0"}, f"{name.lower()} needs 9 numbers, it has '1 0'")
          for name in ("TransformMatrix", "Rotation", "Orientation")),
        ({"DimSize": "4 3 -2"}, f"sizes that cannot be: NDims 3, DimSize 4 3 -2; {AGAIN}"),
        (
            {"NDims": "4", "DimSize": "2 2 3 2", "ElementSpacing": "1 1 1 1",
             "TransformMatrix": " ".join("1000010000100001")},
            "has 4 dimensions (2 x 2 x 3 x 2); images have 2 or 3; save one frame by itself",
        ),
    ],
)  # fmt: skip
def test_a_metaimage_is_refused(tmp_path: Path, fields: dict[str, str | None], line: str) -> None:
    """As a NRRD is."""
    assert line_of(meta(tmp_path / "v.mha", **fields)) == line


def test_a_metaimage_without_these_faults_is_read(tmp_path: Path) -> None:
    """The file that the tables above spoil; its voxels end with it where the header says so."""
    for size, data in ((None, b""), ("5", b"begin"), ("-1", b"what ever is before the voxels")):
        volume = read_volume(meta(tmp_path / "v.mha", HeaderSize=size, data=data + VOXELS.tobytes()))
        assert np.array_equal(volume.array, VOXELS.reshape(2, 3, 4).T)
    for name in ("Rotation", "Orientation"):  # what others call it
        turned = meta(tmp_path / "v.mha", **{"TransformMatrix": None, name: "0 1 0 1 0 0 0 0 1"})
        affine = [[0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
        assert np.array_equal(read_volume(turned).grid.affine, affine)
    path = meta(tmp_path / "v.mha", TransformMatrix=None)
    assert line_of(path).startswith("the header does not say where left and right are (no TransformMatrix)")
    assert np.array_equal(read_volume(path, assume_ras=True).grid.affine, np.diag([1, 1, 2, 1]))


def test_a_metaimage_without_data(tmp_path: Path) -> None:
    """A header that ends before it names them."""
    path = tmp_path / "v.mha"
    path.write_bytes(b"NDims = 3\nDimSize = 4 3 2\n")
    assert line_of(path) == f"the header does not name its data (ElementDataFile); {AGAIN}"


def test_an_mgh_is_refused(tmp_path: Path) -> None:
    """Cut in its header, of an unknown type, without voxels, and of one."""
    whole = bytearray(nib.freesurfer.MGHImage(VOXELS.reshape(4, 3, 2).astype(np.int32), np.eye(4)).to_bytes())
    path = tmp_path / "v.mgh"

    def said(at: int, value: int) -> str:
        spoilt = whole.copy()
        spoilt[at : at + 4] = value.to_bytes(4, "big", signed=True)
        path.write_bytes(spoilt)
        return line_of(path)

    path.write_bytes(whole)
    assert np.array_equal(read_volume(path).array, VOXELS.reshape(4, 3, 2))
    assert said(20, 77) == f"unknown data type code 77; {AGAIN}"
    assert said(8, 0) == f"a dimension is zero or negative: 4 x 0 x 2 x 1; {AGAIN}"
    whole[4:16] = bytes([0, 0, 0, 1] * 3)
    assert said(16, 1) == "no image: 1 x 1 x 1 voxels"
    packed = tmp_path / "v.mgz"
    packed.write_bytes(gzip.compress(whole[:200]))
    assert line_of(packed) == f"truncated within the header; {AGAIN}"


def test_pictures_that_are_refused(tmp_path: Path) -> None:
    """A pixel is no picture, and one that would fill the memory is not unpacked."""
    Image.fromarray(np.zeros((1, 1), np.uint8)).save(tmp_path / "pixel.png")
    assert line_of(tmp_path / "pixel.png") == "no image: 1 x 1 pixels"
    whole = bytearray(picture(np.zeros((4, 4), np.uint8)))
    whole[16:24] = (1 << 15).to_bytes(4, "big") * 2  # width and height, before their checksum
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(whole)
    assert line_of(tmp_path / "bomb.png") == "too many pixels for a picture; save it as .nrrd or .nii.gz"


def test_every_checksum_of_a_png_counts(tmp_path: Path) -> None:
    """A chunk behind the pixels too, which decoding them does not look at."""
    file, told = BytesIO(), PngInfo()
    told.add_itxt("Comment", "made up", zip=True)
    image = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8))
    image.save(file, format="PNG", pnginfo=told)
    whole = file.getvalue()
    path = tmp_path / "v.png"
    path.write_bytes(whole)
    assert np.array_equal(read_volume(path).array, np.asarray(image))
    at = whole.index(b"Comment")
    path.write_bytes(whole[:at] + b"comment" + whole[at + 7 :])
    assert line_of(path).startswith("damaged: ")


def picture(array: Any) -> bytes:
    file = BytesIO()
    Image.fromarray(array).save(file, format="PNG")
    return file.getvalue()


def test_kinds_of_pictures(tmp_path: Path) -> None:
    """One bit is a mask, a palette's indices are labels and no grey values, equal channels are grey unless clear."""
    bits = np.arange(30).reshape(5, 6) % 3 == 0
    Image.fromarray(bits).save(tmp_path / "bits.png")
    assert np.array_equal(read_volume(tmp_path / "bits.png").array, bits.astype(np.uint8))
    indices = np.arange(30, dtype=np.uint8).reshape(5, 6) % 4
    palette = Image.frombytes("P", (6, 5), indices.tobytes())
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    palette.save(tmp_path / "labels.png")
    assert np.array_equal(read_labels(tmp_path / "labels.png").array, indices)
    assert line_of(tmp_path / "labels.png").startswith("holds colour (P), not grey values or labels")
    clear = np.stack([indices, np.full_like(indices, 255)], axis=-1)
    Image.frombytes("LA", (6, 5), clear.tobytes()).save(tmp_path / "grey.png")
    volume = read_volume(tmp_path / "grey.png")
    assert np.array_equal(volume.array, indices)
    assert "LA with equal channels taken as grey" in volume.notes
    clear[2, 2, 1] = 0
    Image.frombytes("LA", (6, 5), clear.tobytes()).save(tmp_path / "clear.png")
    assert line_of(tmp_path / "clear.png").startswith("holds colour (LA)")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"geometry": "both"}, "geometry can be sform or qform, not 'both'"),
        ({"frame": -1}, "frames count from 0, -1 is none"),
        ({"spacing_range": (5, 1)}, "a range of spacings runs from small to large, not (5, 1)"),
        ({"fill_nan": float("nan")}, "--fill-nan needs a finite value, not nan"),
    ],
)
def test_options_that_ask_for_nothing(options: dict[str, Any], line: str) -> None:
    """Told before any file is opened."""
    with pytest.raises(UsageError) as caught:
        ReadOptions(**options)
    assert str(caught.value) == line


def test_options_that_do_not_go_with_the_format(tmp_path: Path) -> None:
    """A frame of a format that has one, a series of what is no DICOM."""
    path = nrrd(tmp_path / "v.nrrd")
    for one in (path, meta(tmp_path / "v.mha")):
        assert line_of(one, frame=1) == "holds no frame 1; it has frame 0 only"
    assert line_of(path, series="1.2.3") == "--series chooses in DICOM folders only"
    assert np.array_equal(read_volume(path, frame=0).array, read_volume(path).array)
    assert frame_count(path) == 1


def test_a_volume_is_as_large_as_its_grid() -> None:
    """And what it holds cannot be written over by accident."""
    grid = Grid.from_spacing((4, 3, 2), (1, 1, 2))
    with pytest.raises(UsageError, match=r"voxels of shape \(4, 3\) do not fill a grid of shape \(4, 3, 2\)"):
        Volume(np.zeros((4, 3)), grid)
    with pytest.raises(ValueError, match="read-only"):
        Volume(np.zeros(grid.shape), grid).array[0, 0, 0] = 1


def test_what_cannot_be_written_is_told_before_a_file_is_made(tmp_path: Path) -> None:
    """Types, names, shapes and values that a format does not take."""
    grid = Grid.from_spacing((4, 3, 2), (1, 1, 2))
    flat = Grid.from_spacing((4, 3), (1, 1))
    array = np.zeros(grid.shape)
    with pytest.raises(UsageError, match="voxels of type complex128 cannot be written"):
        write_volume(tmp_path / "v.nii", array + 1j, grid)
    with pytest.raises(UsageError, match=r"no format is written by the name v.docx; known are \.nii"):
        write_volume(tmp_path / "v.docx", array, grid)
    with pytest.raises(GridMismatch, match=r"voxels of shape \(4, 3, 2\) do not fill the grid \(4, 3\)"):
        write_volume(tmp_path / "v.nrrd", array, flat)
    with pytest.raises(UsageError, match=r"\.png holds 2-D images only; write \.nii\.gz, \.nrrd or \.mha"):
        write_volume(tmp_path / "v.png", array.astype(np.uint8), grid)
    with pytest.raises(UsageError, match=r"\.png cannot hold float32; write \.nii\.gz, \.nrrd or \.mha"):
        write_volume(tmp_path / "v.png", np.zeros(flat.shape, np.float32), flat)
    with pytest.raises(UsageError, match=r"labels are written as integers, not float32"):
        write_labels(tmp_path / "v.nii", array, grid, dtype=np.float32)
    with pytest.raises(LabelError, match=r"the label value 300 does not fit uint8; choose a wider type"):
        write_labels(tmp_path / "v.nii", array + 300, grid, dtype=np.uint8)
    assert list(tmp_path.iterdir()) == []


def test_half_floats_and_truth_values_are_written_as_what_formats_have(tmp_path: Path) -> None:
    """As floats and as bytes, no value changed; a TIFF takes floats as they are."""
    flat = Grid.from_spacing((4, 3), (1, 1))
    halves = (np.arange(12).reshape(4, 3) / 8).astype(np.float16)
    for name, kind in (("v.nrrd", np.float32), ("v.tif", np.float32)):
        write_volume(tmp_path / name, halves, flat)
        volume = read_volume(tmp_path / name)
        assert np.array_equal(volume.array, halves)
        assert volume.array.dtype == kind
    write_volume(tmp_path / "v.png", halves > 0.5, flat)
    assert np.array_equal(read_volume(tmp_path / "v.png").array, halves > 0.5)


@pytest.mark.parametrize(
    ("name", "data", "line"),
    [
        ("v.nrrd", gzip.compress(b"NRRD0004\n", mtime=0), "named .nrrd but it is gzip data; unpack it first"),
        ("v.mgh", gzip.compress(b"x", mtime=0), "named .mgh but it is gzip data; rename it to v.mgz"),
        ("v.mgz", (1).to_bytes(4, "big") + bytes(300), "named .mgz but not gzip: it is MGH; rename it to v.mgh"),
        ("v.nii", b"PK\x03\x04" + bytes(40), f"named .nii but it is a zip archive; {AGAIN}"),
        ("v.nii", b"caf\xe9", f"named .nii but it is binary data of no known kind; {AGAIN}"),
        ("v.nii", b"a\x07b", f"named .nii but it is binary data of no known kind; {AGAIN}"),
        ("v.nii", b"\xef\xbb\xbf <?xml", f"named .nii but it is XML; {AGAIN}"),
        ("v.nii", b"NRRD0004\n", "named .nii but it is NRRD; give it the name of what it is"),
        ("v.dat", b"words", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # bytes in names differ from process to process
)
def test_names_that_the_content_denies(tmp_path: Path, name: str, data: bytes, line: str | None) -> None:
    """Told by the first bytes, with what would mend it."""
    path = tmp_path / name
    path.write_bytes(data)
    said = line_of(path)
    if line is None:
        assert said.startswith("no format is known by that name (it is plain text); known are .nii.gz ")
    else:
        assert said == line


def test_a_segmentation_is_told_by_its_first_bytes(tmp_path: Path) -> None:
    """A file that is none, or that cannot be opened, is none."""
    (tmp_path / "v.dcm").write_bytes(bytes(128) + b"DICM\x02\0\x02\0UI\x04\0abcd")
    assert not is_segmentation(tmp_path / "v.dcm")
    assert not is_segmentation(tmp_path)
    (tmp_path / "v.dcm").write_bytes(bytes(128) + b"DICM\x02\0\x02\0UI\x1c\x001.2.840.10008.5.1.4.1.1.66.4\0")
    assert is_segmentation(tmp_path / "v.dcm")
    with pytest.raises(VolumeError):
        read_volume(tmp_path / "v.dcm")
