"""Damaged, lying and merely odd DICOM series: each gets its own verdict, in one line."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import MPEG2MPML, RLELossless, generate_uid

from tests.io.dicom.series import made_up
from volseg.errors import UsageError, VolsegError, VolumeError
from volseg.io.dicom import list_series, read_series

Series = Callable[..., list[Path]]

pytestmark = pytest.mark.usefixtures("in_process")

SECRETS = ("Mustermann", "Erika", "SECRET")


def refused(path: Path, kind: type[VolsegError] = VolumeError, **options: Any) -> str:
    """The one line a person gets for ``path``, without the place it begins with."""
    with pytest.raises(kind) as caught:
        read_series(path, **options)
    line = str(caught.value)
    assert "\n" not in line
    assert not any(secret in line for secret in SECRETS)
    where = str(caught.value.where)
    assert line.startswith(f"{where}: ")
    return line.removeprefix(f"{where}: ")


def test_51_missing_slices_are_refused_with_each_gap_in_millimetres(dicom_series: Series) -> None:
    """A gap is named by its size and its place along the normal, and its slices are counted."""
    files = dicom_series(slices=8)
    for k in (2, 5, 6):
        files[k].unlink()
    zero = float(np.dot(*_heights(files[0])))
    assert refused(files[0].parent) == (
        f"3 slices are missing (spacing 2.5 mm): 5 mm between {zero + 2.5:.4g} and {zero + 7.5:.4g} mm,"
        f" 7.5 mm between {zero + 10:.4g} and {zero + 17.5:.4g} mm; export the whole series again"
    )


def test_51_one_missing_slice_is_told_in_the_singular(dicom_series: Series) -> None:
    """One slice is missing, not are."""
    files = dicom_series()
    files[1].unlink()
    assert refused(files[0].parent).startswith("1 slice is missing (spacing 2.5 mm): 5 mm between ")


def test_51_uneven_spacing_is_not_called_a_gap(dicom_series: Series) -> None:
    """Spacings that no whole number of missing slices explains are told by their range."""
    files = dicom_series(edit=lambda ds, k: _shift_along_normal(ds, 0.4 * k * k))
    assert refused(files[0].parent) == (
        "its slices are unevenly spaced, from 2.9 to 5.3 mm; export a reconstruction with one spacing"
    )


def test_52_a_duplicate_is_dropped_by_its_uid_with_a_note(dicom_series: Series) -> None:
    """The same file twice under two names counts once."""
    files = dicom_series()
    (files[0].parent / "copy.dcm").write_bytes(files[2].read_bytes())
    volume = read_series(files[0].parent)
    np.testing.assert_array_equal(volume.array, made_up())
    assert volume.notes == ("1 duplicate slice dropped",)


def test_52_different_images_in_one_place_are_refused(dicom_series: Series) -> None:
    """Two images that share a place but not their UID are no duplicates: neither is chosen."""
    files = dicom_series()
    twin = dcmread(files[2])
    twin.SOPInstanceUID = twin.file_meta.MediaStorageSOPInstanceUID = generate_uid(None)
    twin.save_as(files[0].parent / "twin.dcm")
    assert refused(files[0].parent) == (
        "holds up to 2 images in one place (6 in 5 places) told apart by nothing;"
        " export each time point or echo as a series of its own"
    )


def test_52_one_uid_for_two_different_images_is_refused(dicom_series: Series) -> None:
    """A copy whose pixels differ is no copy."""
    files = dicom_series()
    twin = dcmread(files[2])
    twin.PixelData = bytes(len(twin.PixelData))
    twin.save_as(files[0].parent / "twin.dcm")
    assert refused(files[0].parent) == (
        "holds two different images under one SOP instance UID and position; export the series again"
    )


def test_52_time_points_are_told_apart_and_chosen_like_series(dicom_series: Series) -> None:
    """Images that share places but carry a time point are parts that can be asked for."""

    def at(time: int) -> Callable[[Any, int], None]:
        def edit(ds: Any, k: int) -> None:
            ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.4"
            ds.TemporalPositionIdentifier = time
            if time == 2:
                ds.RescaleSlope, ds.RescaleIntercept = 1, 7

        return edit

    dicom_series(edit=at(1), names="a{}.dcm".format)
    folder = dicom_series(edit=at(2), names="b{}.dcm".format)[0].parent
    assert refused(folder) == (
        "one series mixes images of the same places: 1.2.3#1 (MR 10x12x5, 0.7x0.8 mm, time point 1),"
        " 1.2.3#2 (MR 10x12x5, 0.7x0.8 mm, time point 2); choose one with --series UID"
    )
    np.testing.assert_array_equal(read_series(folder, series="1.2.3#2").array, made_up().astype(int) + 7)


def test_53_two_series_are_listed_and_one_can_be_chosen(dicom_series: Series) -> None:
    """The listing is what `series=` takes."""

    def of(uid: str) -> Callable[[Any, int], None]:
        return lambda ds, k: setattr(ds, "SeriesInstanceUID", uid)

    dicom_series(edit=of("1.2.3"), names="a{}.dcm".format)
    folder = dicom_series(edit=of("1.2.4"), slices=3, names="b{}.dcm".format)[0].parent
    assert refused(folder) == (
        "holds 2 series: 1.2.3 (MR 10x12x5, 0.7x0.8 mm, other), 1.2.4 (MR 10x12x3, 0.7x0.8 mm, other);"
        " choose one with --series UID"
    )
    assert [(s.uid, s.count) for s in list_series(folder)] == [("1.2.3", 5), ("1.2.4", 3)]
    np.testing.assert_array_equal(read_series(folder, series="1.2.4").array, made_up(3))
    np.testing.assert_array_equal(read_series(folder / "a0.dcm").array, made_up())
    assert refused(folder, UsageError, series="1.2.5").startswith("holds no series 1.2.5; 1.2.3 (MR ")


def test_54_a_localizer_is_left_out_with_a_note(dicom_series: Series) -> None:
    """A scout across the others does not disturb the stack it was kept with."""

    def edit(ds: Any, k: int) -> None:
        if k == 0:
            ds.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
            ds.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]

    files = dicom_series(slices=6, edit=edit)
    volume = read_series(files[0].parent)
    np.testing.assert_array_equal(volume.array, made_up(6)[..., 1:])
    assert volume.notes == ("1 localizer image left out",)


def test_54_localizers_are_not_listed(dicom_series: Series) -> None:
    """A series of its own beside the one that matters neither counts nor needs to be chosen against."""
    dicom_series(
        names="a{}.dcm".format, edit=lambda ds, k: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"])
    )
    folder = dicom_series(names="b{}.dcm".format)[0].parent
    (info,) = list_series(folder)
    volume = read_series(folder)
    assert volume.header["series"] == info.uid
    assert volume.notes == ("5 localizer images left out",)
    assert read_series(folder, series=info.uid).notes == ()


def test_54_localizers_alone_are_no_volume(dicom_series: Series) -> None:
    """Nothing is left when all are left out, and that is said."""
    files = dicom_series(slices=3, edit=lambda ds, k: setattr(ds, "ImageType", ["ORIGINAL", "PRIMARY", "LOCALIZER"]))
    assert refused(files[0].parent) == (
        "holds only localizers (3 images), which form no volume; give the series itself"
    )


def test_55_mixed_matrix_sizes_are_refused_and_listed(dicom_series: Series) -> None:
    """Each size is named with its count, and can be chosen."""

    def edit(ds: Any, k: int) -> None:
        ds.SeriesInstanceUID = "1.2.3"
        if k > 2:
            ds.Rows, ds.Columns, ds.PixelData = 6, 5, bytes(60)

    files = dicom_series(edit=edit)
    assert refused(files[0].parent) == (
        "one series mixes matrix sizes: 1.2.3#1 (MR 10x12x3, 0.7x0.8 mm, other), 1.2.3#2 (MR 5x6x2, 0.7x0.8 mm, other);"
        " choose one with --series UID"
    )
    np.testing.assert_array_equal(read_series(files[0].parent, series="1.2.3#1").array, made_up(3))


def test_56_gantry_tilt_is_refused_with_the_way_to_mend_it(dicom_series: Series) -> None:
    """Slices that lean by the tilt of a gantry are never read as an upright box."""
    lean = 2.5 * np.tan(np.deg2rad(15))

    def edit(ds: Any, k: int) -> None:
        across = np.array(ds.ImageOrientationPatient[3:], dtype=float)
        ds.ImagePositionPatient = [
            f"{x:.8f}"[:16] for x in np.array(ds.ImagePositionPatient, float) + k * lean * across
        ]

    files = dicom_series(edit=edit)
    assert refused(files[0].parent) == (
        "the gantry was tilted by 15.0 degrees: its slices lean and form no box;"
        " straighten it first, for example with dcm2niix, and give the NIfTI file it calls _Tilt"
    )


def test_56_slices_that_wander_sideways_are_refused(dicom_series: Series) -> None:
    """A zigzag is no tilt."""

    def edit(ds: Any, k: int) -> None:
        ds.ImagePositionPatient = _sideways(ds, 3.0 * (k % 2))

    assert refused(dicom_series(edit=edit)[0].parent) == (
        "its slices wander sideways by up to 3 mm: they form no box;"
        " export the series again, or a reconstruction of it on a regular grid"
    )


def test_57_shuffled_names_are_accepted_by_position(dicom_series: Series) -> None:
    """Neither names nor instance numbers order a volume: positions do."""
    names = random.Random(5).sample([f"{n}.dcm" for n in range(5)], 5)
    files = dicom_series(names=names.__getitem__, edit=lambda ds, k: setattr(ds, "InstanceNumber", (k * 3) % 5))
    volume = read_series(files[0].parent)
    np.testing.assert_array_equal(volume.array, made_up())
    assert volume.notes == ()


def test_58_stray_files_are_skipped_and_counted(dicom_series: Series) -> None:
    """Notes and thumbnails beside a series are no obstacle."""
    folder = dicom_series()[0].parent
    (folder / "readme.txt").write_text("hello " * 100)
    (folder / "empty.dcm").write_bytes(b"")
    (folder / ".DS_Store").write_bytes(b"x")
    volume = read_series(folder)
    np.testing.assert_array_equal(volume.array, made_up())
    assert volume.notes == ("2 files skipped: not DICOM",)


def test_59_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    """No file, and no DICOM file, are two different things to be told."""
    assert refused(tmp_path) == "holds no file; subfolders are not looked into: name the one you mean"
    (tmp_path / "a.txt").write_text("a")
    assert refused(tmp_path) == "holds no DICOM file; subfolders are not looked into: name the one you mean"
    assert refused(tmp_path / "nothing") == "no such file or folder"


def test_60_frames_without_places_are_refused(dicom_series: Series) -> None:
    """A multi-frame object that does not say where its frames are is not stacked by guess."""

    def edit(ds: Any, k: int) -> None:
        ds.NumberOfFrames, ds.PixelData = 3, bytes(3 * 240)

    files = dicom_series(slices=1, edit=edit, sop_class="1.2.840.10008.5.1.4.1.1.20")
    assert refused(files[0].parent) == (
        "holds 3 frames without a place for each of them (Nuclear Medicine Image Storage);"
        " convert it to a single-frame or an enhanced multi-frame series first"
    )


def test_60_an_enhanced_multi_frame_series_is_accepted(real_data: Path) -> None:
    """One enhanced file is the volume that its single-frame twin is."""
    folder = real_data / "dicom" / "dcmqi" / "24x38x3"
    one, many = read_series(folder / "multiframe" / "mf.dcm"), read_series(folder / "image")
    np.testing.assert_array_equal(one.array, many.array)
    assert one.grid == many.grid
    assert one.notes == ()


def test_61_a_compressed_series_is_decoded(dicom_series: Series) -> None:
    """Lossless compression changes nothing."""
    files = dicom_series(edit=lambda ds, k: ds.compress(RLELossless, generate_instance_uid=False))
    np.testing.assert_array_equal(read_series(files[0].parent).array, made_up())


def test_61_a_syntax_without_a_decoder_is_named(dicom_series: Series) -> None:
    """A movie codec is named with the way out."""
    file = dicom_series(slices=1)[0]
    dataset = dcmread(file)
    dataset.PixelData = encapsulate([dataset.PixelData])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = MPEG2MPML
    dataset.save_as(file, implicit_vr=False, little_endian=True)
    assert refused(file) == (
        "its transfer syntax MPEG2 Main Profile / Main Level cannot be decoded;"
        " export the series uncompressed (Explicit VR Little Endian)"
    )


@pytest.mark.parametrize(
    ("sop_class", "kind"),
    [
        pytest.param("1.2.840.10008.5.1.4.1.1.7", "a secondary capture", id="62-secondary-capture"),
        pytest.param("1.2.840.10008.5.1.4.1.1.88.33", "a structured report (SR)", id="63-SR"),
        pytest.param("1.2.840.10008.5.1.4.1.1.481.3", "a structure set (RTSTRUCT)", id="64-RTSTRUCT"),
        pytest.param("1.2.840.10008.5.1.4.1.1.66.4", "a segmentation (SEG)", id="65-SEG"),
    ],
)
def test_62_to_65_objects_that_are_no_images(dicom_series: Series, sop_class: str, kind: str) -> None:
    """Beside a series they are skipped with the reason; alone, or named, they are refused by what they are."""
    alone = dicom_series("alone", slices=1, sop_class=sop_class)[0]
    bare = kind.removeprefix("a ")
    assert refused(alone.parent) == f"holds no image to segment, only 1 x {bare}; give the image series"
    assert refused(alone) == f"is {kind}, not an image to segment; give the series it belongs to"
    folder = dicom_series()[0].parent
    (folder / "other.dcm").write_bytes(alone.read_bytes())
    volume = read_series(folder)
    np.testing.assert_array_equal(volume.array, made_up())
    assert volume.notes == (f"1 file skipped: {kind}, not an image to segment",)


def _heights(file: Path) -> tuple[np.ndarray, np.ndarray]:
    ds = dcmread(file)
    cosines = np.array(ds.ImageOrientationPatient, float)
    return np.array(ds.ImagePositionPatient, float), np.cross(cosines[:3], cosines[3:])


def _shift_along_normal(ds: Any, millimetres: float) -> None:
    cosines = np.array(ds.ImageOrientationPatient, float)
    moved = np.array(ds.ImagePositionPatient, float) + millimetres * np.cross(cosines[:3], cosines[3:])
    ds.ImagePositionPatient = [f"{x:.9f}"[:16] for x in moved]


def _sideways(ds: Any, millimetres: float) -> list[str]:
    moved = np.array(ds.ImagePositionPatient, float) + millimetres * np.array(ds.ImageOrientationPatient[:3], float)
    return [f"{x:.9f}"[:16] for x in moved]
