"""MONAI's LoadImage and SaveImage with our reader and writer are as strict as we are."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import monai.transforms as mt
import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, decollate_batch

from volseg.errors import GridMismatch, NonFiniteError, UsageError, VolumeError
from volseg.io import read_labels, read_volume, write_volume
from volseg.io.monai_io import VolsegReader, VolsegWriter

# monai.data's own import and torch's data loader warn about themselves, not about us
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    # LoadImage sets up every reader MONAI has, one of which announces that an optional codec is absent
    pytest.mark.filterwarnings("ignore:NvImgCodecPydicomReader:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
]

AFFINE = np.array([[-0.7, 0.05, 0, 91.3], [0.05, 0.7, 0, -12.1], [0, 0, 2.5, 7.7], [0, 0, 0, 1]], dtype=np.float32)
READER = "volseg.io.monai_io.VolsegReader"
WRITER = "volseg.io.monai_io.VolsegWriter"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    voxels = np.random.default_rng(0).integers(-500, 500, (9, 8, 5)).astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, AFFINE), tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def save(folder: Path, **options: Any) -> mt.SaveImage:
    defaults: dict[str, Any] = {"output_postfix": "mask", "separate_folder": False, "print_log": False}
    return mt.SaveImage(folder, writer=WRITER, **defaults | options)


def test_loads_what_read_volume_reads(scan: Path) -> None:
    """Voxels, affine and shape are those of read_volume; the array has no channel axis."""
    image = mt.LoadImage(reader=READER)(scan)
    volume = read_volume(scan)
    assert np.array_equal(image.numpy(), volume.array)
    assert np.array_equal(image.affine.numpy(), volume.grid.affine)
    assert np.isnan(image.meta["original_channel_dim"])
    assert mt.LoadImage(reader=READER, ensure_channel_first=True)(scan).shape == (1, 9, 8, 5)


def test_a_refusal_is_not_handed_to_the_next_reader(scan: Path) -> None:
    """MONAI's own readers would read this file with its wrong checksum; with ours loading fails with our line."""
    data = bytearray(scan.read_bytes())
    data[-8] ^= 1
    scan.write_bytes(data)
    assert mt.LoadImage(reader="NibabelReader")(scan).shape == (9, 8, 5)
    with pytest.raises(VolumeError, match="the gzip checksum does not match"):
        mt.LoadImage(reader=READER)(scan)
    with pytest.raises(VolumeError, match="the gzip checksum does not match"):
        mt.LoadImage()(scan, reader=VolsegReader())


def test_several_files_become_channels_of_one_grid(scan: Path, tmp_path: Path) -> None:
    """Files of one grid are stacked channels first; files of two grids are refused."""
    volume = read_volume(scan)
    write_volume(tmp_path / "second.nii.gz", volume.array + np.int16(1), volume.grid, like=volume)
    image = mt.LoadImage(reader=VolsegReader())([scan, tmp_path / "second.nii.gz"])
    assert image.shape == (2, 9, 8, 5)
    assert np.array_equal(image[1].numpy(), volume.array + 1)
    assert image.meta["original_channel_dim"] == 0
    nib.save(nib.Nifti1Image(np.asarray(volume.array), np.diag([1, 1, 1, 1])), tmp_path / "other.nii.gz")
    with pytest.raises(GridMismatch, match=r"other\.nii\.gz: two channels of a case lie"):
        mt.LoadImage(reader=VolsegReader())([scan, tmp_path / "other.nii.gz"])


def test_label_maps_are_read_as_labels(scan: Path, tmp_path: Path) -> None:
    """With as_labels, values a hair off are the whole numbers they mean."""
    near = np.float32(0.9999) * (read_volume(scan).array > 0)
    nib.save(nib.Nifti1Image(near.astype(np.float32), AFFINE), tmp_path / "label.nii.gz")
    label = mt.LoadImage(reader=READER, as_labels=True, dtype=None)(tmp_path / "label.nii.gz")
    assert label.dtype == torch.uint8
    assert np.array_equal(label.numpy(), near > 0.5)


def test_options_arrive_from_a_config(scan: Path, tmp_path: Path) -> None:
    """Lists from JSON are accepted for the range of spacings, and it is obeyed."""
    with pytest.raises(VolumeError, match="are outside 1 to 5 mm"):
        mt.LoadImage(reader=VolsegReader(spacing_range=[1, 5]))(scan)
    assert VolsegReader().verify_suffix([str(scan), "a.nrrd"])
    assert not VolsegReader().verify_suffix("notes.txt")


