"""NRRD: SimpleITK reads the header; where the bytes are, and whether they are whole, is judged here."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from volseg.errors import VolumeError
from volseg.geometry import Affine
from volseg.io.geometry_check import grid_of_affine, require_plausible
from volseg.io.itk_header import HeaderText, ItkHeader, read_header, to_ras
from volseg.io.plain_volume import PlainVolume
from volseg.io.raw_voxels import Storage, beside
from volseg.io.volume import Outline, ReadOptions, Volume

# Longer headers than this are no headers.
_LONGEST_HEADER = 1 << 20

_KNOWN_SPACES = {
    space
    for names in (
        "right-anterior-superior ras",
        "left-anterior-superior las",
        "left-posterior-superior lps",
    )
    for space in names.split()
}


def outline(path: Path, options: ReadOptions) -> Outline:
    """What the header tells of the volume that :func:`read` would give."""
    return _told(path, options).outline


def read(path: Path, options: ReadOptions) -> Volume:
    """Read a NRRD file, or a .nhdr header with its data file."""
    return _told(path, options).read(options)


def _told(path: Path, options: ReadOptions) -> PlainVolume:
    text = _text(path)
    storage = _storage(path, text)
    header = read_header(path, "NrrdImageIO")
    affine, notes = _affine(path, text, header, options)
    grid = grid_of_affine(header.shape, affine, path)
    notes = (*notes, *require_plausible(grid, options.spacing_range, path))
    dtype = header.dtype.newbyteorder(">" if text.fields.get("endian") == "big" else "<")
    return PlainVolume(path, "nrrd", storage, dtype, grid, notes)


def _text(path: Path) -> HeaderText:
    with path.open("rb") as file:
        head = file.read(_LONGEST_HEADER)
    ends = [(head.find(blank), len(blank)) for blank in (b"\n\n", b"\r\n\r\n")]
    found = min(((at, size) for at, size in ends if at >= 0), default=None)
    if found is None and len(head) == _LONGEST_HEADER:
        raise VolumeError("the header does not end", where=path, mend="copy or export it again")
    stop, end = (len(head), len(head)) if found is None else (found[0], sum(found))
    lines = head[:stop].decode("latin-1").splitlines()[1:]
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(": ")
        if colon and not line.startswith("#") and ":=" not in name:
            fields[name.strip().lower()] = value.strip()
    return HeaderText(fields, end)


def _storage(path: Path, text: HeaderText) -> Storage:
    fields = text.fields
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise VolumeError(
            f"the voxels are encoded as {encoding or 'nothing that is named'}",
            where=path,
            mend="save it again with encoding gzip or raw",
        )
    if _number(path, fields, "line skip", "lineskip"):
        raise VolumeError("lines are to be skipped before the voxels", where=path, mend="save it again as one .nrrd")
    skip = _number(path, fields, "byte skip", "byteskip")
    named = fields.get("data file", fields.get("datafile"))
    data, start = path, text.end
    if named is not None:
        if named.upper().startswith("LIST") or "%" in named:
            raise VolumeError("the voxels are in several files", where=path, mend="save it again as one .nrrd")
        data, start = beside(path, named), 0
    packed = encoding != "raw"
    if skip < -1 or (skip == -1 and packed):
        raise VolumeError(f"byte skip {skip} means nothing here", where=path, mend="save it again as one .nrrd")
    # bytes are skipped after unpacking where the data are packed, and -1 means that the voxels end with the file
    return Storage(data, start, "gzip" if packed else "raw", inner_skip=max(skip, 0), at_end=skip == -1)


def _number(path: Path, fields: dict[str, str], *names: str) -> int:
    text = next((fields[name] for name in names if name in fields), "0")
    try:
        return int(text)
    except ValueError as error:
        raise VolumeError(f"{names[0]} is no number: {text[:20]}", where=path) from error


def _affine(path: Path, text: HeaderText, header: ItkHeader, options: ReadOptions) -> tuple[Affine, tuple[str, ...]]:
    fields = text.fields
    space = fields.get("space", "").lower()
    placed = "space directions" in fields and (space in _KNOWN_SPACES or len(header.shape) == 2)
    if placed:
        return to_ras(header.affine), ()
    if space and space not in _KNOWN_SPACES:
        raise VolumeError(f"the space {space[:40]!r} is not one of a patient", where=path, mend="save it again in LPS")
    if not options.assume_ras:
        raise VolumeError(
            "the header does not say where left and right are (no space and space directions)",
            where=path,
            mend="mend the header, or --assume-ras if it is stored right-anterior-superior",
        )
    note = ("no orientation in the header, taken as RAS",)
    if "space directions" in fields:
        return header.affine, note
    sizes = fields.get("spacings", " ".join("1" for _ in header.shape)).split()
    try:
        spacing = [abs(float(size)) for size in sizes]
    except ValueError as error:
        raise VolumeError(f"the spacings are no numbers: {' '.join(sizes)[:40]}", where=path) from error
    if len(spacing) != len(header.shape) or not all(math.isfinite(s) for s in spacing):
        raise VolumeError(f"the spacings do not fit the image: {' '.join(sizes)[:40]}", where=path)
    return np.diag([*spacing, 1.0]), note
