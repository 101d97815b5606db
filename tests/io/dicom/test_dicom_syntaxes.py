"""Transfer syntaxes of DICOM: what is decoded, what is only named, and pixels that the header denies."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import SimpleITK
from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, RLELossless

from tests.io.dicom.series import made_up
from volseg.errors import MissingExtra, VolumeError
from volseg.io import read_volume
from volseg.io.dicom import read_series

Series = Callable[..., list[Path]]

pytestmark = pytest.mark.usefixtures("in_process")


def test_a_damaged_deflated_file_is_named(dicom_series: Series) -> None:
    """The whole dataset of such a file is one compressed stream: found by fuzzing."""

    def edit(ds: Dataset, k: int) -> None:
        ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian

    file = dicom_series(edit=edit)[1]
    np.testing.assert_array_equal(read_series(file.parent).array, made_up())
    content = file.read_bytes()
    file.write_bytes(content[:400] + b"\xff" * 100 + content[500:])
    with pytest.raises(VolumeError, match=rf"{file.name}: its header cannot be (parsed|understood) \(\w+\)"):
        read_series(file.parent)


def test_rle_is_decoded(dicom_series: Series) -> None:
    """Run lengths need no extra package."""

    def edit(ds: Dataset, k: int) -> None:
        ds.compress(RLELossless, generate_instance_uid=False)

    assert get_encoder(RLELossless).is_available
    volume = read_series(dicom_series(edit=edit)[0].parent)
    np.testing.assert_array_equal(volume.array, made_up())


def test_lossless_jpeg_and_jpeg_2000_are_decoded(dicom_series: Series, tmp_path: Path) -> None:
    """What archives send compressed is decoded by what volseg always has with it."""
    for codec in ("JPEG", "JPEG2000"):
        files = dicom_series(codec, edit=lambda ds, k: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"))
        for file in files:
            _recompress(file, codec)
        volume = read_series(tmp_path / codec)
        np.testing.assert_array_equal(volume.array, made_up())
        assert volume.header["transfer_syntax"].startswith("1.2.840.10008.1.2.4.")


@pytest.mark.parametrize(
    ("syntax", "line"),
    [
        ("1.2.840.10008.1.2.4.100", "its transfer syntax MPEG2 Main Profile / Main Level cannot be decoded"),
        ("1.2.3.4", r"its transfer syntax 1\.2\.3\.4 cannot be decoded"),
    ],
)
def test_syntaxes_nobody_decodes_are_named(dicom_series: Series, syntax: str, line: str) -> None:
    """With the way out: the same series uncompressed."""
    file = dicom_series(slices=1)[0]
    claim_syntax(file, syntax)
    with pytest.raises(VolumeError, match=line + "; export the series uncompressed"):
        read_series(file)


@pytest.mark.parametrize("codec", ["JPEG", "JPEG2000"])
def test_compressed_pixels_that_the_header_denies(dicom_series: Series, codec: str) -> None:
    """Of another size, or with more bits than are declared: codecs would mask or shift such values without a word."""

    def edit(ds: Dataset, k: int) -> None:
        ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") + 20_000).astype("<u2").tobytes()

    file = dicom_series(slices=1, edit=edit)[0]
    _recompress(file, codec)
    whole = file.read_bytes()

    def said(**fields: Any) -> str:
        file.write_bytes(whole)
        dataset = dcmread(file)
        for keyword, value in fields.items():
            setattr(dataset, keyword, value)
        dataset["PixelData"].is_undefined_length = True
        dataset.save_as(file, implicit_vr=False, little_endian=True)
        with pytest.raises(VolumeError) as caught:
            read_series(file)
        return str(caught.value).removeprefix(f"{file}: ")

    np.testing.assert_array_equal(read_series(file).array, made_up(1) + 20_000)
    beyond = "decodes to values from 20000 to 20229, {} bits are declared; export the series again, uncompressed"
    assert said(BitsStored=12, HighBit=11) == beyond.format(12)
    assert said(BitsAllocated=8, BitsStored=8, HighBit=7) == beyond.format(8)
    damaged = "its JPEG 2000 Image Compression (Lossless Only) data is damaged; export the series again"
    size = "decodes to 10x12 pixels, 20x6 are declared"
    assert said(Rows=6, Columns=20) == (size if codec == "JPEG" else damaged)
    assert said(PixelData=encapsulate([])).startswith("its pixels cannot be decoded (")


@pytest.mark.parametrize("codec", ["JPEG", "JPEG2000"])
def test_few_of_the_declared_bits_are_no_fault(dicom_series: Series, codec: str) -> None:
    """Archives compress twelve bits as sixteen: the values fit, and come back; one byte for each does not do."""
    file = dicom_series(slices=1, edit=lambda ds, k: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.2"))[0]
    _recompress(file, codec)
    dataset = dcmread(file)
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.save_as(file)
    np.testing.assert_array_equal(read_series(file).array, made_up(1))
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.save_as(file)
    with pytest.raises(VolumeError, match="decodes to uint16 pixels, uint8 are declared"):
        read_series(file)


def test_a_decoder_that_is_not_installed_is_named(dicom_series: Series, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    file = dicom_series(slices=1)[0]
    claim_syntax(file, "1.2.840.10008.1.2.4.201")
    monkeypatch.setattr("volseg.io.dicom.pixels.get_decoder", lambda uid: SimpleNamespace(is_available=False))
    with pytest.raises(MissingExtra) as caught:
        read_series(file)
    assert str(caught.value) == (
        f"{file}: decoding High-Throughput JPEG 2000 Image Compression (Lossless Only) needs pylibjpeg-openjpeg;"
        """ pip install ".[dicom-codecs]" in the folder of volseg's source"""
    )


