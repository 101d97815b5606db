"""Folders and files that hold more than one volume, or one in frames, and what is said where nothing fits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, generate_uid

from tests.refusals import refusal
from volseg.errors import VolumeError
from volseg.io.dicom import list_series, read_series
from volseg.io.dicom.patients import patients_of
from volseg.io.dicom_seg import read_dicom_seg, write_dicom_seg
from volseg.labels import Labels

Series = Callable[..., list[Path]]

pytestmark = pytest.mark.usefixtures("in_process")

LABELS = Labels.of({"liver": 1, "tumour": 2})


refused = partial(refusal, read_series, kind=VolumeError)


@pytest.mark.parametrize(
    ("keyword", "value", "what"),
    [
        ("ImageOrientationPatient", [1, 0, 0, 0, 1, 0], "orientations"),
        ("PixelSpacing", [0.9, 0.9], "pixel spacings"),
        ("FrameOfReferenceUID", "1.2.9", "frames of reference"),
        ("ImagePositionPatient", None, "images with and without a position"),
    ],
)
def test_what_the_parts_of_a_series_differ_in_is_named(
    dicom_series: Series, keyword: str, value: Any, what: str
) -> None:
    """And each part can be read by itself."""

    def edit(ds: Dataset, k: int) -> None:
        ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.4"
        if k > 2 and value is None:
            delattr(ds, keyword)
        elif k > 2:
            setattr(ds, keyword, value)

    folder = dicom_series(edit=edit)[0].parent
    said = refused(folder)
    assert said.startswith(f"one series mixes {what}: 1.2.3#1 (MR 10x12x3")
    assert said.endswith("; choose one with --series UID")
    assert read_series(folder, series="1.2.3#1").array.shape == (10, 12, 3)
    assert [part.count for part in list_series(folder)] == [3, 2]


def test_many_series_are_not_all_listed_in_a_line(dicom_series: Series) -> None:
    """Six, and how many more; a series without a spacing or a kind of image is described by what it has."""

    def of(number: int) -> Callable[[Dataset, int], None]:
        def edit(ds: Dataset, k: int) -> None:
            ds.SeriesInstanceUID, ds.ImageType = f"1.2.{number}", ["ORIGINAL", "PRIMARY"]

        return edit

    for number in range(1, 9):
        files = dicom_series(slices=1, edit=of(number), names=f"s{number}-{{}}.dcm".format)
    said = refused(files[0].parent)
    assert said.startswith("holds 8 series: 1.2.1 (MR 10x12x1, 0.7x0.8 mm), 1.2.2 (")
    assert said.endswith(" and 2 more; choose one with --series UID")


@pytest.mark.parametrize(
    ("keyword", "values", "told"),
    [
        ("TemporalPositionIdentifier", ("10", "2"), ["time point 2", "time point 10"]),
        ("ImageType", (["ORIGINAL", "P"], ["ORIGINAL", "M"]), ["image type original/m", "image type original/p"]),
    ],
)
def test_parts_are_numbered_as_people_count(
    dicom_series: Series, keyword: str, values: tuple[Any, Any], told: list[str]
) -> None:
    """The tenth time point comes behind the second; what is no number goes by the alphabet."""
    for count, value in enumerate(values):

        def edit(ds: Dataset, k: int, value: Any = value) -> None:
            ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.3", "1.2.4"
            setattr(ds, keyword, value)

        files = dicom_series(slices=2, edit=edit, names=f"{count}-{{}}.dcm".format)
    assert [part.description.rsplit(", ", 1)[1] for part in list_series(files[0].parent)] == told


def test_one_uid_in_several_places_is_noted(dicom_series: Series) -> None:
    """Some exports give every slice the same: their places tell them apart."""
    files = dicom_series(edit=lambda ds, k: setattr(ds, "SOPInstanceUID", "1.2.3.4"))
    volume = read_series(files[0].parent)
    assert volume.array.shape == (10, 12, 5)
    assert volume.notes == ("several slices carry the same SOP instance UID; they were told apart by their positions",)


def test_a_directory_file_is_no_stray_one(dicom_series: Series) -> None:
    """A DICOMDIR lies beside every export on a disk; a presentation state is told of."""

    def other(sop_class: str) -> Callable[[Dataset, int], None]:
        return lambda ds, k: setattr(ds, "SOPClassUID", sop_class)

    dicom_series(slices=1, edit=other("1.2.840.10008.1.3.10"), names="DICOMDIR{}".format)
    folder = dicom_series()[0].parent
    assert read_series(folder).notes == ()
    dicom_series(slices=1, edit=other("1.2.840.10008.5.1.4.1.1.11.1"), names="state{}".format)
    assert read_series(folder).notes == ("1 file skipped: a presentation state, not an image to segment",)


def test_a_radiograph_without_a_spacing(dicom_series: Series) -> None:
    """Its pixels count as a millimetre, and that is noted."""

    def edit(ds: Dataset, k: int) -> None:
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "FrameOfReferenceUID"):
            delattr(ds, keyword)
        ds.Modality = "DX"

    volume = read_series(dicom_series(slices=1, edit=edit, sop_class="1.2.840.10008.5.1.4.1.1.1.1")[0])
    assert volume.notes == ("no pixel spacing is given: pixels count as 1 mm",)
    np.testing.assert_array_equal(volume.grid.affine, np.diag([-1, -1, 1]))


def test_a_volume_for_which_there_is_no_room_is_refused(dicom_series: Series, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the machine says is free; a machine that does not say is trusted."""
    folder = dicom_series()[0].parent
    whole = Path.read_text

    def told(text: str) -> None:
        monkeypatch.setattr(Path, "read_text", lambda p, *a: text if str(p) == "/proc/meminfo" else whole(p, *a))

    told("MemTotal: 9 kB\nMemAvailable: 1 kB\n")
    assert refused(folder) == "its voxels may take 0 MiB, 0 MiB are free; free some memory"
    told("MemAvailable: 3 kB\n")
    assert read_series(folder).array.shape == (10, 12, 5)
    told("of another system\n")
    assert read_series(folder).array.shape == (10, 12, 5)


