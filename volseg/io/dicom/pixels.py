"""From planes to voxels: decoded, rescaled, in the narrowest type that holds them exactly.

Runs in the child process.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import UID, SecondaryCaptureImageStorage

from volseg.errors import MissingExtra, VolumeError
from volseg.io.dicom.headers import Plane
from volseg.io.dicom.kinds import uid_name

Pixels = npt.NDArray[Any]

# Who decodes which transfer syntax: one decoder each, so that a file means the same on every machine.
NATIVE = frozenset(("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"))
RLE = "1.2.840.10008.1.2.5"
JPEG = frozenset(
    "1.2.840.10008.1.2.4." + tail
    for tail in ("50", "51", "57", "70", "80", "81", "90", "91")  # JPEG, lossless JPEG, JPEG-LS, JPEG 2000
)
HTJ2K = frozenset("1.2.840.10008.1.2.4." + tail for tail in ("201", "202", "203"))


@dataclass(frozen=True)
class Voxels:
    """What was left in the shared memory."""

    dtype: np.dtype[Any]
    padding: float | None
    notes: tuple[str, ...]


def decode(planes: Sequence[Plane], shared: int, scratch: Path) -> Voxels:
    """Decode every plane, in order, into the shared memory: slice after slice, row after row."""
    rows, columns = planes[0].shape
    raw = _stored_dtype(planes)
    nbytes = raw.itemsize * rows * columns
    os.ftruncate(shared, nbytes * len(planes))
    rescaled = any(plane.slope != 1 or plane.intercept != 0 for plane in planes)
    low, high = np.inf, -np.inf
    reader = _Reader(scratch)
    with mmap.mmap(shared, nbytes * len(planes)) as memory:
        for index, plane in enumerate(planes):
            stored = reader.read(plane)
            if stored.shape != (rows, columns):
                raise VolumeError(
                    f"decodes to {stored.shape[1]}x{stored.shape[0]} pixels, {columns}x{rows} are declared",
                    where=plane.file,
                )
            if stored.dtype != raw and not np.can_cast(stored.dtype, raw):
                raise VolumeError(f"decodes to {stored.dtype} pixels, {raw} are declared", where=plane.file)
            values = stored.astype(raw, copy=False)
            if rescaled:
                ends = np.array([values.min(), values.max()], dtype=np.float64) * plane.slope + plane.intercept
                low, high = min(low, ends.min()), max(high, ends.max())
            memory[index * nbytes : (index + 1) * nbytes] = np.ascontiguousarray(values).tobytes()
    notes = list(reader.notes)
    dtype = raw
    if rescaled:
        dtype = _rescaled_dtype(planes, raw, low, high)
        _rescale(planes, shared, raw, dtype)
    if any(plane.lossy for plane in planes):
        notes.append("its images went through lossy compression")
    padding = _padding(planes)
    if len({(plane.slope, plane.intercept) for plane in planes}) > 1:
        notes.append("each slice has its own rescaling, which was applied")
    return Voxels(dtype, padding, tuple(notes))


class _Reader:
    """Frames one after the other, each file opened once while its frames follow each other."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._file = ""
        self._dataset = Dataset()
        self.notes: list[str] = []

    def read(self, plane: Plane) -> Pixels:
        if plane.file != self._file:
            self._dataset, self._file = _open(plane), plane.file
        try:
            stored = _decoder(plane.syntax)(self._dataset, plane, self._scratch)
            if "ModalityLUTSequence" in self._dataset:
                stored = apply_modality_lut(stored, self._dataset)
                self._note("values went through the modality's look-up table")
        except (VolumeError, MissingExtra, MemoryError):
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:160]  # codecs speak of lengths and markers, not of patients
            raise VolumeError(
                f"its pixels cannot be decoded ({reason or type(error).__name__})",
                where=plane.file,
                mend="export the series again, uncompressed if it is compressed",
            ) from error
        if plane.is_negative and "ModalityLUTSequence" not in self._dataset:
            stored = (plane.brightest_and_darkest - stored.astype(np.int64)).astype(stored.dtype)
            self._note("stored as a negative (MONOCHROME1): inverted, so that high values are bright")
        elif plane.photometric == "MONOCHROME1":
            self._note("MONOCHROME1 (shown inverted): the values are kept as stored")
        return stored

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def _open(plane: Plane) -> Dataset:
    try:
        return dcmread(plane.file, force=True)
    except MemoryError:
        raise
    except Exception as error:
        raise VolumeError(
            f"cannot be read to its end ({type(error).__name__})", where=plane.file, mend="export the series again"
        ) from error


