"""Cases listed in a CSV: the way out wherever names do not tell."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from volseg.data.cohort.case import Case, Cohort, split_named
from volseg.data.cohort.listing import is_there
from volseg.data.cohort.naming import counted, listed, natural, patient_of, stem
from volseg.errors import CohortError, nearest, printable

_COLUMNS = ("name", "image", "label", "instances", "patient", "group", "split", "frame")
_IMAGE = re.compile(r"image_?[0-9]*$")


def find_table(path: Path, *, pair: bool) -> Cohort:
    """One case per row; paths are relative to the CSV's folder.

    Columns: ``image`` (or ``image_0``, ``image_1``, … for channels), and as there is need ``label`` or ``instances``,
    ``name``, ``patient``, ``group``, ``split`` (train, validation, test), ``frame`` (from 0). Others are left alone.
    """
    rows, columns = _rows(path)
    cases, missing = [], []
    for line, row in rows:
        case = _case(path, line, row, columns, pair=pair)
        files = (*case.images, *(() if case.label is None else (case.label,)))
        missing += [f"{file} (line {line})" for file in files if not is_there(file)]
        cases.append(case)
    if missing:
        raise CohortError(
            f"{counted(len(missing), 'file')} cannot be found: {listed(missing)}",
            where=path,
            mend="paths are relative to the CSV's folder",
        )
    others = [column for column in columns if column not in _COLUMNS and not _IMAGE.match(column)]
    notes = (f"{counted(len(others), 'column')} of the CSV not used: {listed(others)}",) if others else ()
    return Cohort(path, "CSV", tuple(cases), notes)


def _rows(path: Path) -> tuple[list[tuple[int, Mapping[str, str]]], list[str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CohortError(f"cannot be read as UTF-8 text: {error}", where=path) from error
    head = text.split("\n", 1)[0]
    separator = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = [word.strip().lower() for word in next(reader, [])]
        _check_columns(path, columns)
        rows = list(_filled(path, reader, columns))
    except csv.Error as error:
        raise CohortError(f"line {reader.line_num} is no CSV: {error}", where=path) from error
    return rows, columns


def _filled(path: Path, reader: Iterator[list[str]], columns: list[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    for words in reader:
        line = reader.line_num  # type: ignore[attr-defined]
        if not any(word.strip() for word in words):
            continue
        if len(words) != len(columns):
            raise CohortError(f"line {line} has {len(words)} fields, the head has {len(columns)}", where=path)
        yield line, {column: word.strip() for column, word in zip(columns, words, strict=True)}


def _check_columns(path: Path, columns: list[str]) -> None:
    images = [column for column in columns if _IMAGE.match(column)]
    if not images:
        near = next((column for column in columns if nearest(column, ["image"])), None)
        raise CohortError(
            f"has no column image (it has {listed(columns)})",
            where=path,
            mend=f"rename {near!r}" if near else "the first line names the columns: image,label,patient,…",
        )
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise CohortError(f"names the column {listed(twice)} twice", where=path)
    if "label" in columns and "instances" in columns:
        raise CohortError("has both a column label and a column instances", where=path, mend="keep one of them")


def _case(path: Path, line: int, row: Mapping[str, str], columns: list[str], *, pair: bool) -> Case:
    channels = sorted((column for column in columns if _IMAGE.match(column)), key=natural)
    images = tuple(path.parent / row[column] for column in channels if row[column])
    if len(images) < len(channels):
        raise CohortError(f"line {line} names no {listed(c for c in channels if not row[c])}", where=path)
    truth = row.get("label") or row.get("instances")
    split = split_named(row["split"]) if row.get("split") else None
    if row.get("split") and split is None:
        raise CohortError(
            f"line {line}: split {printable(row['split'])!r} is none of train, validation, test", where=path
        )
    frame = row.get("frame") or None
    if frame is not None and not (frame.isascii() and frame.isdecimal()):
        raise CohortError(f"line {line}: frame {printable(frame)!r} is no number from 0 on", where=path)
    name = row.get("name") or stem(images[0]) + (f"_t{int(frame):03d}" if frame else "")
    return Case(
        name,
        images,
        path.parent / truth if truth and pair else None,
        row.get("patient") or patient_of(stem(images[0])),
        row.get("group") or None,
        None if frame is None else int(frame),
        split=split,
        instances=bool(row.get("instances")) and pair,
    )
