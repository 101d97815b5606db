"""What the tables of bad inputs share: NIfTI files made to order, and the two verdicts a case can ask for."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from volseg.errors import VolsegError
from volseg.io import Volume, read_labels, read_outline, read_volume

AFFINE = np.array([[-0.8, 0, 0, 90.5], [0, 0.8, 0, -126.25], [0, 0, 2.5, -72], [0, 0, 0, 1]], dtype=np.float32)


def _bytes(array: Any = None, *, affine: Any = AFFINE, version: int = 1, order: str = "<", **fields: Any) -> bytes:
    """A NIfTI file. ``affine`` goes into sform and qform (None: into neither); ``fields`` overwrite header fields."""
    array = voxels() if array is None else np.asarray(array)
    header = (nib.Nifti1Header if version == 1 else nib.Nifti2Header)(endianness=order)
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header["vox_offset"] = 352 if version == 1 else 544
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["xyzt_units"] = 2
    header["pixdim"][1:4] = AFFINE[[0, 1, 2], [0, 1, 2]] * [-1, 1, 1]
    if affine is not None:
        header.set_qform(affine, code=1)
        header.set_sform(affine, code=1)
    for name, value in fields.items():
        header[name] = value
    ordered = array.astype(array.dtype.newbyteorder(order))
    return bytes(header.binaryblock) + bytes(4) + ordered.tobytes(order="F")


def refusal_of_header(path: Path, **options: Any) -> str | None:
    """The line with which a file is refused before its voxels are read."""
    try:
        read_outline(path, **options)
    except VolsegError as error:
        return str(error)
    return None


def voxels() -> Any:
    return np.random.default_rng(7).integers(-900, 900, (6, 5, 4)).astype(np.int16)


@pytest.fixture
def nifti_bytes() -> Callable[..., bytes]:
    return _bytes


@pytest.fixture
def image() -> Any:
    """The voxels of a NIfTI file that is made without any of its own."""
    return voxels()


@pytest.fixture
def affine() -> Any:
    """Its affine."""
    return AFFINE.astype(np.float64)


@pytest.fixture
def nifti(tmp_path: Path) -> Callable[..., Path]:
    """Make a file: ``nifti("name.nii.gz", array, field=value)``."""

    def make(name: str = "case.nii.gz", array: Any = None, **fields: Any) -> Path:
        data = _bytes(array, **fields)
        path = tmp_path / name
        path.write_bytes(gzip.compress(data, mtime=0) if name.endswith("gz") else data)
        return path

    return make


@pytest.fixture
def through_predict(predict: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Predict one file with the options of ``read_volume``; each time into a folder of its own."""
    count = iter(range(1000))

    def run(path: Path, **options: Any) -> Any:
        words = [
            word
            for name, value in options.items()
            for word in ([f"--{name.replace('_', '-')}"] if value is True else [f"--{name.replace('_', '-')}={value}"])
        ]
        return predict(path, tmp_path / f"masks-{next(count)}", *words)

    return run


@pytest.fixture
def refused(through_predict: Callable[..., Any]) -> Callable[..., None]:
    """Assert that a file is refused with exactly this line: the path, the cause, the mend.

    Where the header alone tells it, it tells it with this line. An image is refused by ``volseg predict`` too, with the
    same line, no mask and exit code 3.
    """

    def check(path: Path, line: str, read: Callable[..., Any] = read_volume, **options: Any) -> None:
        with pytest.raises(VolsegError) as caught:
            read(path, **options)
        assert str(caught.value) == f"{path}: {line}"
        assert "\n" not in str(caught.value)
        if read is not read_volume:
            return
        assert refusal_of_header(path, **options) in (None, str(caught.value))
        if "spacing_range" in options:
            return
        ran = through_predict(path, **options)
        assert ran.code == 3
        assert list(ran.errors.values()) == [f"{path.name}: {line}"]
        assert f"warning: {path.name}: {line}\n" in ran.err
        assert ran.masks == []
        assert "Traceback" not in ran.err

    return check


@pytest.fixture
def accepted(through_predict: Callable[..., Any]) -> Callable[..., Volume]:
    """Assert that a file is read with exactly these voxels, this affine and these notes.

    An image gets its mask from ``volseg predict`` too, on its own grid, and the notes are told.
    """

    def check(
        path: Path, array: Any, affine: Any = AFFINE, notes: tuple[str, ...] = (),
        read: Callable[..., Volume] = read_volume, **options: Any,
    ) -> Volume:  # fmt: skip
        volume = read(path, **options)
        assert volume.array.shape == np.shape(array)
        assert np.array_equal(volume.array, array)
        assert volume.array.dtype.isnative
        assert np.allclose(volume.grid.affine, affine, rtol=1e-6, atol=1e-6)
        assert volume.notes == notes
        if read is not read_volume:
            return volume
        assert read_outline(path, **options).grid == volume.grid
        if "spacing_range" in options:
            return volume
        ran = through_predict(path, **options)
        (record,) = ran.summary["cases"]
        assert (ran.code, record["error"], tuple(record["notes"])) == (0, None, notes)
        assert all(note in ran.err for note in notes)
        mask = read_labels(Path(ran.output, record["mask"]))
        assert mask.grid == volume.grid
        return volume

    return check


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where one may be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a small file system needs more rights than these")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
