"""Label maps as DICOM-SEG objects."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import dcmread

from volseg import __version__
from volseg.errors import GridMismatch, LabelError, UsageError, VolumeError, WriteError
from volseg.geometry import Grid
from volseg.io.dicom import read_series
from volseg.io.dicom_seg import read_dicom_seg, write_dicom_seg
from volseg.io.volume import Volume
from volseg.labels import Labels

Series = Callable[..., list[Path]]

pytestmark = pytest.mark.usefixtures("in_process")

LABELS = Labels.of(
    {"liver": 1, "tumour": 7, "Milz – späte Phase": 3},
    codes={"liver": ("SCT", "10200004", "Liver"), "tumour": ("SCT", "108369006", "Neoplasm")},
    colours={"liver": "#E69F00"},
    ignore=255,
)


def a_mask(shape: tuple[int, ...]) -> np.ndarray:
    """Two of three labels, ignored voxels, nothing in the first and the last slice."""
    mask = np.zeros(shape, np.uint8)
    mask[2:5, 3:7, 1:-1] = 1
    mask[5:8, 3:7, 1:-1] = 3
    mask[0, 0, 1] = 255
    return mask


def without_ignored(mask: np.ndarray) -> np.ndarray:
    return np.where(mask == 255, 0, mask)


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_round_trip(dicom_series: Series, tmp_path: Path, kind: Any) -> None:
    """What was written is read back: values by name, on the source's grid, empty slices and all; so are booleans."""
    volume = read_series(dicom_series()[0].parent)
    mask, path = a_mask(volume.array.shape), tmp_path / "mask.dcm"
    write_dicom_seg(path, mask, volume, LABELS, kind=kind)
    back, labels = read_dicom_seg(path, grid=volume.grid, labels=LABELS)
    np.testing.assert_array_equal(back.array, without_ignored(mask))
    assert back.grid == volume.grid
    assert labels is LABELS
    write_dicom_seg(path, mask == 1, volume, Labels.of({"liver": 1}), kind=kind)
    np.testing.assert_array_equal(read_dicom_seg(path, grid=volume.grid)[0].array, mask == 1)
    assert [entry.name for entry in tmp_path.iterdir() if "partial" in entry.name] == []


def test_read_without_a_grid_gives_the_slices_that_hold_something(dicom_series: Series, tmp_path: Path) -> None:
    """The smallest grid with all segments lies where the source's middle slices lie."""
    volume = read_series(dicom_series()[0].parent)
    mask = a_mask(volume.array.shape)
    write_dicom_seg(tmp_path / "mask.dcm", mask, volume, LABELS)
    back, labels = read_dicom_seg(tmp_path / "mask.dcm")
    affine = volume.grid.affine.copy()
    affine[:3, 3] += affine[:3, 2]
    back.grid.reoriented(volume.grid.axcodes).target.require_same(Grid((10, 12, 3), affine), where="mask.dcm")
    assert {s.name: s.value for s in labels.structures} == {"liver": 1, "tumour": 2, "Milz – späte Phase": 3}
    assert labels["tumour"].code == ("SCT", "108369006", "Neoplasm")


def test_segments_are_described_in_codes(dicom_series: Series, tmp_path: Path) -> None:
    """Names, codes, colours and the algorithm are there; the series description is the program's own."""
    volume = read_series(dicom_series()[0].parent)
    write_dicom_seg(tmp_path / "mask.dcm", a_mask(volume.array.shape), volume, LABELS)
    written = hd.seg.segread(tmp_path / "mask.dcm")
    liver, tumour, spleen = (written.get_segment_description(n) for n in (1, 2, 3))
    assert (liver.segment_label, liver.segmented_property_type.value) == ("liver", "10200004")
    assert tumour.segmented_property_category.meaning == "Morphologically Abnormal Structure"
    assert (spleen.segment_label, spleen.segmented_property_type.value) == ("Milz – späte Phase", "123037004")
    assert liver.SegmentAlgorithmName == "volseg"
    assert (written.Manufacturer, written.SeriesDescription) == ("volseg", "Segmentation by volseg")
    assert {uid for _, _, uid in written.get_source_image_uids()} == {
        str(dcmread(file).SOPInstanceUID) for file in (tmp_path / "series").iterdir()
    }


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_an_empty_mask_is_a_mask(dicom_series: Series, tmp_path: Path, kind: Any) -> None:
    """Nothing found is a result: every segment is described, no voxel is set."""
    volume = read_series(dicom_series()[0].parent)
    write_dicom_seg(tmp_path / "mask.dcm", np.zeros(volume.array.shape, np.uint8), volume, LABELS, kind=kind)
    back, _ = read_dicom_seg(tmp_path / "mask.dcm", grid=volume.grid, labels=LABELS)
    assert not back.array.any()