def _decoder(syntax: str) -> Callable[[Dataset, Plane, Path], Pixels]:
    if syntax in NATIVE:
        return _native
    if syntax == RLE:
        return _by_pydicom
    if syntax in JPEG:
        return _by_simpleitk
    if syntax in HTJ2K:
        return _high_throughput
    name = uid_name(syntax)
    raise VolumeError(
        f"its transfer syntax {name or '(no UID)'} cannot be decoded",
        mend="export the series uncompressed (Explicit VR Little Endian)",
    )


def _native(dataset: Dataset, plane: Plane, scratch: Path) -> Pixels:
    rows, columns = plane.shape
    expected = plane.frames * rows * columns * plane.samples * plane.allocated // 8
    keyword = next((k for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if k in dataset), None)
    if keyword is None:
        raise VolumeError("has no pixel data", where=plane.file, mend="export the series again")
    held = len(dataset[keyword].value or b"")
    if held < expected:
        raise VolumeError(
            f"holds {held} bytes of pixels, its header says {expected}: the file is cut short",
            where=plane.file,
            mend="export the series again",
        )
    if held >= expected + max(2, expected // plane.frames):
        raise VolumeError(
            f"holds {held} bytes of pixels, its header says {expected}: one of them is wrong",
            where=plane.file,
            mend="export the series again",
        )
    return _by_pydicom(dataset, plane, scratch)


def _by_pydicom(dataset: Dataset, plane: Plane, _scratch: Path) -> Pixels:
    pixels: Pixels = get_decoder(UID(plane.syntax)).as_array(dataset, index=plane.frame, raw=True)[0]
    return pixels


def _high_throughput(dataset: Dataset, plane: Plane, scratch: Path) -> Pixels:
    if not get_decoder(UID(plane.syntax)).is_available:
        raise MissingExtra.of("pylibjpeg-openjpeg", extra="dicom-codecs", purpose=f"decoding {UID(plane.syntax).name}")
    return _by_pydicom(dataset, plane, scratch)


def _by_simpleitk(dataset: Dataset, plane: Plane, scratch: Path) -> Pixels:
    """Decode with the codecs SimpleITK carries, from a file that holds nothing but this frame.

    Without rescaling and place in it SimpleITK gives the stored values, and no other element can mislead it.
    """
    import SimpleITK

    frame = get_frame(dataset.PixelData, plane.frame, number_of_frames=plane.frames)
    # declared with fewer bits than its JPEG stream has, a frame is shifted or masked without a word
    bits = max(plane.bits, _jpeg_precision(frame))
    single = Dataset()
    single.file_meta = FileMetaDataset()
    single.file_meta.TransferSyntaxUID = UID(plane.syntax)
    single.file_meta.MediaStorageSOPClassUID = single.SOPClassUID = SecondaryCaptureImageStorage
    single.file_meta.MediaStorageSOPInstanceUID = single.SOPInstanceUID = UID("2.25.1")
    single.Rows, single.Columns = plane.shape
    single.SamplesPerPixel, single.PhotometricInterpretation = 1, "MONOCHROME2"
    single.BitsAllocated, single.BitsStored, single.HighBit = max(plane.allocated, -(-bits // 8) * 8), bits, bits - 1
    single.PixelRepresentation = int(plane.signed)
    single.PixelData = encapsulate([frame])
    single["PixelData"].VR = "OB"
    file = scratch / "frame.dcm"
    single.save_as(file, enforce_file_format=True)
    try:
        image = SimpleITK.ReadImage(str(file), imageIO="GDCMImageIO")
    except RuntimeError as error:
        raise VolumeError(
            f"its {UID(plane.syntax).name} data is damaged", where=plane.file, mend="export the series again"
        ) from error
    pixels: Pixels = SimpleITK.GetArrayFromImage(image)
    low, high = int(pixels.min()), int(pixels.max())
    least = -(1 << plane.bits - 1) if plane.signed else 0
    if low < least or high >= least + (1 << plane.bits):
        raise VolumeError(
            f"decodes to values from {low} to {high}, {plane.bits} bits are declared",
            where=plane.file,
            mend="export the series again, uncompressed",
        )
    return pixels.reshape(pixels.shape[-2:])


def _jpeg_precision(frame: bytes) -> int:
    """The bits of a sample that a JPEG or JPEG-LS stream names in its frame header; 0 where there is none.

    >>> _jpeg_precision(bytes.fromhex("ffd8 ffe00004abcd ffc3000b100001000101001100 ffda"))
    16
    """
    at = 2
    while frame.startswith(b"\xff\xd8") and frame[at : at + 1] == b"\xff":
        kind, length = frame[at + 1], int.from_bytes(frame[at + 2 : at + 4], "big")
        if kind == 0xF7 or (0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC)):
            return frame[at + 4]
        at += 2 + length
    return 0


def _stored_dtype(planes: Sequence[Plane]) -> np.dtype[Any]:
    """The integer type that holds the stored values of all planes."""
    for plane in planes:
        if plane.samples != 1:
            raise VolumeError(
                f"is a colour image ({plane.photometric})", where=plane.file, mend="only grey values can be segmented"
            )
        if not plane.photometric.startswith("MONOCHROME"):
            raise VolumeError(f"its values are {plane.photometric}, not grey values", where=plane.file)
        if plane.allocated not in (8, 16, 32, 64):
            raise VolumeError(f"stores {plane.allocated} bits per pixel, not 8, 16 or 32", where=plane.file)
    kinds = {f"{'f' if plane.floating else 'i' if plane.signed else 'u'}{plane.allocated // 8}" for plane in planes}
    return np.result_type(*kinds)


def _rescaled_dtype(planes: Sequence[Plane], raw: np.dtype[Any], low: float, high: float) -> np.dtype[Any]:
    """The narrowest type that holds the rescaled values without loss; float32 where they are fractions."""
    if all(float(x).is_integer() for plane in planes for x in (plane.slope, plane.intercept)):
        for kind in (np.int16, np.uint16, np.int32):
            if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max:
                return np.dtype(kind)
    return np.dtype(np.float32 if raw.itemsize <= 2 else np.float64)


def _rescale(planes: Sequence[Plane], shared: int, raw: np.dtype[Any], dtype: np.dtype[Any]) -> None:
    """Rescale in place; into a wider type from the last slice on, so that none is written over before it is read."""
    count = planes[0].shape[0] * planes[0].shape[1]
    size = max(raw.itemsize, dtype.itemsize) * count * len(planes)
    os.ftruncate(shared, size)
    with mmap.mmap(shared, size) as memory:
        order = range(len(planes))
        for index in reversed(order) if dtype.itemsize > raw.itemsize else order:
            plane = planes[index]
            stored = np.frombuffer(memory, raw, count, index * count * raw.itemsize).copy()
            # float64 is exact for every integer a type here can hold
            values = (stored.astype(np.float64) * plane.slope + plane.intercept).astype(dtype)
            start = index * count * dtype.itemsize
            memory[start : start + values.nbytes] = values.tobytes()
            del stored, values
    os.ftruncate(shared, dtype.itemsize * count * len(planes))


def _padding(planes: Sequence[Plane]) -> float | None:
    """What the padding value became by rescaling; none when the slices do not agree."""
    values = {None if p.padding is None else _padded(p) * p.slope + p.intercept for p in planes}
    return values.pop() if len(values) == 1 else None


def _padded(plane: Plane) -> float:
    padding = plane.padding or 0.0
    return plane.brightest_and_darkest - padding if plane.is_negative else padding
