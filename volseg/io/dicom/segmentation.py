"""The child's jobs for DICOM-SEG: written beside its source series, and read back.

Patient and study pass from the source into the new object, as the standard demands, and nowhere else.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from volseg import __version__
from volseg.errors import VolumeError
from volseg.geometry import Grid
from volseg.io.dicom.headers import Plane, read_header
from volseg.io.dicom.placement import LPS_TO_RAS, place
from volseg.io.dicom.reading import find, without_copies
from volseg.io.dicom.worker import limit

ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
# Structures that stand for a disease: neoplasm, mass, lesion, nodule, necrosis, oedema, cyst, haemorrhage, thrombus,
# enhancing tumour. All other codes are taken for anatomy.
_ABNORMAL_CODES = frozenset(
    ("108369006", "4147007", "52988006", "27925004", "6574001", "79654002", "441457006", "50960005", "396339007")
)
# What an image need not carry but a segmentation must repeat, empty if unknown.
_MAY_BE_MISSING = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
_SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


def write_job(request: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the segment numbers in the shared memory into a DICOM-SEG file, left in the same place."""
    stack, _ = find(request)
    kept, _ = without_copies(stack.planes)
    placed = place(kept)
    rows, columns = placed.planes[0].shape
    flat = placed.planes[0].position is None
    shape = (columns, rows) if flat else (columns, rows, len(placed.planes))
    Grid(shape, placed.affine).require_same(
        Grid(tuple(request["shape"]), np.array(request["affine"])), where=None, what="the series and the mask"
    )
    count = rows * columns * len(placed.planes)
    limit(memory=int(request["memory"]) + count * (16 + 2 * len(request["segments"])))
    shared = int(request["shared"])
    numbers = _array(shared, np.dtype(request["dtype"]), (len(placed.planes), rows, columns))
    thickness = float(np.linalg.norm(placed.affine[:3, -2]))
    sources, order = _sources(placed.planes, thickness)
    try:
        segmentation = _build(sources, numbers[order], request)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise VolumeError(
            f"its headers do not allow a DICOM-SEG beside it ({type(error).__name__})",
            mend="choose another format, such as nii.gz",
        ) from error
    if flat and "PatientOrientation" in sources[0]:
        segmentation.PatientOrientation = sources[0].PatientOrientation  # all that is known of a radiograph's place
    with os.fdopen(os.dup(shared), "r+b") as stream:
        stream.seek(0)
        stream.truncate()
        segmentation.save_as(stream, enforce_file_format=True)
    return {"frames": int(segmentation.NumberOfFrames)}


def read_job(request: Mapping[str, Any]) -> dict[str, Any]:
    """The segments of a DICOM-SEG file as one label map in the shared memory, and what its values mean."""
    file = Path(request["file"])
    header = read_header(file, ["SOPClassUID", "Rows", "Columns", "NumberOfFrames", "SegmentationType"])
    if str(header.get("SOPClassUID", "")) not in _SEG_CLASSES:
        raise VolumeError("is no DICOM segmentation (SEG)", where=file)
    if header.get("SegmentationType") == "FRACTIONAL":
        raise VolumeError("holds fractions, not labels", where=file, mend="give a binary or label-map segmentation")
    claimed = int(header.Rows) * int(header.Columns) * int(header.get("NumberOfFrames", 1))
    if claimed // 8 > 1000 * file.stat().st_size:
        raise VolumeError(f"says it holds {claimed} pixels, far more than its size allows", where=file)
    limit(memory=int(request["memory"]) + 24 * claimed)
    segmentation = hd.seg.segread(file)
    numbers, affine = _label_map(segmentation, file)
    with os.fdopen(os.dup(int(request["shared"])), "r+b") as stream:
        stream.write(np.ascontiguousarray(numbers).tobytes())
    return {
        "shape": list(numbers.shape[::-1]),
        "dtype": numbers.dtype.name,
        "affine": affine.tolist(),
        "segments": [_described(segmentation, number) for number in segmentation.segment_numbers],
    }