def test_what_a_reader_is_told_and_tells(tmp_path: Path) -> None:
    """Frames, orientation and broken voxels are asked for as of read_volume; notes and padding come in the metadata."""
    frames = np.random.default_rng(0).normal(size=(20, 20, 20, 2)).astype(np.float32)
    frames[..., :3, 0] = -2000
    frames[4, 4, 4, 1] = np.nan
    nib.save(nib.Nifti1Image(frames, AFFINE), tmp_path / "cine.nii")
    padded = mt.LoadImage(reader=VolsegReader(frame=0))(tmp_path / "cine.nii")
    assert padded.meta["padding_value"] == -2000
    assert "-2000" in padded.meta["volseg_notes"]
    with pytest.raises(VolumeError, match="holds 1 NaN voxel of 8000"):
        mt.LoadImage(reader=VolsegReader(frame=1))(tmp_path / "cine.nii")
    filled = mt.LoadImage(reader=VolsegReader(frame=1, fill_nan=7))(tmp_path / "cine.nii")
    assert filled[4, 4, 4] == 7
    assert np.isnan(filled.meta["padding_value"])
    bare = nib.Nifti1Image((frames[..., 1] > 0).astype(np.uint8), None)
    bare.header.set_zooms((1, 1, 3))
    nib.save(bare, tmp_path / "bare.nii")
    with pytest.raises(VolumeError, match="where left and right are"):
        mt.LoadImage(reader=VolsegReader())(tmp_path / "bare.nii")
    assumed = mt.LoadImage(reader=VolsegReader(assume_ras=True))(tmp_path / "bare.nii")
    assert np.array_equal(assumed.affine.numpy(), np.diag([1, 1, 3, 1]))
    with pytest.raises(UsageError, match="--series chooses in DICOM folders only"):
        mt.LoadImage(reader=VolsegReader(series="1.2", assume_ras=True))(tmp_path / "bare.nii")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_mask_returns_to_the_grid_of_its_image_to_the_bit(scan: Path, tmp_path: Path, workers: int) -> None:
    """Through a data loader, another orientation and its inverse, the mask's affine is the image's, bit for bit."""
    steps = mt.Compose(
        [
            mt.LoadImaged("image", reader=READER),
            mt.EnsureChannelFirstd("image"),
            mt.Orientationd("image", "RAS", labels=(("L", "R"), ("P", "A"), ("I", "S"))),
        ]
    )
    loader = DataLoader(Dataset([{"image": str(scan)}], steps), batch_size=1, num_workers=workers)
    for batch in loader:
        for item in decollate_batch(batch):
            turned = (item["image"] > 0).to(torch.uint8)
            item["image"] = turned
            mask = steps.inverse(item)["image"]
            save(tmp_path, output_dtype=np.uint8)(mask)
    written = read_labels(tmp_path / "scan_mask.nii.gz")
    source = read_volume(scan)
    assert written.grid == source.grid
    assert np.array_equal(written.array, source.array > 0)
    header = nib.load(tmp_path / "scan_mask.nii.gz").header
    assert header.get_data_dtype() == np.uint8
    assert int(header["sform_code"]) == int(nib.load(scan).header["sform_code"])


def test_a_full_disk_is_an_error_and_leaves_nothing(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No other writer is tried, no part of a file stays."""
    image = mt.LoadImage(reader=READER, ensure_channel_first=True)(scan)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RuntimeError, match="could not be written: no space left on the device"):
        save(tmp_path / "out")(image)
    assert list((tmp_path / "out").iterdir()) == []


def test_values_that_do_not_fit_are_refused(scan: Path, tmp_path: Path) -> None:
    """Label 300 is not written as 44, nor a fraction as a whole number, nor NaN at all."""
    image = mt.LoadImage(reader=READER, ensure_channel_first=True)(scan)
    labels = image.clone()
    labels[:] = 300
    with pytest.raises(RuntimeError, match="the label value 300 does not fit uint8"):
        save(tmp_path, output_dtype=np.uint8)(labels)
    with pytest.raises(RuntimeError, match="do not fit int8"):
        save(tmp_path, output_dtype=np.int8)(labels)
    writer = VolsegWriter(output_dtype=np.float32)
    image[0, 0, 0, 0] = float("nan")
    writer.set_data_array(image)
    writer.set_metadata(image.meta)
    with pytest.raises(NonFiniteError, match="NaN"):
        writer.write(tmp_path / "nan.nii.gz")
    with pytest.raises(UsageError, match="does not rescale"):
        VolsegWriter(scale=255)
    with pytest.raises(UsageError, match="no affine"):
        writer.set_metadata({})


def test_channels_are_kept_as_the_last_axis(scan: Path, tmp_path: Path) -> None:
    """Probabilities are written as a 4-D NIfTI, other formats come back in their own."""
    image = mt.LoadImage(reader=READER, ensure_channel_first=True)(scan)
    both = torch.cat([image, -image]).to(torch.float32)
    save(tmp_path)(both)
    assert nib.load(tmp_path / "scan_mask.nii.gz").shape == (9, 8, 5, 2)
    save(tmp_path, output_ext=".mha", output_dtype=np.int16)(image)
    assert np.array_equal(read_volume(tmp_path / "scan_mask.mha").array, image[0].numpy())


def test_a_slice_with_the_affine_of_its_stack(scan: Path, tmp_path: Path) -> None:
    """What 2-D transforms leave: the two axes that are there keep their spacing and their place."""
    image = mt.LoadImage(reader=READER)(scan)
    writer = VolsegWriter(output_dtype=np.int16)
    writer.set_data_array(image[..., 2], channel_dim=None)
    writer.set_metadata({"affine": image.affine})
    writer.write(tmp_path / "slice.nrrd", verbose=False)
    written = read_volume(tmp_path / "slice.nrrd")
    assert np.array_equal(written.array, image[..., 2].numpy())
    assert np.allclose(written.grid.affine, AFFINE[np.ix_([0, 1, 3], [0, 1, 3])])


def test_resampling_to_the_original_grid_when_asked(scan: Path, tmp_path: Path) -> None:
    """An image on half the grid is saved on its source's when resample is on, on its own when it is off."""
    image = mt.LoadImage(reader=READER, ensure_channel_first=True)(scan)
    half = mt.Spacing((1.4, 1.4, 2.5), mode="nearest")(image)
    save(tmp_path, resample=True, output_postfix="full")(half)
    save(tmp_path, resample=False, output_postfix="half")(half)
    assert read_volume(tmp_path / "scan_full.nii.gz").grid == read_volume(scan).grid
    assert read_volume(tmp_path / "scan_half.nii.gz").grid.shape == tuple(half.shape[1:])
