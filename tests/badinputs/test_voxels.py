"""Voxels that are not what they seem: refused with their number, mended aloud, or accepted as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from volseg.errors import LabelError
from volseg.io import read_labels, read_volume
from volseg.labels import Labels

FILL = "mend the file; volseg predict --fill-nan VALUE puts a value in their place"
WHOLE = "resample label maps with nearest neighbour"


def nan(nifti: Any, refused: Any, accepted: Any, image: Any, **_: Any) -> None:
    array = image.astype(np.float32)
    array[2, 1, 0] = np.nan
    path = nifti(array=array)
    refused(path, f"holds 1 NaN voxel of 120; {FILL}")
    array[3, 3, :3] = np.nan
    path = nifti(array=array)
    refused(path, f"holds 4 NaN voxels of 120; {FILL}")
    filled = np.nan_to_num(array, nan=-1024)
    accepted(path, filled, notes=("4 NaN voxels replaced by -1024",), fill_nan=-1024)
    refused(path, "--fill-nan 1e+300 does not fit voxels of type float32", fill_nan=1e300)


def infinite(nifti: Any, refused: Any, accepted: Any, image: Any, **_: Any) -> None:
    array = image.astype(np.float64)
    array[0, 0, 0], array[1, 1, 1] = np.inf, -np.inf
    path = nifti(array=array)
    refused(path, f"holds 2 infinite voxels of 120; {FILL}")
    array[5, 4, 3] = np.nan
    path = nifti(array=array)
    refused(path, f"holds 1 NaN and 2 infinite voxels of 120; {FILL}")
    filled = np.where(np.isfinite(array), array, 0)
    accepted(path, filled, notes=("1 NaN and 2 infinite voxels replaced by 0",), fill_nan=0.0)
    large = np.full((6, 5, 4), 3e38, np.float32)  # finite, though their sum is not
    large[0] = 0
    accepted(nifti(array=large), large)


def padding(nifti: Any, accepted: Any, image: Any, **_: Any) -> None:
    for value in (-32768, -2000):
        padded = image.copy()
        padded[:2] = value
        for array in (padded, padded.astype(np.float32)):
            volume = accepted(nifti(array=array), array, notes=(f"40 voxels hold the padding value {value}",))
            assert volume.padding == value
    assert read_volume(nifti()).padding is None
    dense = np.linspace(-2000, 2000, 120).reshape(6, 5, 4).astype(np.int16)
    assert read_volume(nifti(array=dense)).padding is None  # the lowest of many values pads nothing


def slope_zero(nifti: Any, accepted: Any, image: Any, **_: Any) -> None:
    volume = accepted(nifti(scl_slope=0, scl_inter=7), image)
    assert volume.array.dtype == np.int16
    scaled = read_volume(nifti(scl_slope=2, scl_inter=-1024))
    assert scaled.array.dtype == np.float32
    assert np.array_equal(scaled.array, image * 2.0 - 1024)


def slope_not_finite(nifti: Any, refused: Any, **_: Any) -> None:
    refused(nifti(scl_slope=np.nan), "scaled by no number (scl_slope nan, scl_inter 0); mend the header")
    refused(nifti(scl_slope=np.inf), "scaled by no number (scl_slope inf, scl_inter 0); mend the header")
    refused(nifti(scl_slope=1, scl_inter=np.nan), "scaled by no number (scl_slope 1, scl_inter nan); mend the header")


def constant(nifti: Any, accepted: Any, **_: Any) -> None:
    array = np.full((6, 5, 4), 37, np.int16)
    accepted(nifti(array=array), array, notes=("all voxels hold the same value, 37",))
    assert read_labels(nifti(array=array)).notes == ()  # a label map may well be empty


def label_nearly_whole(nifti: Any, refused: Any, accepted: Any, image: Any, **_: Any) -> None:
    truth = (image > 0).astype(np.uint8)
    near = truth * np.float32(0.9999)
    volume = accepted(nifti(array=near), truth, read=read_labels)
    assert volume.array.dtype == np.uint8
    far = near.copy()
    far[0, 0, 0] = 0.75
    refused(
        nifti(array=far),
        f"not a label map: 1 of 120 voxels hold no whole number, such as 0.75; {WHOLE}",
        read=read_labels,
    )


def label_not_declared(nifti: Any, refused: Any, accepted: Any, image: Any, **_: Any) -> None:
    labels = Labels.of({"liver": 1, "tumour": 2})
    array = (image > 0).astype(np.uint8)
    accepted(nifti(array=array), array, read=read_labels, labels=labels)
    array[0, 0, 0], array[1, 0, 0] = 7, 4
    path = nifti(array=array)
    refused(path, "holds the label values 4, 7, declared are 0, 1, 2", read=read_labels, labels=labels)
    path = nifti(array=array.astype(np.int16) - 1)
    with pytest.raises(LabelError) as caught:
        read_labels(path)
    assert str(caught.value) == f"{path}: holds the negative label value -1; label values start at 0"


def many_labels(nifti: Any, accepted: Any, **_: Any) -> None:
    array = np.arange(300).reshape(10, 6, 5).astype(np.int32)
    volume = accepted(nifti(array=array), array, read=read_labels)
    assert volume.array.dtype == np.uint16


def of_type(dtype: str, order: str = "<") -> Callable[..., None]:
    def case(nifti: Any, accepted: Any, **_: Any) -> None:
        array = (np.arange(120).reshape(6, 5, 4) % 5).astype(dtype)
        volume = accepted(nifti(array=array, order=order), array)
        assert volume.array.dtype == np.dtype(dtype)
        assert accepted(nifti(array=array, order=order), array, read=read_labels).array.dtype == np.uint8

    return case


CASES: dict[str, Callable[..., None]] = {
    "37-nan": nan,
    "38-infinite": infinite,
    "39-padding": padding,
    "40-slope_zero": slope_zero,
    "41-slope_not_finite": slope_not_finite,
    "42-constant": constant,
    "43-label_nearly_whole": label_nearly_whole,
    "44-label_not_declared": label_not_declared,
    "45-many_labels": many_labels,
    "46-int64": of_type("int64"),
    "47-uint64": of_type("uint64"),
    "48-uint16": of_type("uint16"),
    "49-big_endian": of_type("int16", order=">"),
    "49-big_endian_float": of_type("float64", order=">"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_bad_input(case: Callable[..., None], nifti: Any, refused: Any, accepted: Any, image: Any) -> None:
    """The file gets exactly its verdict: one line that names it, or its right voxels and affine."""
    case(nifti=nifti, refused=refused, accepted=accepted, image=image)
