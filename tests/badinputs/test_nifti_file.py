"""Damaged, mislabelled and unusual NIfTI files: each gets its one line, or the right voxels."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volseg.errors import VolumeError
from volseg.io import frame_count, read_frames, read_volume

AGAIN = "copy or export it again"


def truncated_gzip(nifti: Any, refused: Any, **_: Any) -> None:
    path = nifti(array=noise())
    whole = path.read_bytes()
    for keep in (len(whole) // 2, len(whole) - 1, len(whole) - 8, 40):
        path.write_bytes(whole[:keep])
        refused(path, f"truncated: the gzip data end early; {AGAIN}")


def wrong_gzip_checksum(nifti: Any, refused: Any, **_: Any) -> None:
    path = nifti()
    data = bytearray(path.read_bytes())
    data[-8] ^= 0xFF
    path.write_bytes(data)
    refused(path, f"damaged: the gzip checksum does not match; {AGAIN}")


def one_flipped_bit(nifti: Any, affine: Any, **_: Any) -> None:
    path = nifti(array=noise())
    data = path.read_bytes()
    rng = np.random.default_rng(3)
    lines = []
    for bit in rng.integers(0, 8 * len(data), 300):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(flipped)
        try:
            volume = read_volume(path)
        except VolumeError as error:
            lines.append(str(error))
        else:  # the time in the gzip header, the bits between the last code and the next whole byte: they mean nothing
            assert np.array_equal(volume.array, noise())
            assert np.array_equal(volume.grid.affine, affine)
    assert len(lines) > 290
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in lines)


def more_data_than_header(nifti: Any, refused: Any, image: Any, **_: Any) -> None:
    for name in ("case.nii.gz", "case.nii"):
        path = nifti(name, dim=[3, 6, 5, 3, 1, 1, 1, 1])
        refused(path, f"holds more data than the 6 x 5 x 3 voxels its header promises; {AGAIN}")


def less_data_than_header(nifti: Any, refused: Any, **_: Any) -> None:
    for name in ("case.nii.gz", "case.nii"):
        path = nifti(name, dim=[3, 6, 5, 5, 1, 1, 1, 1])
        refused(path, f"holds less data than the 6 x 5 x 5 voxels its header promises (60 bytes are missing); {AGAIN}")


def trailing_bytes(nifti_bytes: Any, accepted: Any, image: Any, tmp_path: Path, **_: Any) -> None:
    note = ("a few bytes after the last voxel ignored",)
    packed, plain = tmp_path / "case.nii.gz", tmp_path / "case.nii"
    packed.write_bytes(gzip.compress(nifti_bytes() + bytes(8), mtime=0))
    plain.write_bytes(nifti_bytes() + bytes(8))
    accepted(packed, image, notes=note)
    accepted(plain, image, notes=note)
    packed.write_bytes(gzip.compress(nifti_bytes(), mtime=0) + b"\n")  # after the gzip data
    accepted(packed, image, notes=note)
    packed.write_bytes(gzip.compress(nifti_bytes()[:300], mtime=0) + gzip.compress(nifti_bytes()[300:], mtime=0))
    accepted(packed, image)  # two members are one gzip file


def no_bytes(refused: Any, tmp_path: Path, **_: Any) -> None:
    for name in ("case.nii.gz", "case.nii", "case.nrrd", "case.mha", "case.png"):
        (tmp_path / name).write_bytes(b"")
        refused(tmp_path / name, f"empty (0 bytes); {AGAIN}")
    (tmp_path / "case.nii").write_bytes(bytes(5000))
    refused(tmp_path / "case.nii", f"named .nii but it is nothing but zeros; {AGAIN}")


def test_a_cut_header_is_no_analyze_file(nifti: Any, refused: Any) -> None:
    """What ends within its header is called truncated; an Analyze file is told to be converted, not to be renamed."""
    path = nifti("case.nii")
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    refused(path, f"truncated within the header; {AGAIN}")
    analyze = "an Analyze 7.5 file, which does not say where left and right are; convert the original to NIfTI"
    for name in ("case.nii", "case.hdr"):
        (path.parent / name).write_bytes(whole[:344] + bytes(4) + whole[348:])
        refused(path.parent / name, analyze)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are a Unix thing")
def test_a_pipe_or_device_is_refused_unopened(refused: Any, tmp_path: Path) -> None:
    """Opening a pipe would wait for its writer for ever, reading a device would never end."""
    os.mkfifo(tmp_path / "case.nii.gz")
    (tmp_path / "zero.nii").symlink_to("/dev/zero")
    for name in ("case.nii.gz", "zero.nii"):
        refused(tmp_path / name, "is no plain file but a pipe, a socket or a device")


def text_or_html(refused: Any, tmp_path: Path, **_: Any) -> None:
    page, text = b"<!DOCTYPE html>\n<html><body>Log in</body></html>", b"x,y,z\n1,2,3\n" * 60
    for name, data, what in (("a.nii.gz", page, "an HTML page"), ("b.nii.gz", text, "plain text")):
        (tmp_path / name).write_bytes(data)
        refused(tmp_path / name, f"named .nii.gz but not gzip: it is {what}; {AGAIN}")
    (tmp_path / "c.nii").write_bytes(page)
    refused(tmp_path / "c.nii", f"named .nii but it is an HTML page; {AGAIN}")
    (tmp_path / "d.nii.gz").write_bytes(gzip.compress(page))
    refused(tmp_path / "d.nii.gz", f"no NIfTI: inside the gzip there is an HTML page; {AGAIN}")


def not_gzip_though_named_so(nifti_bytes: Any, refused: Any, tmp_path: Path, **_: Any) -> None:
    path = tmp_path / "case.nii.gz"
    path.write_bytes(nifti_bytes())
    refused(path, "named .nii.gz but not gzip: it is NIfTI-1; rename it to case.nii")


def gzip_though_not_named_so(nifti_bytes: Any, refused: Any, tmp_path: Path, **_: Any) -> None:
    path = tmp_path / "case.nii"
    path.write_bytes(gzip.compress(nifti_bytes()))
    refused(path, "named .nii but it is gzip data; rename it to case.nii.gz")


def voxels_start_inside_header(nifti: Any, refused: Any, **_: Any) -> None:
    for start in (0, 348, -16):
        path = nifti(vox_offset=start)
        refused(path, f"the voxels are said to start at byte {start}, within the header of 352 bytes; {AGAIN}")


def unknown_datatype(nifti: Any, refused: Any, **_: Any) -> None:
    refused(nifti(datatype=37), f"unknown data type code 37; {AGAIN}")
    refused(nifti(datatype=0), f"unknown data type code 0; {AGAIN}")


def dimension_zero_or_negative(nifti: Any, refused: Any, **_: Any) -> None:
    refused(nifti(dim=[3, 6, 0, 4, 1, 1, 1, 1]), f"a dimension is zero or negative: 6 x 0 x 4; {AGAIN}")
    refused(nifti(dim=[3, 6, 5, -4, 1, 1, 1, 1]), f"a dimension is zero or negative: 6 x 5 x -4; {AGAIN}")
    refused(nifti(dim=[0, 6, 5, 4, 1, 1, 1, 1]), f"the header says it has 0 dimensions; {AGAIN}")
    refused(nifti(dim=[8, 6, 5, 4, 1, 1, 1, 1]), f"the header says it has 8 dimensions; {AGAIN}")
    refused(nifti(dim=[1, 120, 1, 1, 1, 1, 1, 1]), "no image: 120 voxels")


def huge_header_on_tiny_file(nifti: Any, refused: Any, **_: Any) -> None:
    path = nifti(dim=[3, 2048, 2048, 2048, 1, 1, 1, 1])
    there = path.stat().st_size
    refused(
        path,
        f"the header promises 2048 x 2048 x 2048 voxels (16 GiB), which cannot be in {there} bytes "
        f"of compressed data; {AGAIN}",
    )
    path = nifti("case.nii", dim=[3, 2048, 2048, 2048, 1, 1, 1, 1])
    refused(
        path,
        "holds less data than the 2048 x 2048 x 2048 voxels its header promises"
        f" ({2 * 2048**3 - 240} bytes are missing); {AGAIN}",
    )


def time_series(nifti: Any, refused: Any, accepted: Any, **_: Any) -> None:
    frames = np.random.default_rng(5).integers(0, 99, (6, 5, 4, 3)).astype(np.int16)
    path = nifti(array=frames)
    refused(path, "holds 3 frames, not one volume; --frame N takes one (0 to 2), --each-frame all")
    refused(path, "holds no frame 3; its frames are 0 to 2", frame=3)
    assert frame_count(path) == 3
    for k, volume in enumerate(read_frames(path)):
        assert np.array_equal(volume.array, frames[..., k])
        accepted(path, frames[..., k], frame=k)


def one_frame(nifti: Any, accepted: Any, image: Any, **_: Any) -> None:
    accepted(nifti(dim=[7, 6, 5, 4, 1, 1, 1, 1]), image)
    accepted(nifti(array=image[..., None]), image)
    accepted(nifti(array=image[..., None]), image, frame=0)


def five_dimensions(nifti: Any, refused: Any, **_: Any) -> None:
    path = nifti(array=np.zeros((6, 5, 4, 1, 3), np.float32))
    refused(
        path,
        "has 5 dimensions (6 x 5 x 4 x 1 x 3); volumes have 3, time series 4; save the volume you mean by itself",
    )


def single_slice(nifti: Any, accepted: Any, image: Any, **_: Any) -> None:
    accepted(nifti(array=image[..., :1]), image[..., :1])
    plane = read_volume(nifti(array=image[..., 0]))
    assert plane.grid.shape == (6, 5)
    assert plane.grid.axcodes == "LA"


def one_voxel(nifti: Any, refused: Any, image: Any, **_: Any) -> None:
    refused(nifti(array=image[:1, :1, :1]), "no image: 1 x 1 x 1 voxels")


def rgb(nifti_bytes: Any, refused: Any, tmp_path: Path, **_: Any) -> None:
    path = tmp_path / "case.nii"
    path.write_bytes(nifti_bytes(datatype=128, bitpix=24) + bytes(120))
    refused(path, "holds RGB colour voxels, not grey values or labels; save one channel by itself")


def complex_values(nifti: Any, refused: Any, image: Any, **_: Any) -> None:
    path = nifti(array=image.astype(np.complex64))
    refused(path, "holds complex voxels, not grey values or labels; save one channel by itself")


CASES: dict[str, Callable[..., None]] = {
    "01-truncated_gzip": truncated_gzip,
    "02-wrong_gzip_checksum": wrong_gzip_checksum,
    "03-one_flipped_bit": one_flipped_bit,
    "04-more_data_than_header": more_data_than_header,
    "05-less_data_than_header": less_data_than_header,
    "06-trailing_bytes": trailing_bytes,
    "07-no_bytes": no_bytes,
    "08-text_or_html": text_or_html,
    "09-not_gzip_though_named_so": not_gzip_though_named_so,
    "10-gzip_though_not_named_so": gzip_though_not_named_so,
    "11-voxels_start_inside_header": voxels_start_inside_header,
    "12-unknown_datatype": unknown_datatype,
    "13-dimension_zero_or_negative": dimension_zero_or_negative,
    "14-huge_header_on_tiny_file": huge_header_on_tiny_file,
    "15-time_series": time_series,
    "16-one_frame": one_frame,
    "17-five_dimensions": five_dimensions,
    "19-single_slice": single_slice,
    "20-one_voxel": one_voxel,
    "22-rgb": rgb,
    "23-complex_values": complex_values,
}


def noise() -> Any:
    return np.random.default_rng(11).normal(0, 100, (20, 20, 10)).astype(np.int16)


def test_a_voxel_size_that_contradicts_the_type_is_noted(nifti: Any, accepted: Any, image: Any) -> None:
    """The type decides how the voxels are read, as in every reader; that the header disagrees with itself is told."""
    note = "the header says 32 bits per voxel, and its type int16 has 16; the type was taken"
    accepted(nifti(bitpix=32), image, notes=(note,))
    accepted(nifti(bitpix=0), image)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input(
    case: Callable[..., None],
    nifti: Any,
    nifti_bytes: Any,
    refused: Any,
    accepted: Any,
    image: Any,
    affine: Any,
    tmp_path: Path,
) -> None:
    """The file gets exactly its verdict: one line that names it, or its right voxels and affine."""
    case(
        nifti=nifti,
        nifti_bytes=nifti_bytes,
        refused=refused,
        accepted=accepted,
        image=image,
        affine=affine,
        tmp_path=tmp_path,
    )
