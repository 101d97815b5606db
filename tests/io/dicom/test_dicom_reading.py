"""DICOM series as volumes: voxels, affine, types and what is noted on the way."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from pydicom.dataset import Dataset

from tests.io.dicom.series import made_up, spoilt
from tests.refusals import refusal
from volseg.errors import VolumeError
from volseg.geometry import Grid
from volseg.io import read_outline, read_volume
from volseg.io.dicom import is_dicom, list_series, outline_series, read_series
from volseg.io.volume import Volume

Series = Callable[..., list[Path]]

pytestmark = pytest.mark.usefixtures("in_process")


def by_simpleitk(folder: Path) -> tuple[np.ndarray, Grid]:
    """The same series as an independent reader sees it, in our conventions."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    array = SimpleITK.GetArrayFromImage(image).T
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return array, Grid(array.shape, np.diag([-1, -1, 1, 1]) @ affine)


def same_in_space(volume: Volume, array: np.ndarray, grid: Grid, *, voxels: float, millimetres: float) -> None:
    turn = grid.reoriented(volume.grid.axcodes)
    np.testing.assert_allclose(volume.array, turn.apply(array), rtol=0, atol=voxels)
    assert volume.grid.distance(turn.target) <= millimetres


def test_voxels_and_affine_of_a_made_up_series(dicom_series: Series) -> None:
    """Columns, rows, slices along the normal; the affine is the standard's own formula, in RAS+."""
    volume = read_series(dicom_series()[0].parent)
    np.testing.assert_array_equal(volume.array, made_up())
    assert volume.array.dtype == np.uint16
    turn, tilt = np.deg2rad(20), np.deg2rad(10)
    row = np.array([np.cos(turn), np.sin(turn), 0])
    column = np.array([-np.sin(turn) * np.cos(tilt), np.cos(turn) * np.cos(tilt), np.sin(tilt)])
    lps = np.column_stack([0.7 * row, 0.8 * column, 2.5 * np.cross(row, column), [-30, 40, -50]])
    np.testing.assert_allclose(volume.grid.affine[:3], np.diag([-1, -1, 1]) @ lps, atol=1e-7)
    assert volume.notes == ()
    assert volume.header["modality"] == "MR"
    assert not volume.array.flags.writeable


def test_agrees_with_an_independent_reader(dicom_series: Series) -> None:
    """SimpleITK puts the same voxels in the same places."""
    folder = dicom_series()[0].parent
    same_in_space(read_series(folder), *by_simpleitk(folder), voxels=0, millimetres=1e-6)


def test_a_file_stands_for_its_series(dicom_series: Series) -> None:
    """Any slice names the whole series."""
    file = dicom_series()[3]
    np.testing.assert_array_equal(read_series(file).array, made_up())
    np.testing.assert_array_equal(read_series(str(file.parent)).array, made_up())


def test_series_are_listed_without_a_word_a_person_typed(dicom_series: Series) -> None:
    """Modality, size, spacing and the coded image type are what a listing holds."""
    file = dicom_series()[0]
    (info,) = list_series(file.parent)
    assert (info.modality, info.count, info.description) == ("MR", 5, "MR 10x12x5, 0.7x0.8 mm, other")
    assert list_series(file) == (info,)


@pytest.mark.parametrize(
    ("slope", "intercept", "stored", "dtype"),
    [
        ("1", "0", "<u2", np.uint16),
        ("1", "-1024", "<u2", np.int16),
        ("1", "60000", "<u2", np.uint16),
        ("2", "60000", "<u2", np.int32),
        ("2", "-9000", "<i2", np.int16),
        ("0.5", "-1.25", "<u2", np.float32),
        ("1", "-1024", "u1", np.int16),
        ("1", "100000", "u1", np.int32),
    ],
)
def test_rescaled_values_keep_the_narrowest_exact_type(
    dicom_series: Series, slope: str, intercept: str, stored: str, dtype: type
) -> None:
    """Integers stay integers, in 16 bits where they fit; fractions become float32."""

    def edit(ds: Dataset, k: int) -> None:
        values = np.frombuffer(ds.PixelData, "<u2")
        if stored == "u1":
            ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
            values = values % 256
        ds.PixelRepresentation = int(stored == "<i2")
        ds.PixelData = values.astype(stored).tobytes()
        ds["PixelData"].VR = "OW"
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept

    volume = read_series(dicom_series(edit=edit)[0].parent)
    raw = made_up() % 256 if stored == "u1" else made_up()
    np.testing.assert_array_equal(volume.array, raw * float(slope) + float(intercept))
    assert volume.array.dtype == dtype