def test_lossy_compression_is_noted(dicom_series: Series) -> None:
    """Its traces are in the voxels, whatever the file is compressed with now."""
    files = dicom_series(edit=lambda ds, k: setattr(ds, "LossyImageCompression", "01"))
    assert read_series(files[0].parent).notes == ("its images went through lossy compression",)


@pytest.mark.parametrize(("implicit", "little"), [(True, True), (False, True), (False, False)])
def test_files_that_do_not_say_how_they_are_written(dicom_series: Series, implicit: bool, little: bool) -> None:
    """Some old archives leave out preamble and meta information: a file alone and a folder of them are read."""
    files = dicom_series()
    for file in files:
        dataset = dcmread(file)
        dataset.file_meta, dataset.preamble = FileMetaDataset(), None
        if not little:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dcmwrite(file, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=False)
        assert file.read_bytes()[:2] == (b"\x08\0" if little else b"\0\x08")
    np.testing.assert_array_equal(read_series(files[0].parent).array, made_up())
    np.testing.assert_array_equal(read_volume(files[1]).array, made_up())


def claim_syntax(file: Path, syntax: str) -> None:
    """Let a file say that its pixels are in another transfer syntax, as one encapsulated frame."""
    dataset = dcmread(file)
    dataset.PixelData = encapsulate([dataset.PixelData])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.save_as(file, implicit_vr=False, little_endian=True)


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "693_J2KI.dcm",
        "J2K_pixelrep_mismatch.dcm",
    ],
)
def test_pydicoms_own_samples(name: str, tmp_path: Path) -> None:
    """Every encoding in pydicom's samples gives what pydicom gives."""
    from pydicom.pixels import apply_rescale

    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"this pydicom brings no {name}")
    file = Path(shutil.copy(found, tmp_path))
    dataset = dcmread(file)
    try:
        stored = dataset.pixel_array
    except RuntimeError:
        pytest.skip("pydicom has no decoder to compare with")
    np.testing.assert_array_equal(read_series(file).array[..., 0].T, apply_rescale(stored, dataset))


def _recompress(file: Path, codec: str) -> None:
    """The same slice compressed by SimpleITK, every element but the pixels kept."""
    image = SimpleITK.ReadImage(str(file))
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.UseCompressionOn()
    writer.SetCompressor(codec)
    writer.SetFileName(str(file.with_suffix(".tmp.dcm")))
    writer.Execute(image)
    compressed, original = dcmread(file.with_suffix(".tmp.dcm")), dcmread(file)
    original.file_meta.TransferSyntaxUID = compressed.file_meta.TransferSyntaxUID
    original.PixelData = compressed.PixelData
    original["PixelData"].is_undefined_length = True
    original.save_as(file, implicit_vr=False, little_endian=True)
    file.with_suffix(".tmp.dcm").unlink()
