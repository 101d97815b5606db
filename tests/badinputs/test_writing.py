"""What can go wrong while a result is written: an error in one line, and nothing of it left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from volseg.errors import LabelError, VolumeError, WriteError
from volseg.geometry import Grid
from volseg.io import read_labels, read_volume, write_labels, write_volume
from volseg.labels import Labels

GRID = Grid.from_spacing((64, 64, 40), (1, 1, 2))
MASK = np.random.default_rng(0).integers(0, 200, GRID.shape).astype(np.uint8)


def result_not_finite(tmp_path: Path, **_: Any) -> None:
    broken = np.full(GRID.shape, np.nan, np.float32)
    with pytest.raises(LabelError, match="hold no whole number, such as nan"):
        write_labels(tmp_path / "m.nii.gz", broken, GRID)
    with pytest.raises(LabelError, match=r"holds the label values 3, 4, 5, 6, 7, 8, 9, 10 …, declared are 0, 1, 2"):
        write_labels(tmp_path / "m.nii.gz", MASK, GRID, Labels.of({"a": 1, "b": 2}))
    with pytest.raises(LabelError, match="negative label value -1"):
        write_labels(tmp_path / "m.nii.gz", MASK.astype(np.int16) - 1, GRID)


def unusual_names(tmp_path: Path, **_: Any) -> None:
    for name in ("with space", "Müller", "line\nbreak", "a.b.c", "-x"):
        write_labels(tmp_path / f"{name}.nii.gz", MASK, GRID)
        assert np.array_equal(read_labels(tmp_path / f"{name}.nii.gz").array, MASK)
    (tmp_path / "line\nbreak.nii.gz").write_bytes(b"")
    with pytest.raises(VolumeError) as caught:
        read_volume(tmp_path / "line\nbreak.nii.gz")
    assert "\n" not in str(caught.value)


def broken_link(tmp_path: Path, **_: Any) -> None:
    (tmp_path / "case.nii.gz").symlink_to(tmp_path / "absent.nii.gz")
    with pytest.raises(VolumeError) as caught:
        read_volume(tmp_path / "case.nii.gz")
    assert str(caught.value) == f"{tmp_path / 'case.nii.gz'}: is a link to a file that does not exist"


def name_too_long(tmp_path: Path, **_: Any) -> None:
    path = tmp_path / ("x" * 250 + ".nii.gz")
    with pytest.raises(WriteError) as caught:
        write_labels(path, MASK, GRID)
    assert str(caught.value) == (
        f"{path}: could not be written: the file name is too long; shorten the name of the input"
    )


def unreadable(tmp_path: Path, nifti: Any, **_: Any) -> None:
    path = nifti()
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(VolumeError, match="could not be read: permission denied"):
        read_volume(path)


def read_only_folder(tmp_path: Path, small_disk: Path, **_: Any) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(WriteError) as caught:
        write_labels(small_disk / "m.nii.gz", MASK, GRID)
    assert str(caught.value) == (
        f"{small_disk / 'm.nii.gz'}: could not be written: the file system is read-only; choose another output folder"
    )


def disk_full(tmp_path: Path, small_disk: Path, **_: Any) -> None:
    for ending in (".nii.gz", ".nii", ".nrrd", ".mha"):
        with pytest.raises(WriteError) as caught:
            write_labels(small_disk / f"m{ending}", MASK, GRID)
        assert str(caught.value) == (
            f"{small_disk / f'm{ending}'}: could not be written: no space left on the device;"
            " free some space and run it again"
        )
        assert list(small_disk.iterdir()) == []


def killed_while_saving(tmp_path: Path, **_: Any) -> None:
    script = (
        "import sys, time, numpy as np; from volseg.io import nifti_writing; from volseg.io.nifti_writing import *\n"
        "def slow(array):\n"
        "    yield bytes(1 << 20); print('writing', flush=True); time.sleep(60)\n"
        "nifti_writing.voxel_bytes = slow\n"
        "write(Path(sys.argv[1]), np.zeros((8, 8, 8), np.uint8), Grid.from_spacing((8, 8, 8), (1, 1, 1)), None)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "m.nii")], stdout=subprocess.PIPE)
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(signal.SIGKILL)
    assert not (tmp_path / "m.nii").exists()
    assert [path.name.startswith(".volseg-partial-") for path in tmp_path.iterdir()] == [True]


def patient_in_header(tmp_path: Path, nifti: Any, image: Any, **_: Any) -> None:
    path = nifti(descrip=b"Doe^Jane 1970-01-01", db_name=b"DOE JANE", aux_file=b"doe.nii", intent_name=b"Jane")
    volume = read_volume(path)
    assert "doe" not in repr((dict(volume.header), volume.notes)).lower()
    write_labels(tmp_path / "m.nii", image > 0, volume.grid, like=volume)
    write_volume(tmp_path / "v.nii", image, volume.grid, like=volume)
    for name in ("m.nii", "v.nii"):
        written = (tmp_path / name).read_bytes().lower()
        assert b"doe" not in written
        assert b"jane" not in written
        assert nib.load(tmp_path / name).shape == image.shape


CASES: dict[str, Callable[..., None]] = {
    "50-result_not_finite": result_not_finite,
    "70-unusual_names": unusual_names,
    "71-broken_link": broken_link,
    "72-name_too_long": name_too_long,
    "73-unreadable": unreadable,
    "74-read_only_folder": read_only_folder,
    "75-disk_full": disk_full,
    "76-killed_while_saving": killed_while_saving,
    "77-patient_in_header": patient_in_header,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input(
    case: Callable[..., None], nifti: Any, image: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Nothing is lost silently, nothing is half there."""
    needs_disk = case in (read_only_folder, disk_full)
    more = {"small_disk": request.getfixturevalue("small_disk")} if needs_disk else {}
    case(nifti=nifti, image=image, tmp_path=tmp_path, **more)