def test_each_slice_may_have_its_own_rescaling(dicom_series: Series) -> None:
    """As PET stores it: slice by slice, noted."""
    edit = {"edit": lambda ds, k: (setattr(ds, "RescaleSlope", 1 + k / 4), setattr(ds, "RescaleIntercept", 0))}
    volume = read_series(dicom_series(**edit)[0].parent)
    np.testing.assert_array_equal(volume.array, made_up() * (1 + np.arange(5) / 4))
    assert volume.notes == ("each slice has its own rescaling, which was applied",)


def test_a_slice_without_rescaling_among_rescaled_ones_keeps_its_values(dicom_series: Series) -> None:
    """The type is chosen for all slices, not only for those that are rescaled."""

    def edit(ds: Dataset, k: int) -> None:
        ds.PixelData = np.full(120, 60000 if k == 0 else 9, "<u2").tobytes()
        ds.RescaleSlope, ds.RescaleIntercept = 1, -10 if k else 0

    volume = read_series(dicom_series(edit=edit)[0].parent)
    assert volume.array.dtype == np.int32
    assert (volume.array[..., 0] == 60000).all()
    assert (volume.array[..., 1:] == -1).all()


def test_values_go_through_the_modality_look_up_table(dicom_series: Series) -> None:
    """A table instead of slope and intercept, as digitised film has it."""

    def edit(ds: Dataset, k: int) -> None:
        table = Dataset()
        table.LUTDescriptor, table.ModalityLUTType = [5000, 0, 16], "US"
        table.LUTData = (2 * np.arange(5000) + 1).astype("<u2").tobytes()
        ds.ModalityLUTSequence = [table]

    volume = read_series(dicom_series(edit=edit)[0].parent)
    np.testing.assert_array_equal(volume.array, 2 * made_up() + 1)
    assert volume.notes == ("values went through the modality's look-up table",)


def test_twelve_bits_in_sixteen_are_read_with_their_sign(dicom_series: Series) -> None:
    """What stands in the bits above the stored ones (an overlay, say) is no part of the value."""

    def edit(ds: Dataset, k: int) -> None:
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 12, 11, 1
        values = (np.arange(120) - 60 - k).astype("<i2").view("<u2") & 0x0FFF
        ds.PixelData = (values | (0xA000 if k % 2 else 0)).astype("<u2").tobytes()

    volume = read_series(dicom_series(edit=edit)[0].parent)
    expected = (np.arange(120) - 60).reshape(12, 10).T[..., None] - np.arange(5)
    np.testing.assert_array_equal(volume.array, expected)


@pytest.mark.parametrize(("stored", "signed"), [(-2000, True), (63536, True), (63536, False)])
def test_the_padding_value_is_told_in_rescaled_units(dicom_series: Series, stored: int, signed: bool) -> None:
    """A negative value written as an unsigned one means the negative one where voxels are signed."""

    def edit(ds: Dataset, k: int) -> None:
        ds.PixelRepresentation, ds.RescaleSlope, ds.RescaleIntercept = int(signed), 1, -1000
        ds.add_new("PixelPaddingValue", "SS" if stored < 0 else "US", stored)

    volume = read_series(dicom_series(edit=edit)[0].parent)
    assert volume.padding == (-3000 if signed else 62536)


@pytest.mark.parametrize("told", [None, -1000])
def test_voxels_are_judged_as_in_other_formats(dicom_series: Series, told: int | None) -> None:
    """Values that stand apart as padding are found where no header tells of padding; one that does is believed."""

    def edit(ds: Dataset, k: int) -> None:
        ds.PixelRepresentation = 1
        values = ds.pixel_array.astype("<i2")
        values[:, 0] = -2000
        ds.PixelData = values.tobytes()
        if told is not None:
            ds.add_new("PixelPaddingValue", "SS", told)

    volume = read_volume(dicom_series(edit=edit)[0].parent)
    assert volume.padding == (-2000 if told is None else told)
    assert volume.notes == ("60 voxels hold the padding value -2000",)
    constant = dicom_series("constant", edit=lambda ds, k: setattr(ds, "PixelData", bytes(240)))[0].parent
    assert read_volume(constant).notes == ("all voxels hold the same value, 0",)