def test_a_single_slice_and_a_source_given_by_its_folder(dicom_series: Series, tmp_path: Path) -> None:
    """One slice without a thickness of its own is enough."""
    folder = dicom_series(slices=1, edit=lambda ds, k: delattr(ds, "SliceThickness"))[0].parent
    mask = np.zeros((10, 12, 1), np.int64)
    mask[3, 4] = 7
    write_dicom_seg(tmp_path / "mask.dcm", mask, folder, LABELS)
    back, _ = read_dicom_seg(tmp_path / "mask.dcm", grid=read_series(folder).grid, labels=LABELS)
    np.testing.assert_array_equal(back.array, mask)


@pytest.mark.parametrize("characters", ["", "ISO_IR 100", ["", "ISO 2022 IR 87"]])
def test_the_sources_character_set_does_not_matter(dicom_series: Series, tmp_path: Path, characters: Any) -> None:
    """A name in another encoding, or in none, is repeated as the same name."""
    name = "Mueller" if characters == "" else "Müller" if characters == "ISO_IR 100" else "Yamada^Tarou=山田^太郎"

    def edit(ds: Any, k: int) -> None:
        ds.SpecificCharacterSet, ds.PatientName = characters, name

    volume = read_series(dicom_series(edit=edit)[0].parent)
    write_dicom_seg(tmp_path / "mask.dcm", a_mask(volume.array.shape), volume, LABELS)
    assert str(dcmread(tmp_path / "mask.dcm").PatientName) == name


def test_refusals_of_what_cannot_be_written(dicom_series: Series, tmp_path: Path) -> None:
    """Each mistake is told before anything is written."""
    volume = read_series(dicom_series()[0].parent)
    mask, path = a_mask(volume.array.shape), tmp_path / "mask.dcm"
    no_dicom = Volume(volume.array, volume.grid)
    with pytest.raises(UsageError, match="needs a DICOM series as its source; choose another format"):
        write_dicom_seg(path, mask, no_dicom, LABELS)
    with pytest.raises(GridMismatch, match=r"the mask has the shape \(10, 12, 4\), its series \(10, 12, 5\)"):
        write_dicom_seg(path, mask[..., :4], volume, LABELS)
    with pytest.raises(LabelError, match="holds the label value 9, declared are 0, 1, 3, 7, 255"):
        write_dicom_seg(path, np.full_like(mask, 9), volume, LABELS)
    with pytest.raises(LabelError, match="holds the label value -1"):
        write_dicom_seg(path, np.full(mask.shape, -1), volume, LABELS)
    with pytest.raises(UsageError, match="a label map holds integers, not float32"):
        write_dicom_seg(path, mask.astype(np.float32), volume, LABELS)
    with pytest.raises(UsageError, match="can be binary or labelmap, not 'fractional'"):
        write_dicom_seg(path, mask, volume, LABELS, kind="fractional")  # type: ignore[arg-type]
    with pytest.raises(LabelError, match="does not fit DICOM; use at most 64 printable characters"):
        write_dicom_seg(path, mask, volume, Labels.of({"x" * 65: 1, "b": 3}, ignore=255))
    with pytest.raises(LabelError, match="needs at least one label"):
        write_dicom_seg(path, mask, volume, Labels.of({}))
    with pytest.raises(WriteError, match="the folder does not exist"):
        write_dicom_seg(tmp_path / "nowhere" / "mask.dcm", mask, volume, LABELS)
    assert not path.exists()


def test_a_source_that_changed_since_it_was_read_is_refused(dicom_series: Series, tmp_path: Path) -> None:
    """A mask is only written beside the series it was made from."""
    files = dicom_series()
    volume = read_series(files[0].parent)
    files[-1].unlink()
    with pytest.raises(GridMismatch, match="the series and the mask differ in shape"):
        write_dicom_seg(tmp_path / "mask.dcm", a_mask(volume.array.shape), volume, LABELS)


