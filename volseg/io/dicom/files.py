"""Which files are DICOM, told by their first bytes alone: safe to ask of anything."""

from __future__ import annotations

import struct
from pathlib import Path

from volseg.errors import VolumeError

_PREAMBLE = 128
# Without the 128-byte preamble a file starts with an element of group 0002 or 0008: a small number, a short length.
_FIRST_GROUPS = (0x0002, 0x0008)
# The class of an object is element 0002,0002, among the first behind the preamble.
_META = 1024
_CLASS = b"\x02\0\x02\0UI"
_SEGMENTATIONS = (b"1.2.840.10008.5.1.4.1.1.66.4", b"1.2.840.10008.5.1.4.1.1.66.7")


def is_dicom(path: str | Path) -> bool:
    """Whether a file is DICOM, or a folder holds at least one such file (its subfolders are not looked into).

    >>> is_dicom("no/such/file")
    False
    """
    path = Path(path)
    if path.is_dir():
        return any(_starts_as_dicom(file) for file in plain_files(path))
    return path.is_file() and _starts_as_dicom(path)


def is_segmentation(path: str | Path) -> bool:
    """Whether a file says in its first bytes that it is a DICOM-SEG.

    >>> is_segmentation("mask.nii.gz")
    False
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(_META)
    except OSError:
        return False
    before, found, rest = start.partition(_CLASS)
    if not found or before[_PREAMBLE : _PREAMBLE + 4] != b"DICM":
        return False
    return rest[2 : 2 + int.from_bytes(rest[:2], "little")].rstrip(b"\0 ") in _SEGMENTATIONS


def plain_files(folder: Path) -> list[Path]:
    """The files directly in a folder, by name, without the hidden ones that operating systems leave behind."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise VolumeError(f"cannot be listed: {error.strerror}", where=folder) from error
    return [file for file in inside if not file.name.startswith(".") and file.is_file()]


def _starts_as_dicom(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            start = stream.read(_PREAMBLE + 4)
    except OSError:
        return False  # who goes on to read it learns why it cannot be read
    return start[_PREAMBLE:] == b"DICM" or _starts_as_bare_dataset(start)


def _starts_as_bare_dataset(start: bytes) -> bool:
    """A dataset without preamble: group, element, then an explicit VR or a small implicit length."""
    if len(start) < 12:
        return False
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    (length,) = struct.unpack_from("<I", start, 4)
    orders = "<>" if explicit else "<" if length <= 128 else ""  # the larger byte first: always with explicit VR
    return any(
        group in _FIRST_GROUPS and element <= 0x0100
        for group, element in (struct.unpack_from(f"{order}HH", start) for order in orders)
    )
