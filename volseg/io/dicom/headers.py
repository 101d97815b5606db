"""From DICOM files to planes: what each single image says about its place, its values and its siblings.

Runs in the child process. Nothing about the patient is looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from volseg.errors import VolumeError
from volseg.io.dicom.files import is_dicom
from volseg.io.dicom.kinds import IMAGES, PROJECTIONS, is_cut, name_of

_TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "ImageType",
    "InstanceNumber",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelPaddingValue",
    "LossyImageCompression",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "EchoNumbers",
    "EchoTime",
    "TriggerTime",
    "DiffusionBValue",
)

# What tells images at one place apart, the most telling first: a name for people, then the keyword of a single slice.
MARKS = (
    ("time point", "TemporalPositionIdentifier"),
    ("b-value", "DiffusionBValue"),
    ("echo", "EchoNumbers"),
    ("echo time", "EchoTime"),
    ("trigger time", "TriggerTime"),
    ("acquisition", "AcquisitionNumber"),
    ("image type", "ImageType"),
)

# Deflated or compressed data cannot honestly unpack further than this; headers that say so lie.
_FLOOR_BYTES = 64 << 20
_LARGEST_RATIO = 1000


@dataclass(frozen=True)
class Plane:
    """One image in one place: a file of a series, or a frame of a multi-frame file."""

    file: str
    frame: int
    frames: int
    uid: str
    series: str
    modality: str
    sop_class: str
    image_type: tuple[str, ...]
    number: int
    shape: tuple[int, int]
    bits: int
    allocated: int
    signed: bool
    floating: bool
    samples: int
    photometric: str
    syntax: str
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    spacing_at_detector: bool
    thickness: float | None
    between: float | None
    frame_of_reference: str
    slope: float
    intercept: float
    padding: float | None
    lossy: bool
    marks: tuple[tuple[str, str], ...]

    @property
    def is_negative(self) -> bool:
        """Whether low values are bright and mean nothing but a shade."""
        return self.photometric == "MONOCHROME1" and self.sop_class in PROJECTIONS

    @property
    def brightest_and_darkest(self) -> int:
        """The sum of the largest and the smallest value that can be stored: what a negative is taken from."""
        return -1 if self.signed else (1 << self.bits) - 1

    @property
    def is_localizer(self) -> bool:
        return len(self.image_type) > 2 and self.image_type[2] == "LOCALIZER"


def scan(files: Iterable[Path]) -> tuple[list[Plane], Counter[str]]:
    """Every plane in the files, and what was passed over, by kind."""
    planes: list[Plane] = []
    passed: Counter[str] = Counter()
    for file in files:
        _require_readable(file)
        if not is_dicom(file):
            passed["not DICOM"] += 1
            continue
        found = planes_of(file)
        if isinstance(found, str):
            passed[found] += 1
        else:
            planes += found
    return planes, passed


def planes_of(file: Path) -> list[Plane] | str:
    """The planes of one file; or, when it is no image, what it is."""
    header = read_header(file, _TAGS)
    try:
        sop_class = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID", ""))
        if not sop_class:
            raise VolumeError("does not say what kind of object it is", where=file, mend="export the series again")
        if is_cut(sop_class):  # not a stray object, but a slice that would be missing
            raise VolumeError("its header ends early", where=file, mend="export the series again")
        return list(_planes(file, header, sop_class)) if sop_class in IMAGES else name_of(sop_class)
    except (VolumeError, MemoryError):
        raise
    except Exception as error:  # whatever a hostile value makes the parser raise; its text may quote the patient
        raise VolumeError(
            f"its header cannot be understood ({type(error).__name__})", where=file, mend="export the series again"
        ) from error


def read_header(file: Path, tags: Sequence[str] | None = None) -> Dataset:
    """The dataset of a file without its pixels."""
    try:
        return dcmread(file, stop_before_pixels=True, force=True, specific_tags=None if tags is None else list(tags))
    except MemoryError:
        raise
    except EOFError as error:
        raise VolumeError("its header ends early", where=file, mend="export the series again") from error
    except Exception as error:  # as many kinds as there are ways to damage a header
        raise VolumeError(
            f"its header cannot be parsed ({type(error).__name__})", where=file, mend="export the series again"
        ) from error


def _require_readable(file: Path) -> None:
    """A slice that may not be read must not pass for a stray file."""
    try:
        file.open("rb").close()
    except OSError as error:
        raise VolumeError(f"cannot be read: {error.strerror}", where=file) from error


def _planes(file: Path, header: Dataset, sop_class: str) -> Iterator[Plane]:
    frames = _integer(header, "NumberOfFrames", file, default=1)
    rows, columns = (_integer(header, name, file) for name in ("Rows", "Columns"))
    allocated = _integer(header, "BitsAllocated", file)
    samples = _integer(header, "SamplesPerPixel", file, default=1)
    if min(rows, columns, frames, allocated, samples) < 1:
        raise VolumeError(f"says it holds {frames} frames of {columns}x{rows} pixels", where=file)
    claimed = frames * rows * columns * samples * allocated // 8
    if claimed > max(_FLOOR_BYTES, _LARGEST_RATIO * file.stat().st_size):
        raise VolumeError(
            f"says it holds {frames} x {columns}x{rows} pixels ({claimed >> 20} MiB), far more than its size allows",
            where=file,
            mend="export the series again",
        )
    shared = _group(header.get("SharedFunctionalGroupsSequence"), 0)
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    if frames > 1 and (per_frame is None or len(per_frame) != frames):
        raise VolumeError(
            f"holds {frames} frames without a place for each of them ({name_of(sop_class).split('kind ')[-1]})",
            where=file,
            mend="convert it to a single-frame or an enhanced multi-frame series first",
        )
    bits = _integer(header, "BitsStored", file, default=allocated)
    signed = bool(_integer(header, "PixelRepresentation", file, default=0))
    if bits > allocated or _integer(header, "HighBit", file, default=bits - 1) != bits - 1:
        raise VolumeError(f"stores {bits} bits in {allocated} in a way that DICOM no longer allows", where=file)
    syntax = str(header.file_meta.get("TransferSyntaxUID", "")) or _implied_syntax(header)
    for index in range(frames):
        groups = _Groups(header, shared, _group(per_frame, index))
        slope = groups.number("PixelValueTransformationSequence", "RescaleSlope", file, default=1.0)
        if slope == 0:
            raise VolumeError("its RescaleSlope is 0", where=file, mend="export the series again")
        spacing = groups.numbers("PixelMeasuresSequence", "PixelSpacing", 2, file)
        detector = None if spacing else groups.numbers("", "ImagerPixelSpacing", 2, file)
        image_type = groups.value("", "ImageType")
        yield Plane(
            file=str(file),
            frame=index,
            frames=frames,
            uid=str(header.get("SOPInstanceUID", "")),
            series=str(header.get("SeriesInstanceUID", "")),
            modality=str(header.get("Modality", "") or "?")[:16],
            sop_class=sop_class,
            image_type=tuple(
                str(part).upper() for part in ([image_type] if isinstance(image_type, str) else image_type or ())
            ),
            number=_integer(header, "InstanceNumber", file, default=0),
            shape=(rows, columns),
            bits=bits,
            allocated=allocated,
            signed=signed,
            floating=sop_class.endswith(".30") and "PixelRepresentation" not in header,
            samples=samples,
            photometric=str(header.get("PhotometricInterpretation", "MONOCHROME2")),
            syntax=syntax,
            position=groups.numbers("PlanePositionSequence", "ImagePositionPatient", 3, file),
            orientation=groups.numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6, file),
            spacing=spacing or detector,
            spacing_at_detector=detector is not None,
            thickness=groups.number("PixelMeasuresSequence", "SliceThickness", file),
            between=groups.number("PixelMeasuresSequence", "SpacingBetweenSlices", file),
            frame_of_reference=str(header.get("FrameOfReferenceUID", "") or ""),
            slope=slope,
            intercept=groups.number("PixelValueTransformationSequence", "RescaleIntercept", file, default=0.0),
            padding=_padding(header, bits, signed),
            lossy=str(header.get("LossyImageCompression", "")) == "01",
            marks=tuple(groups.marks()),
        )


class _Groups:
    """Where an attribute of a frame can stand: its own functional group, the shared one, the file's root."""

    def __init__(self, root: Dataset, shared: Dataset | None, own: Dataset | None) -> None:
        self._root = root
        self._groups = [group for group in (own, shared) if group is not None]

    def value(self, sequence: str, keyword: str) -> Any:
        for group in self._groups:
            item = _group(group.get(sequence), 0) if sequence else None
            if item is not None and item.get(keyword) is not None:
                return item.get(keyword)
        return self._root.get(keyword)

    def numbers(self, sequence: str, keyword: str, count: int, file: Path) -> tuple[float, ...] | None:
        value = self.value(sequence, keyword)
        if value is None or value == "":
            return None
        numbers = tuple(float(x) for x in np.atleast_1d(value))
        if len(numbers) != count or not np.isfinite(numbers).all():
            raise VolumeError(f"its {keyword} is not {count} numbers", where=file, mend="export the series again")
        return numbers

    def number(self, sequence: str, keyword: str, file: Path, default: float | None = None) -> Any:
        numbers = self.numbers(sequence, keyword, 1, file)
        return default if numbers is None else numbers[0]

    def marks(self) -> Iterator[tuple[str, str]]:
        """What may tell this plane from others in its place."""
        content = next(
            (_group(g.get("FrameContentSequence"), 0) for g in self._groups if "FrameContentSequence" in g), None
        )
        if content is not None:
            for name, keyword in (("stack", "StackID"), ("time point", "TemporalPositionIndex")):
                if content.get(keyword) is not None:
                    yield name, str(content.get(keyword))
        for sequence, keyword, name in (
            ("MRDiffusionSequence", "DiffusionBValue", "b-value"),
            ("MREchoSequence", "EffectiveEchoTime", "echo time"),
        ):
            if self._groups and (value := self.value(sequence, keyword)) is not None:
                yield name, str(value)
        for name, keyword in MARKS:
            value = self._root.get(keyword)
            if value is not None and value != "":
                yield name, value if isinstance(value, str) else "/".join(str(part) for part in np.atleast_1d(value))


def _group(sequence: Any, index: int) -> Dataset | None:
    return sequence[index] if sequence is not None and len(sequence) > index else None


def _integer(header: Dataset, keyword: str, file: Path, default: int | None = None) -> int:
    value = header.get(keyword)
    if value is None or value == "":
        if default is None:
            raise VolumeError(f"has no {keyword}", where=file, mend="export the series again")
        return default
    return int(value)


def _padding(header: Dataset, bits: int, signed: bool) -> float | None:
    value = header.get("PixelPaddingValue")
    if value is None:
        return None
    number = int(value)
    # some writers store the bits of a negative value as an unsigned one
    return float(number - (1 << bits) if signed and number >= 1 << (bits - 1) else number)


def _implied_syntax(header: Dataset) -> str:
    """The transfer syntax of a file without file meta information."""
    implicit, little = header.original_encoding
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"
