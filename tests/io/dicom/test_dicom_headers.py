"""Headers of DICOM files that cannot be true, or that are true of no volume: refused in a line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from tests.io.dicom.series import spoilt
from tests.refusals import refusal
from volseg.io.dicom import read_series

Series = Callable[..., list[Path]]

pytestmark = pytest.mark.usefixtures("in_process")


EXPORT = "export the series again"
ORIGINAL = "export the original series"


@pytest.mark.parametrize(
    ("keyword", "value", "line"),
    [
        (
            "PixelData", bytes(220),
            f"holds 220 bytes of pixels, its header says 240: the file is cut short; {EXPORT}",
        ),
        (
            "PixelData", bytes(480),
            f"holds 480 bytes of pixels, its header says 240: one of them is wrong; {EXPORT}",
        ),
        ("PixelData", None, f"has no pixel data; {EXPORT}"),
        ("Rows", None, f"has no Rows; {EXPORT}"),
        ("Columns", 0, "says it holds 1 frames of 0x12 pixels"),
        ("PixelSpacing", [1, 1, 1], f"its PixelSpacing is not 2 numbers; {EXPORT}"),
        ("HighBit", 14, "stores 16 bits in 16 in a way that DICOM no longer allows"),
        ("BitsStored", 17, "stores 17 bits in 16 in a way that DICOM no longer allows"),
        ("SamplesPerPixel", 3, "is a colour image (MONOCHROME2); only grey values can be segmented"),
        ("PhotometricInterpretation", "PALETTE COLOR", "its values are PALETTE COLOR, not grey values"),
        ("RescaleSlope", 0, f"its RescaleSlope is 0; {EXPORT}"),
        ("BitsAllocated", 24, "stores 24 bits per pixel, not 8, 16 or 32"),
    ],
)  # fmt: skip
def test_a_header_that_cannot_be_true_is_refused(dicom_series: Series, keyword: str, value: Any, line: str) -> None:
    """In one line that names the file, what is wrong and how to mend it."""
    files = dicom_series(edit=spoilt(keyword, value))
    assert refusal(read_series, files[0].parent) == f"{files[0]}: {line}"


@pytest.mark.parametrize(
    ("keyword", "value", "line"),
    [
        (
            "ImagePositionPatient", None,
            "its MR images have no position or orientation in the patient;"
            " export the original series, not a derived one",
        ),
        ("PixelSpacing", None, f"its images have no PixelSpacing; {ORIGINAL}"),
        ("PixelSpacing", [0, 1], f"its PixelSpacing is not positive; {ORIGINAL}"),
        (
            "ImageOrientationPatient", [1, 0, 0, 1, 0, 0],
            "its ImageOrientationPatient is not two unit vectors at right angles",
        ),
        (
            "ImageOrientationPatient", [1, 0, 0, 0, 1.01, 0],
            "its ImageOrientationPatient is not two unit vectors at right angles",
        ),
    ],
)  # fmt: skip
def test_headers_that_are_true_of_no_volume_are_refused(
    dicom_series: Series, keyword: str, value: Any, line: str
) -> None:
    """In one line that names the folder."""
    folder = dicom_series(edit=spoilt(keyword, value))[0].parent
    assert refusal(read_series, folder) == line


@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_slices_without_a_place_are_no_radiographs(dicom_series: Series, modality: str) -> None:
    """Not even one alone."""

    def edit(ds: Dataset, k: int) -> None:
        ds.Modality = modality
        del ds.ImagePositionPatient

    file = dicom_series(slices=1, edit=edit)[0]
    assert refusal(read_series, file).startswith(
        f"its {modality} images have no position or orientation in the patient"
    )


def test_positions_decide_what_is_missing(dicom_series: Series) -> None:
    """A gap of two slices is one where it is two spacings long to a fifth; what is not is no gap, but uneven."""

    def at(heights: list[float]) -> str:
        def edit(ds: Dataset, k: int) -> None:
            ds.ImageOrientationPatient, ds.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, heights[k]]

        folder = dicom_series(f"at{heights[-1]}", slices=len(heights), edit=edit)[0].parent
        return refusal(read_series, folder)

    again = "export the whole series again"
    assert at([0, 2, 4, 8.3, 10.3]) == f"1 slice is missing (spacing 2 mm): 4.3 mm between 4 and 8.3 mm; {again}"
    uneven = "its slices are unevenly spaced, from {} to {} mm; export a reconstruction with one spacing"
    assert at([0, 2, 4, 8.5, 10.5]) == uneven.format(2, 4.5)
    assert at([0, 1, 3, 4.5, 6]) == uneven.format(1, 2)
    assert at([0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 13, 17, 22, 28, 35, 36]) == (
        "21 slices are missing (spacing 1 mm): 2 mm between 8 and 10 mm, 3 mm between 10 and 13 mm, 4 mm between 13 and"
        f" 17 mm, 5 mm between 17 and 22 mm, 6 mm between 22 and 28 mm and 1 more; {again}"
    )


def test_a_dicom_file_cut_inside_its_header_is_refused(dicom_series: Series) -> None:
    """A file that cannot be parsed is named, and not skipped as if it were no part of the series."""
    file = dicom_series()[2]
    whole = file.read_bytes()
    said = set()
    for size in range(340, 520, 3):
        file.write_bytes(whole[:size])
        said.add(refusal(read_series, file.parent))
    assert said == {
        f"{file}: its header ends early; export the series again",
        f"{file}: has no Rows; export the series again",
    }


def test_a_dicom_file_of_no_kind_is_refused(dicom_series: Series) -> None:
    """What is left of a slice when its header is lost is no stray file."""
    file = dicom_series()[4]
    file.write_bytes(file.read_bytes()[:132] + bytes(400))
    assert (
        refusal(read_series, file.parent) == f"{file}: does not say what kind of object it is; export the series again"
    )


def test_values_that_no_parser_understands(dicom_series: Series) -> None:
    """Told with the kind of the error, never with its words, which may quote the patient."""
    file = dicom_series()[1]
    whole = file.read_bytes()
    at = whole.index(b"\x28\x00\x10\x00US")  # Rows, two bytes long
    file.write_bytes(whole[: at + 6] + (3).to_bytes(2, "little") + whole[at + 8 :])
    assert re.fullmatch(
        rf"{file}: its header cannot be (parsed|understood) \(\w+\); {EXPORT}", refusal(read_series, file.parent)
    )
    file.write_bytes(whole)
    dataset = dcmread(file)
    del dataset.ImagePositionPatient
    dataset.add_new("ImagePositionPatient", "DS", [1, 2])
    dataset.save_as(file)
    assert refusal(read_series, file.parent) == f"{file}: its ImagePositionPatient is not 3 numbers; {EXPORT}"
