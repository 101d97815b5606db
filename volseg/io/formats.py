"""Which format a file is in: its name and its content must agree, and one reader is chosen."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from volseg.errors import VolumeError
from volseg.io.byte_stream import unreadable

Kind = Literal["nifti", "nrrd", "metaimage", "mgh", "picture", "dicom"]


@dataclass(frozen=True)
class Format:
    """A format and the name endings it goes by."""

    kind: Kind
    title: str
    compressed: bool = False


# Endings, longest first where one ends with another.
ENDINGS: dict[str, Format] = {
    ".nii.gz": Format("nifti", "gzip-compressed NIfTI", compressed=True),
    ".img.gz": Format("nifti", "gzip-compressed NIfTI pair", compressed=True),
    ".hdr.gz": Format("nifti", "gzip-compressed NIfTI pair", compressed=True),
    ".nii": Format("nifti", "NIfTI"),
    ".img": Format("nifti", "NIfTI pair"),
    ".hdr": Format("nifti", "NIfTI pair"),
    ".nrrd": Format("nrrd", "NRRD"),
    ".nhdr": Format("nrrd", "NRRD with detached data"),
    ".mha": Format("metaimage", "MetaImage"),
    ".mhd": Format("metaimage", "MetaImage with detached data"),
    ".mgz": Format("mgh", "gzip-compressed MGH", compressed=True),
    ".mgh": Format("mgh", "MGH"),
    ".png": Format("picture", "PNG"),
    ".tiff": Format("picture", "TIFF"),
    ".tif": Format("picture", "TIFF"),
    ".dcm": Format("dicom", "DICOM"),
    ".dicom": Format("dicom", "DICOM"),
    ".ima": Format("dicom", "DICOM"),
}

#: of pictures, which are 2-D and say nothing of space
PICTURES = frozenset(end for end, form in ENDINGS.items() if form.kind == "picture")

_GZIP = "gzip data"
#: how a file is called that has the header of NIfTI but not its mark
ANALYZE = "an Analyze 7.5 header"

# What a file begins with, in words; kinds that we read come with their kind.
_BEGINNINGS: tuple[tuple[int, bytes, str, Kind | None], ...] = (
    (0, b"\x1f\x8b", _GZIP, None),
    (0, b"NRRD000", "NRRD", "nrrd"),
    (0, b"\x89PNG\r\n\x1a\n", "a PNG picture", "picture"),
    (0, b"II*\0", "a TIFF picture", "picture"),
    (0, b"MM\0*", "a TIFF picture", "picture"),
    (0, b"II+\0", "a TIFF picture", "picture"),
    (0, b"MM\0+", "a TIFF picture", "picture"),
    (128, b"DICM", "DICOM", "dicom"),
    (344, b"n+1\0", "NIfTI-1", "nifti"),
    (344, b"ni1\0", "a NIfTI-1 header", "nifti"),
    (4, b"n+2\0", "NIfTI-2", "nifti"),
    (4, b"ni2\0", "a NIfTI-2 header", "nifti"),
    (0, b"\xff\xd8\xff", "a JPEG picture", None),
    (0, b"GIF8", "a GIF picture", None),
    (0, b"PK\x03\x04", "a zip archive", None),
    (0, b"BZh", "bzip2 data", None),
    (0, b"\xfd7zXZ", "xz data", None),
    (0, b"\x28\xb5\x2f\xfd", "zstd data", None),
    (0, b"\x89HDF", "HDF5", None),
    (0, b"\x93NUMPY", "a numpy array", None),
    (0, b"%PDF", "a PDF document", None),
    (0, b"version https://git-lfs", "a Git LFS pointer instead of the data", None),
)

_META_FIELD = re.compile(rb"^(?:[ -~\t\r\n]{0,400}\n)?NDims\s*=")

HEAD = 560  # enough for every beginning above, and for a whole NIfTI header


def ending(path: str | os.PathLike[str]) -> str:
    """The ending of a name by which its format goes, or an empty text.

    >>> ending("ct/Case.1.NII.gz")
    '.nii.gz'
    """
    name = Path(path).name.lower()
    return next((end for end in ENDINGS if name.endswith(end)), "")


def content(head: bytes) -> tuple[str, Kind | None]:
    """What the first bytes of a file say it is: in words, and the kind if it is one we read.

    >>> content(b"<!DOCTYPE html><title>404</title>")
    ('an HTML page', None)
    """
    if not head:
        return "empty (0 bytes)", None
    for at, magic, title, kind in _BEGINNINGS:
        if head[at : at + len(magic)] == magic:
            return title, kind
    if head[:4] in (b"\x5c\x01\0\0", b"\0\0\x01\x5c"):
        return ANALYZE, None
    if head[:4] == b"\0\0\0\x01" and len(head) >= 284:
        return "MGH", "mgh"
    if not any(head):
        return "nothing but zeros", None
    if _META_FIELD.search(head):  # its text may be followed by voxels at once
        return "MetaImage", "metaimage"
    return _text(head)


def identify(path: Path) -> Format:
    """The format of a file by name and content, which must agree.

    Raises:
        VolumeError: if they do not, naming what the file is instead.
    """
    if path.is_dir():
        return ENDINGS[".dcm"]
    try:
        if path.exists() and not path.is_file():  # opening a pipe waits for its writer, a device never ends
            raise VolumeError("is no plain file but a pipe, a socket or a device", where=path)
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError as error:
        what = "is a link to a file that does not exist" if path.is_symlink() else "does not exist"
        raise VolumeError(what, where=path) from error
    except OSError as error:
        raise unreadable(error, path) from error
    title, kind = content(head)
    end = ending(path)
    named = ENDINGS.get(end)
    if not head:
        raise VolumeError("empty (0 bytes)", where=path, mend="copy or export it again")
    if kind == "dicom" and (named is None or named.kind == "dicom"):
        return ENDINGS[".dcm"]
    if named is None:
        return _unnamed(path, title)
    if named.kind == "dicom":
        return named  # without the customary preamble; the DICOM reader judges
    if named.compressed and title != _GZIP:
        raise VolumeError(f"named {end} but not gzip: it is {title}", where=path, mend=_rename(path, end, kind))
    if not named.compressed and title == _GZIP:
        raise VolumeError(f"named {end} but it is gzip data", where=path, mend=_rename_packed(path, end))
    if named.kind == "nifti" and title == ANALYZE:
        return named  # an Analyze file bears its rightful name; the NIfTI reader says what is wrong with it
    if not (named.compressed or kind == named.kind or end in (".img",)):
        mend = "give it the name of what it is" if kind else "copy or export it again"
        raise VolumeError(f"named {end} but it is {title}", where=path, mend=mend)
    return named


def _unnamed(path: Path, title: str) -> Format:
    from volseg.io.dicom import is_dicom

    if is_dicom(path):
        return ENDINGS[".dcm"]
    known = " ".join(dict.fromkeys(ENDINGS))
    raise VolumeError(f"no format is known by that name (it is {title})", where=path, mend=f"known are {known}")


def _rename(path: Path, end: str, kind: Kind | None) -> str:
    if kind == ENDINGS[end].kind:
        plain = ".mgh" if end == ".mgz" else end.removesuffix(".gz")
        return f"rename it to {path.name[: -len(end)]}{plain}"
    return "copy or export it again"


def _rename_packed(path: Path, end: str) -> str:
    packed = {".nii": ".nii.gz", ".img": ".img.gz", ".hdr": ".hdr.gz", ".mgh": ".mgz"}.get(end)
    return f"rename it to {path.name[: -len(end)]}{packed}" if packed else "unpack it first"


def _text(head: bytes) -> tuple[str, Kind | None]:
    try:
        words = head.decode("utf-8", errors="strict" if len(head) < HEAD else "ignore").lstrip("\ufeff \r\n\t")
    except UnicodeDecodeError:
        return "binary data of no known kind", None
    if any(ord(c) < 32 and c not in "\r\n\t" for c in words):
        return "binary data of no known kind", None
    if words[:200].lower().startswith(("<!doctype html", "<html")):
        return "an HTML page", None
    return ("XML" if words.startswith("<") else "plain text"), None