def test_nan_in_a_parametric_map_is_refused_or_filled(dicom_series: Series) -> None:
    """As in other formats, with the same words."""

    def edit(ds: Dataset, k: int) -> None:
        values = ds.pixel_array.astype("<f4")
        values[0, 0] = np.nan
        del ds.PixelData, ds.PixelRepresentation, ds.BitsStored, ds.HighBit
        ds.BitsAllocated, ds.FloatPixelData = 32, values.tobytes()

    folder = dicom_series(slices=2, edit=edit, sop_class="1.2.840.10008.5.1.4.1.1.30")[0].parent
    with pytest.raises(VolumeError, match=r"holds 2 NaN voxels of 240; .*--fill-nan VALUE"):
        read_volume(folder)
    volume = read_volume(folder, fill_nan=-1)
    expected = made_up(2)
    expected[0, 0] = -1
    np.testing.assert_array_equal(volume.array, expected)
    assert volume.notes == ("2 NaN voxels replaced by -1",)


def test_radiographs_have_two_dimensions_and_negatives_are_inverted(dicom_series: Series) -> None:
    """No place in the patient; MONOCHROME1 means that low values are bright; spacing is the detector's."""

    def edit(ds: Dataset, k: int) -> None:
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"):
            delattr(ds, keyword)
        ds.Modality, ds.ImagerPixelSpacing = "DX", [0.2, 0.1]
        ds.PhotometricInterpretation = "MONOCHROME1"
        ds.BitsStored, ds.HighBit, ds.PixelPaddingValue = 14, 13, 16383

    files = dicom_series(slices=2, edit=edit, sop_class="1.2.840.10008.5.1.4.1.1.1.1")
    volume = read_series(files[1])
    np.testing.assert_array_equal(volume.array, (1 << 14) - 1 - made_up(2)[..., 1])
    np.testing.assert_array_equal(volume.grid.affine, np.diag([-0.1, -0.2, 1]))
    assert volume.padding == 0
    assert volume.notes == (
        "the pixel spacing is that at the detector, magnification not taken out",
        "stored as a negative (MONOCHROME1): inverted, so that high values are bright",
    )
    with pytest.raises(
        VolumeError, match="holds 2 two-dimensional images, which form no volume; name one of the files"
    ):
        read_series(files[0].parent)


def test_a_single_slice_keeps_its_third_axis(dicom_series: Series) -> None:
    """Its thickness is the slice's, or counts as a millimetre with a note."""
    volume = read_series(dicom_series("thick", slices=1)[0])
    assert volume.array.shape == (10, 12, 1)
    assert volume.grid.spacing == pytest.approx((0.7, 0.8, 2.5))
    thin = read_series(dicom_series("thin", slices=1, edit=lambda ds, k: delattr(ds, "SliceThickness"))[0])
    assert thin.grid.spacing[2] == pytest.approx(1)
    assert thin.notes == ("a single slice without a thickness: it counts as 1 mm",)


def test_positions_rounded_to_a_tenth_are_accepted_with_a_note(dicom_series: Series) -> None:
    """What old scanners round is no gap."""

    def edit(ds: Dataset, k: int) -> None:
        ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, f"{k * 1.25:.1f}"]

    volume = read_series(dicom_series(edit=edit)[0].parent)
    assert volume.grid.spacing == pytest.approx((0.7, 0.8, 1.25))
    assert volume.notes == ("slices lie up to 0.05 mm off their regular places (spacing 1.25 mm)",)


def test_a_spacing_in_the_header_that_positions_deny_is_noted(dicom_series: Series) -> None:
    """Positions count, as the standard says."""
    volume = read_series(dicom_series(edit=lambda ds, k: setattr(ds, "SpacingBetweenSlices", 5))[0].parent)
    assert volume.grid.spacing[2] == pytest.approx(2.5)
    assert volume.notes == ("slices lie 2.5 mm apart, the header says 5 mm: the positions count",)


def test_an_outline_is_that_of_the_volume(dicom_series: Series) -> None:
    """By the headers alone: the same grid, and what made it; refused with the same line."""
    files = dicom_series()
    volume = read_series(files[0].parent)
    outline = outline_series(files[0].parent)
    assert outline.grid == volume.grid
    assert outline.modality == volume.header["modality"] == "MR"
    assert read_outline(files[0].parent).grid == volume.grid
    with pytest.raises(VolumeError, match=r"voxels of 0\.7 x 0\.8 x 2\.5 mm are outside 1 to 5 mm"):
        read_outline(files[0].parent, spacing_range=(1, 5))
    anonymous = outline_series(dicom_series("anonymous", edit=spoilt("Modality", ""))[0].parent)
    assert anonymous.modality == "?"
    files[2].unlink()
    with pytest.raises(VolumeError) as caught:
        outline_series(files[0].parent)
    folder = files[0].parent
    assert str(caught.value) == f"{folder}: {refusal(read_series, folder)}"


