"""Reading a DICOM series: the front door. Parsing happens in a child process (see :mod:`volseg.io.dicom.isolate`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volseg.errors import VolumeError
from volseg.geometry import Grid
from volseg.io.dicom.files import plain_files
from volseg.io.dicom.isolate import Answer, Budget, run_isolated
from volseg.io.volume import Outline, Volume

_DTYPES = frozenset(("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"))
_HEADER = ("format", "modality", "series", "sop_class", "transfer_syntax")


@dataclass(frozen=True)
class SeriesInfo:
    """A series in a folder, or a part of one that mixes several: what to ask for, and what it is.

    The description is made of coded facts alone, so that it never holds a patient's name.
    """

    uid: str
    modality: str
    count: int
    description: str


def list_series(path: str | Path) -> tuple[SeriesInfo, ...]:
    """The series in a folder (or in the folder of a file), in the order of their UIDs; localizers are none."""
    request = request_for(Path(path), None)
    answer = run_isolated({**request, "job": "list"}, where=path, budget=budget_of(request))
    try:
        return tuple(
            SeriesInfo(str(s["uid"]), str(s["modality"]), int(s["count"]), str(s["description"]))
            for s in answer.facts["series"]
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _nonsense(path) from error


def read_series(path: str | Path, *, series: str | None = None) -> Volume:
    """Read one DICOM series, given by its folder or by one of its files.

    Axes run along columns, rows and slices, in this order, slices along the normal of the image plane. Values are
    rescaled as the headers say, integers staying integers.

    Args:
        path: a folder with the files of one or more series, or any file of the series.
        series: which one, by its UID, where a folder holds several (see :func:`list_series`).
    """
    path = Path(path)
    request = request_for(path, series)
    answer = run_isolated({**request, "job": "read"}, where=path, budget=budget_of(request))
    return _volume(answer, path)


def outline_series(path: str | Path, *, series: str | None = None) -> Outline:
    """What the headers tell of the volume that :func:`read_series` would give."""
    path = Path(path)
    request = request_for(path, series)
    facts = run_isolated({**request, "job": "outline"}, where=path, budget=budget_of(request)).facts
    try:
        return Outline(_grid(facts), str(facts["modality"]))
    except (KeyError, TypeError, ValueError) as error:
        raise _nonsense(path) from error


def request_for(path: Path, series: str | None) -> dict[str, Any]:
    """What the child needs to know to find a series."""
    if path.is_dir():
        files, named = plain_files(path), None
        if not files:
            raise VolumeError("holds no file", where=path, mend="subfolders are not looked into: name the one you mean")
    elif path.is_file():
        files, named = plain_files(path.parent), path
        if path not in files:
            files.append(path)  # a hidden file that was named is meant
    else:
        raise VolumeError("no such file or folder", where=path)
    return {
        # as they were given: the child works in the same folder, and its errors name files so
        "files": [str(file) for file in files],
        "file": None if named is None else str(named),
        "series": series,
        "where": str(path),
    }


def budget_of(request: Mapping[str, Any]) -> Budget:
    """What reading these files may take."""
    try:
        return Budget.for_files(sum(Path(file).stat().st_size for file in request["files"]))
    except OSError as error:
        raise VolumeError(f"cannot be read: {error.strerror}", where=error.filename or request["where"]) from error


def _volume(answer: Answer, path: Path) -> Volume:
    """The child's answer as a volume; nothing in it is taken on trust."""
    facts = answer.facts
    try:
        grid = _grid(facts)
        dtype = str(facts["dtype"])
        if dtype not in _DTYPES:
            raise ValueError(dtype)
        flat = np.frombuffer(answer.voxels, dtype)
        array = flat.reshape(grid.shape[::-1]).transpose()
        header = {key: str(facts["header"][key]) for key in _HEADER}
        padding = facts["padding"]
        return Volume(
            array,
            grid,
            header=header,
            notes=_texts(facts["notes"]),
            source=path,
            padding=None if padding is None else float(padding),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise _nonsense(path) from error


def _grid(facts: Mapping[str, Any]) -> Grid:
    shape = tuple(int(n) for n in facts["shape"])
    if not 2 <= len(shape) <= 3:
        raise ValueError(shape)
    return Grid(shape, np.array(facts["affine"], dtype=np.float64))


def _texts(notes: Sequence[Any]) -> tuple[str, ...]:
    return tuple(str(note) for note in notes)


def _nonsense(path: object) -> VolumeError:
    return VolumeError(
        "the DICOM reader gave an answer that makes no sense", where=path, mend="export the series again"
    )
