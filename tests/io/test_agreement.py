"""nibabel and SimpleITK, which share no code with this reader, see the same voxels in the same places in real files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its users' custom

from volseg.errors import VolumeError
from volseg.io import frame_count, read_frames, read_labels, read_volume, write_labels

DATA = Path(os.environ.get("VOLSEG_TEST_DATA") or "/nowhere")
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="VOLSEG_TEST_DATA does not name the folder of real data")

NIFTI = [
    *sorted(DATA.glob("acdc/training/patient0[0-2]?/*.nii.gz"))[::5],
    *sorted(DATA.glob("hippocampus/*/*.nii.gz"))[::40],
    *sorted(DATA.glob("dicom/dicom2nifti/**/*_ground_truth*.nii.gz")),
]
NRRD = sorted(DATA.glob("dicom/dcmqi/**/*.nrrd"))


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(DATA).as_posix() for path in paths]


def itk(path: Path) -> tuple[Any, Any]:
    """Voxels in file order and the affine in RAS, by SimpleITK."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine[:2] *= -1
    return sitk.GetArrayFromImage(image).T, affine


@pytest.mark.parametrize("path", NIFTI, ids=names(NIFTI))
def test_nifti(path: Path, tmp_path: Path) -> None:
    """Nibabel's voxels and, to the bit, its affine; SimpleITK's voxels and place."""
    peer = nib.load(path)
    volume = read_volume(path)
    assert np.array_equal(volume.array, np.asarray(peer.dataobj))
    assert volume.array.dtype == peer.get_data_dtype()
    assert volume.grid.affine.tobytes() == np.asarray(peer.affine).tobytes()
    voxels, affine = itk(path)
    assert np.array_equal(volume.array, voxels)
    assert np.allclose(volume.grid.affine, affine, atol=1e-3)
    write_labels(tmp_path / "mask.nii.gz", volume.array > 0, volume.grid, like=volume)
    mask = nib.load(tmp_path / "mask.nii.gz")
    assert mask.affine.tobytes() == peer.affine.tobytes()
    assert np.array_equal(np.asarray(mask.dataobj), volume.array > 0)
    assert np.allclose(itk(tmp_path / "mask.nii.gz")[1], affine, atol=1e-9)


@pytest.mark.parametrize("path", NRRD, ids=names(NRRD))
def test_nrrd(path: Path) -> None:
    """SimpleITK's voxels and place."""
    voxels, affine = itk(path)
    volume = read_labels(path, spacing_range=(0.01, 100))
    assert np.array_equal(volume.array, voxels)
    assert np.allclose(volume.grid.affine, affine, atol=1e-9)


@pytest.mark.parametrize("name", ["anatomical.nii", "reoriented_anat_moved.nii", "standard.nii.gz"])
def test_odd_but_right(name: str) -> None:
    """Headers that are odd but legal are read as nibabel reads them."""
    volume, peer = read_volume(DATA / "odd/nibabel" / name), nib.load(DATA / "odd/nibabel" / name)
    assert np.array_equal(volume.array, np.asarray(peer.dataobj))
    assert np.array_equal(volume.grid.affine, peer.affine)


@pytest.mark.parametrize("name", ["example4d.nii.gz", "example_nifti2.nii.gz", "functional.nii", "test.mgz"])
def test_every_frame_of_a_series(name: str) -> None:
    """Frames are nibabel's, scaled as nibabel scales; extensions before the voxels are passed over."""
    path = DATA / "odd/nibabel" / name
    peer = nib.load(path)
    array = np.asarray(peer.dataobj)
    assert frame_count(path) == array.shape[3]
    for k, volume in enumerate(read_frames(path)):
        assert np.allclose(volume.array, array[..., k], rtol=1e-6)
        assert np.allclose(volume.grid.affine, peer.affine)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("analyze.hdr", "an Analyze 7.5 file, which does not say where left and right are"),
        ("nifti1.hdr", "its other half nifti1.img is missing"),
        ("row_major.dconn.nii", "has 6 dimensions (1 x 1 x 1 x 1 x 10 x 10)"),
        ("resampled_anat_moved.nii", "holds 153 NaN voxels of 1071"),
    ],
)
def test_odd_and_refused(name: str, line: str) -> None:
    """What is no volume, or no whole one, is refused with its reason."""
    with pytest.raises(VolumeError) as caught:
        read_volume(DATA / "odd/nibabel" / name)
    assert line in str(caught.value)


def test_all_of_a_cohort_is_read_without_a_note() -> None:
    """Nothing in clean published label maps is refused or remarked upon."""
    for path in sorted(DATA.glob("acdc/training/patient0[0-3]?/*_gt.nii.gz")):
        volume = read_labels(path)
        assert volume.notes == ()
        assert volume.array.dtype == np.uint8
        assert int(volume.array.max()) == 3