def test_the_spacing_in_the_patient_counts_before_that_at_the_detector(dicom_series: Series) -> None:
    """Fluoroscopes give both."""
    files = dicom_series(edit=spoilt("ImagerPixelSpacing", [9, 9]))
    volume = read_series(files[0].parent)
    assert volume.grid.spacing == pytest.approx((0.7, 0.8, 2.5))
    assert volume.notes == ()


def test_an_affine_has_no_negative_zeros(dicom_series: Series) -> None:
    """They would be told as -0 wherever an affine is printed."""
    upright = spoilt("ImageOrientationPatient", [1, 0, 0, 0, 1, 0])

    def edit(ds: Dataset, k: int) -> None:
        upright(ds, k)
        ds.ImagePositionPatient = [0, 0, 2.5 * k]

    affine = read_series(dicom_series(edit=edit)[0].parent).grid.affine
    assert not np.signbit(affine[affine == 0]).any()


def test_what_is_and_is_not_dicom(dicom_series: Series, tmp_path: Path) -> None:
    """Told by content: names and endings mean nothing, a preamble is not needed."""
    file = dicom_series(names="{}".format)[0]
    assert is_dicom(file)
    assert is_dicom(file.parent)
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "no-preamble").write_bytes(file.read_bytes()[132:])
    assert is_dicom(bare)
    (tmp_path / "other").mkdir()
    for name, content in {"a.dcm": b"", "b.dcm": b"text " * 100, "c.nii": bytes(400)}.items():
        (tmp_path / "other" / name).write_bytes(content)
    assert not is_dicom(tmp_path / "other")
    assert not is_dicom(tmp_path / "missing")


def test_importing_the_reader_loads_no_dicom_library() -> None:
    """Parsers are loaded where they run: in the child."""
    code = (
        "import sys, volseg.io.dicom, volseg.io.dicom_seg;"
        "print(sorted({'pydicom', 'highdicom', 'SimpleITK', 'torch', 'monai'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "series",
    ["dcmqi/ct-3slice", "t1w_64_slices", "dcmqi/23x38x3/image", "dicom2nifti/generic_anatomical/002_non_isotropic"],
)
def test_real_series_agree_with_simpleitk(real_data: Path, series: str) -> None:
    """Scanners' own series: the same voxels (float32 against float64) in the same places."""
    folder = real_data / "dicom" / series
    same_in_space(read_series(folder), *by_simpleitk(folder), voxels=1e-5, millimetres=1e-4)


@pytest.mark.parametrize(
    ("series", "truth"),
    [
        ("generic_anatomical/001", "generic_anatomical/001_ground_truth.nii.gz"),
        ("generic_anatomical/001_implicit", "generic_anatomical/001_implicit_ground_truth.nii.gz"),
        ("generic_anatomical/002_non_isotropic", "generic_anatomical/002_non_isotropic_ground_truth.nii.gz"),
        ("compressed_jpegls/001", "compressed_jpegls/001_ground_truth.nii.gz"),
        ("siemens_multiframe/anatomical/001", "siemens_multiframe/anatomical/001_ground_truth.nii.gz"),
    ],
)
def test_real_series_agree_with_their_nifti_truth(real_data: Path, series: str, truth: str) -> None:
    """Plain, implicit, oblique, JPEG-LS and enhanced multi-frame series (60) mean what their NIfTI twins say."""
    image = nibabel.load(real_data / "dicom" / "dicom2nifti" / truth)
    volume = read_series(real_data / "dicom" / "dicom2nifti" / series)
    theirs = np.asanyarray(image.dataobj)
    same_in_space(volume, theirs, Grid(theirs.shape, image.affine), voxels=1e-5, millimetres=1e-3)  # float32 affines


def test_a_multi_frame_series_equals_its_single_frames(real_data: Path) -> None:
    """One CT as three files and as one enhanced file is one volume, to the last bit."""
    folder = real_data / "dicom" / "dcmqi" / "24x38x3"
    one, many = read_series(folder / "multiframe"), read_series(folder / "image")
    np.testing.assert_array_equal(one.array, many.array)
    assert one.grid == many.grid
