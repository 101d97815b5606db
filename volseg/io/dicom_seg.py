"""Label maps as DICOM-SEG: written beside the DICOM series they belong to, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from volseg.errors import GridMismatch, LabelError, UsageError, VolumeError
from volseg.geometry import Grid
from volseg.io.atomic import atomic_write
from volseg.io.dicom.isolate import Budget, run_isolated
from volseg.io.dicom.series import budget_of, request_for
from volseg.io.volume import Volume
from volseg.labels import Label, Labels

# What DICOM allows in a segment's label (a "long string") and as a segment number (an unsigned short).
_LONGEST_NAME = 64
_LARGEST_NUMBER = 65535
# A voxel of the segmentation lies on the grid when its index is this close to a whole number.
_ON_GRID = 0.05


def write_dicom_seg(
    path: str | Path,
    array: npt.NDArray[Any],
    source: Volume | str | Path,
    labels: Labels,
    *,
    kind: Literal["binary", "labelmap"] = "binary",
    series: str | None = None,
) -> None:
    """Write a label map as a DICOM-SEG object that refers to its source series.

    Segments carry their label's name, colour and code; where a label has no code it is an anatomical structure by that
    name. The background, and voxels of the ignore value, belong to no segment. A binary segmentation numbers its
    segments from 1 in the order of ``labels``, as the standard demands; a label map keeps the values.

    Args:
        path: the file to write; it appears whole or not at all.
        array: label values on the source's grid, axes as :func:`~volseg.io.dicom.read_series` gives them.
        source: the volume that was read from the DICOM series, or the folder or file of the series.
        labels: what the values mean.
        kind: ``binary`` is what every viewer reads; ``labelmap`` is smaller and newer.
        series: which series, where ``source`` is a folder with several.
    """
    if kind not in ("binary", "labelmap"):
        raise UsageError(f"a DICOM-SEG can be binary or labelmap, not {kind!r}")
    if not len(labels):
        raise LabelError("a DICOM-SEG needs at least one label beside the background", where=path)
    volume = source if isinstance(source, Volume) else _opened(source, series)
    if volume.header.get("format") != "DICOM" or volume.source is None:
        raise UsageError(
            "a DICOM-SEG needs a DICOM series as its source", where=path, mend="choose another format, such as nii.gz"
        )
    if array.shape != volume.array.shape:
        raise GridMismatch(f"the mask has the shape {array.shape}, its series {volume.array.shape}", where=path)
    numbered = _numbered(labels, kind, path)
    numbers = _numbers(array, labels, numbered, path)
    request = {
        **request_for(volume.source, str(volume.header["series"])),
        "job": "write_seg",
        "kind": kind,
        "shape": list(array.shape),
        "affine": volume.grid.affine.tolist(),
        "dtype": numbers.dtype.name,
        "segments": [
            {"number": number, "name": label.name, "colour": label.colour, "code": label.code}
            for number, label in numbered
        ],
    }
    budget = budget_of(request)
    room = Budget(budget.memory + 8 * numbers.nbytes, budget.seconds + numbers.nbytes * len(labels) // 1_000_000)
    # slices, rows, columns: as DICOM stores them
    answer = run_isolated(request, where=volume.source, budget=room, voxels=numbers.T.tobytes())
    with atomic_write(path) as file:
        file.write(answer.voxels)


def read_dicom_seg(
    path: str | Path, *, grid: Grid | None = None, labels: Labels | None = None
) -> tuple[Volume, Labels]:
    """Read a DICOM-SEG object as one label map, and what its values mean.

    A DICOM-SEG may leave out empty slices; ``grid`` says where they were.

    Args:
        path: the file.
        grid: give the label map on this grid, that of the source series; else on the smallest one with all segments.
        labels: give each segment the value of the label with its name; else its segment number.
    """
    path = Path(path)
    if not path.is_file():
        raise VolumeError("no such file", where=path)
    budget = Budget.for_files(path.stat().st_size)
    answer = run_isolated({"job": "read_seg", "file": str(path)}, where=path, budget=budget)
    facts = answer.facts
    try:
        shape = tuple(int(n) for n in facts["shape"])
        array = np.frombuffer(answer.voxels, np.dtype(str(facts["dtype"]))).reshape(shape[::-1]).transpose()
        own = Grid(shape, np.array(facts["affine"], dtype=np.float64))
        found = _found(facts["segments"])
    except (KeyError, TypeError, ValueError) as error:
        raise VolumeError("the DICOM reader gave an answer that makes no sense", where=path) from error
    if labels is not None:
        array, found = _renamed(array, found, labels, path), labels
    if grid is not None:
        array, own = _placed(array, own, grid, path), grid
    header = {"format": "DICOM-SEG"}
    return Volume(np.asarray(array, order="F"), own, header=header, source=path), found


def _opened(source: str | Path, series: str | None) -> Volume:
    from volseg.io.dicom.series import read_series

    return read_series(source, series=series)


def _numbered(labels: Labels, kind: str, path: object) -> list[tuple[int, Label]]:
    """Each label with the number of its segment."""
    for label in labels.structures:
        if len(label.name) > _LONGEST_NAME or "\\" in label.name or not label.name.isprintable():
            raise LabelError(
                f"the label name {label.name!r} does not fit DICOM",
                where=path,
                mend=f"use at most {_LONGEST_NAME} printable characters without a backslash",
            )
        if label.value == 0 or label.value > _LARGEST_NUMBER:
            raise LabelError(f"the label value {label.value} does not fit DICOM: 1 to {_LARGEST_NUMBER}", where=path)
    if kind == "labelmap":
        return [(label.value, label) for label in sorted(labels.structures, key=lambda label: label.value)]
    return list(enumerate(labels.structures, start=1))


def _numbers(
    array: npt.NDArray[Any], labels: Labels, numbered: list[tuple[int, Label]], path: object
) -> npt.NDArray[np.unsignedinteger]:
    """The segment number of every voxel, 0 for none."""
    if array.dtype.kind not in "iub":
        raise UsageError(f"a label map holds integers, not {array.dtype}", where=path)
    if array.dtype.kind == "b":
        array = array.view(np.uint8)  # below it is an index, which a mask of booleans is not
    allowed = max((*labels.values, labels.ignore or 0))
    if array.min() < 0 or array.max() > allowed:
        labels.check((int(value) for value in np.unique(array)), where=path)
    labels.check(np.flatnonzero(np.bincount(array.ravel(order="K").astype(np.intp))).tolist(), where=path)
    number_of = {label.value: number for number, label in numbered}
    table = np.zeros(allowed + 1, dtype=np.uint8 if max(number_of.values()) < 256 else np.uint16)
    table[list(number_of)] = list(number_of.values())
    numbers: npt.NDArray[np.unsignedinteger] = table[array]
    return numbers


def _found(segments: list[dict[str, Any]]) -> Labels:
    """The segments as labels; a name that stands twice gets its number behind it."""
    names = [str(segment["name"]) for segment in segments]
    values, codes = {}, {}
    for name, segment in zip(names, segments, strict=True):
        own = name if names.count(name) == 1 else f"{name} {int(segment['number'])}"
        values[own] = int(segment["number"])
        scheme, value, meaning = (str(part) for part in segment["code"])
        codes[own] = (scheme, value, meaning)
    return Labels.of(values, codes=codes)


def _renamed(array: npt.NDArray[Any], found: Labels, labels: Labels, path: object) -> npt.NDArray[Any]:
    """Segment numbers replaced by the values of the labels with their names."""
    table = np.zeros(max((0, *found.values)) + 1, dtype=labels.dtype)
    for segment in found.structures:
        if segment.name not in labels.names:
            raise LabelError(f"holds the segment {segment.name!r}, which is no label", where=path)
        table[segment.value] = labels[segment.name].value
    values: npt.NDArray[Any] = table[array]
    return values


def _placed(array: npt.NDArray[Any], own: Grid, grid: Grid, path: object) -> npt.NDArray[Any]:
    """The label map on the grid it was cut out of: whole slices flipped and moved, nothing interpolated."""
    if own.ndim == 2 and grid.ndim == 2:
        if own.shape != grid.shape:  # without a place in the patient the shape is all there is to compare
            raise GridMismatch(f"the segmentation has the shape {own.shape}, its image {grid.shape}", where=path)
        return array
    if own.ndim != grid.ndim:
        raise GridMismatch(f"the segmentation is {own.ndim}-D, its image {grid.ndim}-D", where=path)
    turn = own.reoriented(grid.axcodes)
    first, last = grid.to_index(turn.target.corners()[[0, -1]])
    begin, end = np.rint(first).astype(int), np.rint(last).astype(int)
    off = max(np.abs(first - begin).max(), np.abs(last - end).max())
    size = np.array(turn.target.shape)
    if off > _ON_GRID or (end - begin + 1 != size).any() or (begin < 0).any() or (end >= grid.shape).any():
        raise GridMismatch("the segmentation does not lie on the image's grid", where=path)
    result = np.zeros(grid.shape, dtype=array.dtype, order="F")
    result[tuple(slice(b, e + 1) for b, e in zip(begin, end, strict=True))] = turn.apply(array)
    return result