def test_refusals_of_what_cannot_be_read(dicom_series: Series, tmp_path: Path) -> None:
    """No file, no segmentation, foreign segments, another grid."""
    file = dicom_series()[0]
    with pytest.raises(VolumeError, match="no such file"):
        read_dicom_seg(tmp_path / "nothing.dcm")
    with pytest.raises(VolumeError, match=r"is no DICOM segmentation \(SEG\)"):
        read_dicom_seg(file)
    volume = read_series(file.parent)
    write_dicom_seg(tmp_path / "mask.dcm", a_mask(volume.array.shape), volume, LABELS)
    with pytest.raises(LabelError, match="holds the segment 'tumour', which is no label"):
        read_dicom_seg(tmp_path / "mask.dcm", labels=Labels.of({"liver": 1, "Milz – späte Phase": 2}))
    with pytest.raises(GridMismatch, match="does not lie on the image's grid"):
        read_dicom_seg(tmp_path / "mask.dcm", grid=Grid.from_spacing((10, 12, 5), (1, 1, 1)))


def test_segments_that_are_no_label_map(dicom_series: Series, tmp_path: Path) -> None:
    """Fractions, segments that overlap, more pixels than a file can hold, and values DICOM has no number for."""
    file = dicom_series()[0]
    volume = read_series(file.parent)
    path = tmp_path / "mask.dcm"
    write_dicom_seg(path, a_mask(volume.array.shape), volume, LABELS)
    whole = dcmread(path)

    def said(**fields: Any) -> str:
        spoilt = dcmread(path)
        for keyword, value in fields.items():
            setattr(spoilt, keyword, value)
        spoilt.save_as(tmp_path / "spoilt.dcm")
        with pytest.raises(VolumeError) as caught:
            read_dicom_seg(tmp_path / "spoilt.dcm")
        return str(caught.value).removeprefix(f"{tmp_path / 'spoilt.dcm'}: ")

    assert said(SegmentationType="FRACTIONAL") == "holds fractions, not labels; give a binary or label-map segmentation"
    assert said(Rows=60_000, Columns=60_000).endswith(" pixels, far more than its size allows")
    assert said(PixelData=b"\xff" * len(whole.PixelData)) == "its segments overlap: a voxel can have one label only"
    with pytest.raises(LabelError, match="the label value 70000 does not fit DICOM: 1 to 65535"):
        write_dicom_seg(path, a_mask(volume.array.shape), volume, Labels.of({"liver": 70_000}))


def test_what_a_source_lacks(dicom_series: Series, tmp_path: Path) -> None:
    """A slice thickness is worked out, whose the images are may be left out, a study or frame of reference may not."""

    def edit(ds: Any, k: int) -> None:
        for keyword in ("SliceThickness", "PatientName", "StudyDate", "AccessionNumber"):
            delattr(ds, keyword)

    volume = read_series(dicom_series(edit=edit)[0].parent)
    mask = a_mask(volume.array.shape)
    write_dicom_seg(tmp_path / "mask.dcm", mask, volume, LABELS)
    written = dcmread(tmp_path / "mask.dcm")
    assert str(written.PatientName) == ""
    measures = written.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == pytest.approx(2.5)
    found, _ = read_dicom_seg(tmp_path / "mask.dcm", grid=volume.grid, labels=LABELS)
    np.testing.assert_array_equal(found.array, without_ignored(mask))
    for count, keyword in enumerate(("StudyInstanceUID", "FrameOfReferenceUID")):
        bare = dicom_series(f"bare{count}", edit=lambda ds, k, keyword=keyword: delattr(ds, keyword))[0].parent
        with pytest.raises(VolumeError, match="name no study or frame of reference, which a DICOM-SEG must repeat"):
            write_dicom_seg(tmp_path / "none.dcm", mask, read_series(bare), LABELS)
    studies = dicom_series("studies", edit=lambda ds, k: setattr(ds, "StudyInstanceUID", f"1.2.{k}"))[0].parent
    with pytest.raises(VolumeError, match=r"its headers do not allow a DICOM-SEG beside it \(ValueError\); choose"):
        write_dicom_seg(tmp_path / "none.dcm", mask, read_series(studies), LABELS)
    assert not (tmp_path / "none.dcm").exists()