def _array(shared: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    needed = dtype.itemsize * int(np.prod(shape))
    if os.fstat(shared).st_size != needed:
        raise VolumeError("the mask did not arrive whole")
    with mmap.mmap(shared, needed) as memory:
        return np.frombuffer(memory, dtype).reshape(shape).copy()


def _sources(planes: Sequence[Plane], thickness: float) -> tuple[list[Dataset], list[int]]:
    """The headers highdicom derives from, and for each of their images the slice of ours that belongs to it."""
    order = list(range(len(planes)))
    if planes[0].frames > 1:
        if len({plane.file for plane in planes}) > 1 or len(planes) != planes[0].frames:
            raise VolumeError(
                "a DICOM-SEG can refer to one whole multi-frame file, not to a part",
                mend="choose another format",
            )
        order = sorted(order, key=lambda index: planes[index].frame)
        planes = planes[:1]
    sources: list[Dataset] = [dcmread(plane.file, stop_before_pixels=True, force=True) for plane in planes]
    for source in sources:
        if "StudyInstanceUID" not in source or (planes[0].position is not None and "FrameOfReferenceUID" not in source):
            raise VolumeError(
                "its headers name no study or frame of reference, which a DICOM-SEG must repeat",
                mend="choose another format",
            )
        for keyword in _MAY_BE_MISSING:
            if keyword not in source:
                setattr(source, keyword, "")
        if planes[0].position is None:
            # highdicom writes the spacing of a radiograph in a way that it cannot read back
            source.pop("PixelSpacing", None)
        elif planes[0].frames == 1 and not source.get("SliceThickness"):
            source.SliceThickness = format(thickness, ".10g")
    return sources, order


def _build(sources: list[Dataset], numbers: npt.NDArray[Any], request: Mapping[str, Any]) -> hd.seg.Segmentation:
    algorithm = hd.AlgorithmIdentificationSequence(
        name="volseg", family=codes.DCM.ArtificialIntelligence, version=__version__
    )
    return hd.seg.Segmentation(
        source_images=sources,
        pixel_array=numbers,
        segmentation_type=str(request["kind"]).upper(),
        segment_descriptions=[_description(segment, algorithm) for segment in request["segments"]],
        series_instance_uid=hd.UID(),
        series_number=int(sources[0].get("SeriesNumber") or 0) + 1000,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="volseg",
        manufacturer_model_name="volseg",
        software_versions=__version__,
        device_serial_number="none",
        content_label="SEGMENTATION",
        content_description="Segmentation by volseg",
        series_description="Segmentation by volseg",
        specific_character_set="ISO_IR 192",  # holds every name of a label, whatever the source is written in
    )


def _description(
    segment: Mapping[str, Any], algorithm: hd.AlgorithmIdentificationSequence
) -> hd.seg.SegmentDescription:
    kind = ANATOMY
    if segment["code"] is not None:
        scheme, value, meaning = segment["code"]
        kind = Code(value, scheme, meaning)
    colour = str(segment["colour"]).lstrip("#")
    return hd.seg.SegmentDescription(
        segment_number=int(segment["number"]),
        segment_label=str(segment["name"]),
        segmented_property_category=ABNORMAL if kind.value in _ABNORMAL_CODES else ANATOMY,
        segmented_property_type=kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        display_color=hd.color.CIELabColor.from_rgb(*bytes.fromhex(colour)),
    )


def _label_map(segmentation: hd.seg.Segmentation, file: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Segment numbers (slice, row, column), or (row, column) where there is no place; and the affine (RAS+)."""
    try:
        if segmentation.coordinate_system is None:
            source = [uid for _, _, uid in segmentation.get_source_image_uids()]
            return segmentation.get_pixels_by_source_instance(source, combine_segments=True)[0], np.diag(
                [-1.0, -1.0, 1.0]
            )
        volume = segmentation.get_volume(combine_segments=True)
    except (RuntimeError, ValueError) as error:
        overlap = "overlap" in str(error).lower()
        raise VolumeError(
            "its segments overlap: a voxel can have one label only" if overlap else "its frames form no regular volume",
            where=file,
        ) from error
    # highdicom counts slices, rows, columns; we count columns, rows, slices
    affine = volume.affine[:, [2, 1, 0, 3]]
    return volume.array, LPS_TO_RAS @ affine + 0.0


def _described(segmentation: hd.seg.Segmentation, number: int) -> dict[str, Any]:
    segment = segmentation.get_segment_description(number)
    kind = segment.segmented_property_type
    return {
        "number": int(number),
        "name": str(segment.segment_label),
        "code": [str(kind.scheme_designator), str(kind.value), str(kind.meaning)],
    }