def test_whose_files_are_is_told_by_a_hash(dicom_series: Series) -> None:
    """Files of one patient have one, another issuer's number is another patient's, and who is not named has none."""

    def edit(dataset: Dataset, k: int) -> None:
        dataset.PatientID = ["SECRET-4711", "SECRET-4711 ", "SECRET-4711", "", "other"][k]
        if k == 2:
            dataset.IssuerOfPatientID = "elsewhere"

    one, same, elsewhere, nobody, other = patients_of(dicom_series(edit=edit))
    assert one == same
    assert nobody is None
    assert len({one, elsewhere, other}) == 3
    assert one is not None
    assert "SECRET" not in one
    assert patients_of([]) == ()


def enhanced(files: list[Path], *, times: int = 1) -> Path:
    """The same slices as frames of one file, in another order, ``times`` over, each with its place in its own group."""
    sources = [dcmread(file) for file in files]
    whole = dcmread(files[0])
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    whole.SOPInstanceUID = whole.file_meta.MediaStorageSOPInstanceUID = generate_uid(None)
    frames, pixels = [], []
    for time in range(times):
        for source in (sources[k] for k in (2, 0, 1, 4, 3)):
            groups = Dataset()
            groups.PlanePositionSequence = Sequence([part(source, "ImagePositionPatient")])
            groups.FrameContentSequence = Sequence([Dataset()])
            groups.FrameContentSequence[0].TemporalPositionIndex = time + 1
            frames.append(groups)
            pixels.append(source.PixelData)
    shared = Dataset()
    shared.PlaneOrientationSequence = Sequence([part(whole, "ImageOrientationPatient")])
    shared.PixelMeasuresSequence = Sequence([part(whole, "PixelSpacing", "SliceThickness")])
    rescaling = Dataset()
    rescaling.RescaleSlope, rescaling.RescaleIntercept = 2, -7
    shared.PixelValueTransformationSequence = Sequence([rescaling])
    whole.SharedFunctionalGroupsSequence = Sequence([shared])
    whole.PerFrameFunctionalGroupsSequence = Sequence(frames)
    whole.NumberOfFrames, whole.PixelData = len(frames), b"".join(pixels)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(whole, keyword)
    folder = files[0].parent.parent / "enhanced"
    folder.mkdir()
    whole.save_as(folder / "all.dcm", enforce_file_format=True)
    return folder / "all.dcm"


def part(source: Dataset, *keywords: str) -> Dataset:
    found = Dataset()
    for keyword in keywords:
        setattr(found, keyword, source[keyword].value)
    return found


@pytest.mark.parametrize(
    ("sequence", "keyword", "told"),
    [
        ("MREchoSequence", "EffectiveEchoTime", ["echo time 10.0", "echo time 80.0"]),
        ("MRDiffusionSequence", "DiffusionBValue", ["b-value 10.0", "b-value 80.0"]),
        ("FrameContentSequence", "StackID", ["stack 10", "stack 80"]),
    ],
)
def test_frames_in_one_place_are_told_apart(dicom_series: Series, sequence: str, keyword: str, told: list[str]) -> None:
    """By what the standard has for it, in the functional group of each frame."""
    file = enhanced(dicom_series(edit=lambda ds, k: setattr(ds, "SeriesInstanceUID", "1.2.3")), times=2)
    dataset = dcmread(file)
    for index, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        del groups.FrameContentSequence
        value = (10, 80)[index // 5]
        item = Dataset()
        setattr(item, keyword, str(value) if keyword == "StackID" else float(value))
        setattr(groups, sequence, Sequence([item]))
    dataset.save_as(file)
    assert [part.description.rsplit(", ", 1)[1] for part in list_series(file)] == told


def test_frames_of_one_file_are_the_same_volume(dicom_series: Series, tmp_path: Path) -> None:
    """Places, orientation, spacing and rescaling stand in functional groups; a mask written beside it reads back."""
    files = dicom_series()
    single = read_series(files[0].parent)
    volume = read_series(enhanced(files))
    np.testing.assert_array_equal(volume.array, single.array.astype(int) * 2 - 7)
    assert volume.grid.same_as(single.grid)
    mask = (np.arange(600).reshape(volume.array.shape) // 7 % 3).astype(np.uint8)
    write_dicom_seg(tmp_path / "mask.dcm", mask, volume, LABELS)
    found, labels = read_dicom_seg(tmp_path / "mask.dcm", grid=volume.grid)
    np.testing.assert_array_equal(found.array, mask)
    assert labels.names == ("liver", "tumour")


def test_a_time_point_of_one_file_is_read_but_has_no_segmentation_beside_it(
    dicom_series: Series, tmp_path: Path
) -> None:
    """A DICOM-SEG refers to whole files."""
    file = enhanced(dicom_series(edit=lambda ds, k: setattr(ds, "SeriesInstanceUID", "1.2.3")), times=2)
    assert refused(file).startswith("one series mixes images of the same places: 1.2.3#1 (MR 10x12x5")
    volume = read_series(file, series="1.2.3#2")
    assert volume.array.shape == (10, 12, 5)
    with pytest.raises(VolumeError, match="can refer to one whole multi-frame file, not to a part; choose another"):
        write_dicom_seg(tmp_path / "mask.dcm", np.ones(volume.array.shape, np.uint8), volume, LABELS)
    assert not (tmp_path / "mask.dcm").exists()