def test_what_a_segmentation_says_of_itself(dicom_series: Series, tmp_path: Path) -> None:
    """Who made it, in a series of its own behind the source's, and which images it refers to."""
    files = dicom_series()
    volume = read_series(files[0].parent)
    write_dicom_seg(tmp_path / "mask.dcm", a_mask(volume.array.shape), volume, LABELS)
    seg, source = dcmread(tmp_path / "mask.dcm"), dcmread(files[0])
    assert (seg.Manufacturer, seg.ManufacturerModelName, seg.DeviceSerialNumber) == ("volseg", "volseg", "none")
    assert seg.SoftwareVersions == __version__
    assert (seg.SeriesNumber, seg.InstanceNumber) == (source.SeriesNumber + 1000, 1)
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert seg.StudyInstanceUID == source.StudyInstanceUID
    assert (seg.ContentLabel, seg.ContentDescription, seg.SeriesDescription) == (
        "SEGMENTATION", "Segmentation by volseg", "Segmentation by volseg",
    )  # fmt: skip
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("volseg", __version__)
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    referred = {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referred == {dcmread(file).SOPInstanceUID for file in files}
    found, _ = read_dicom_seg(tmp_path / "mask.dcm")
    assert not np.signbit(found.grid.affine[found.grid.affine == 0]).any()


def test_the_series_of_a_folder_is_chosen(dicom_series: Series, tmp_path: Path) -> None:
    """As in reading: where a folder holds several, the one that is named."""
    dicom_series(edit=lambda ds, k: setattr(ds, "SeriesInstanceUID", "1.2.3"), names="a{}.dcm".format)
    folder = dicom_series(
        edit=lambda ds, k: setattr(ds, "SeriesInstanceUID", "1.2.4"), names="b{}.dcm".format, slices=4
    )[0].parent
    write_dicom_seg(tmp_path / "mask.dcm", a_mask((10, 12, 4)), folder, LABELS, series="1.2.4")
    referred = dcmread(tmp_path / "mask.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID
    assert referred == "1.2.4"
    with pytest.raises(VolumeError, match="holds 2 series"):
        write_dicom_seg(tmp_path / "mask.dcm", a_mask((10, 12, 4)), folder, LABELS)


def test_many_values_keep_theirs(dicom_series: Series, tmp_path: Path) -> None:
    """More than a byte counts, in a label map."""
    volume = read_series(dicom_series()[0].parent)
    labels = Labels.of({f"part {value}": value for value in (1, 255, 256, 300)})
    mask = np.resize(np.array([0, 1, 255, 256, 300], np.uint16), volume.array.shape)
    write_dicom_seg(tmp_path / "mask.dcm", mask, volume, labels, kind="labelmap")
    found, _ = read_dicom_seg(tmp_path / "mask.dcm", grid=volume.grid, labels=labels)
    np.testing.assert_array_equal(found.array, mask)


def test_a_grid_that_is_only_nearly_the_images(dicom_series: Series, tmp_path: Path) -> None:
    """Half a voxel aside is another place, though as many voxels would lie there."""
    volume = read_series(dicom_series()[0].parent)
    write_dicom_seg(tmp_path / "mask.dcm", a_mask(volume.array.shape), volume, LABELS)
    shifted = volume.grid.affine.copy()
    shifted[:3, 3] += volume.grid.affine[:3, 0] * 0.4
    with pytest.raises(GridMismatch) as caught:
        read_dicom_seg(tmp_path / "mask.dcm", grid=Grid(volume.grid.shape, shifted))
    assert str(caught.value) == f"{tmp_path / 'mask.dcm'}: the segmentation does not lie on the image's grid"


def test_names_that_stand_twice_are_numbered(dicom_series: Series, tmp_path: Path) -> None:
    """Other programs allow two segments of one name; labels do not."""
    volume = read_series(dicom_series()[0].parent)
    mask = a_mask(volume.array.shape)
    write_dicom_seg(tmp_path / "mask.dcm", mask, volume, LABELS)
    dataset = dcmread(tmp_path / "mask.dcm")
    for segment in dataset.SegmentSequence:
        segment.SegmentLabel = "lesion"
    dataset.save_as(tmp_path / "mask.dcm")
    _, labels = read_dicom_seg(tmp_path / "mask.dcm")
    assert labels.names == ("lesion 1", "lesion 2", "lesion 3")


def test_a_segmentation_of_a_radiograph_has_its_shape(dicom_series: Series, tmp_path: Path) -> None:
    """There is no place in the patient by which it could be moved onto another grid."""

    def edit(ds: Any, k: int) -> None:
        for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID"):
            delattr(ds, keyword)
        ds.Modality, ds.PatientOrientation = "DX", ["L", "F"]

    volume = read_series(dicom_series(slices=1, edit=edit, sop_class="1.2.840.10008.5.1.4.1.1.1.1")[0])
    mask = a_mask((*volume.array.shape, 3))[..., 1]
    write_dicom_seg(tmp_path / "mask.dcm", mask, volume, LABELS)
    assert list(dcmread(tmp_path / "mask.dcm").PatientOrientation) == ["L", "F"]
    found, _ = read_dicom_seg(tmp_path / "mask.dcm", grid=volume.grid, labels=LABELS)
    np.testing.assert_array_equal(found.array, without_ignored(mask))
    with pytest.raises(GridMismatch, match=r"the segmentation has the shape \(10, 12\), its image \(9, 12\)"):
        read_dicom_seg(tmp_path / "mask.dcm", grid=Grid.from_spacing((9, 12), (1, 1)))
    with pytest.raises(GridMismatch, match="the segmentation is 2-D, its image 3-D"):
        read_dicom_seg(tmp_path / "mask.dcm", grid=Grid.from_spacing((10, 12, 5), (1, 1, 1)))


@pytest.mark.parametrize(
    "source", ["dcmqi/ct-3slice", "t1w_64_slices", "dcmqi/24x38x3/multiframe", "highdicom/dx_image.dcm"]
)
def test_real_series_read_back_identical_with_highdicom(real_data: Path, tmp_path: Path, source: str) -> None:
    """Ours and highdicom's reading of what was written agree with the mask, voxel for voxel."""
    volume = read_series(real_data / "dicom" / source)
    mask = np.zeros(volume.array.shape, np.uint8)
    mask[tuple(slice(n // 4, n // 2 + 1) for n in mask.shape)] = 1
    mask[tuple(slice(n // 2 + 1, n // 2 + 3) for n in mask.shape[:2])] = 7
    write_dicom_seg(tmp_path / "mask.dcm", mask, volume, LABELS)
    back, _ = read_dicom_seg(tmp_path / "mask.dcm", grid=volume.grid, labels=LABELS)
    np.testing.assert_array_equal(back.array, mask)
    written = hd.seg.segread(tmp_path / "mask.dcm")
    uids = [uid for _, _, uid in written.get_source_image_uids()]
    if volume.array.ndim == 3 and len(uids) > 1:
        theirs = written.get_volume(combine_segments=True).array
        numbers = np.where(mask == 7, 2, mask)
        held = numbers[..., numbers.any(axis=(0, 1))]
        assert any(np.array_equal(theirs[::step], held.T) for step in (1, -1))


@pytest.mark.parametrize("source", ["dcmqi/ct-3slice", "t1w_64_slices"])
def test_the_standard_finds_no_error_that_is_not_the_sources(real_data: Path, tmp_path: Path, source: str) -> None:
    """Debian's ``dciodvfy`` accepts the binary segmentation, but for what it repeats from its source."""
    checker = shutil.which("dciodvfy")
    if checker is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")

    def errors(file: Path) -> set[str]:
        said = subprocess.run([checker, "-new", file], capture_output=True, text=True, timeout=60, errors="replace")
        lines = (said.stdout + said.stderr).splitlines()
        return {line.strip() for line in lines if line.startswith("Error")}

    folder = real_data / "dicom" / source
    volume = read_series(folder)
    mask = np.zeros(volume.array.shape, np.uint8)
    mask[40:60, 50:90, 1:] = 7
    write_dicom_seg(tmp_path / "mask.dcm", mask, volume, LABELS)
    first = next(file for file in sorted(folder.iterdir()) if file.suffix == ".dcm")
    assert errors(tmp_path / "mask.dcm") <= errors(first)


@pytest.mark.parametrize(
    ("segmentation", "truth"),
    [("24x38x3/seg/label.seg", "24x38x3/nrrd/label.nrrd"), ("liver.dcm", "liver_seg.nrrd")],
)
def test_foreign_segmentations_agree_with_their_nrrd_truth(real_data: Path, segmentation: str, truth: str) -> None:
    """Objects written by another program mean the same voxels to us as to its own converter."""
    import SimpleITK

    folder = real_data / "dicom" / "dcmqi"
    image = SimpleITK.ReadImage(str(folder / truth))
    theirs = SimpleITK.GetArrayFromImage(image).T
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    grid = Grid(theirs.shape, np.diag([-1, -1, 1, 1]) @ affine)
    ours, _ = read_dicom_seg(folder / segmentation, grid=grid)
    np.testing.assert_array_equal(ours.array > 0, theirs > 0)
