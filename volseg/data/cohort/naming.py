"""What the names of files tell."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePath

from volseg.errors import printable
from volseg.io.formats import ending

#: what a label map's name adds to its image's
LABEL_SUFFIXES = (
    "_gt",
    "_seg",
    "_segmentation",
    "_label",
    "_labels",
    "_mask",
    "_masks",
    "_instances",
    "-seg",
    "-label",
)

#: a truth or a whole cine whenever it is found in a folder: an input only when it is named itself
_TRUTH, _CINE = "_gt", "_4d"

# one patient's several images: frames, moments, visits, slices
_PART = re.compile(r"[_-](?:frame|t|time|slice|visit|ses-?|ed|es|pre|post|4d)[_-]?[0-9]*(?=$|[_-])", re.IGNORECASE)


def stem(path: PurePath) -> str:
    """A file's name without the ending of its format; any other dot belongs to the name.

    >>> stem(PurePath("scans/case.1.nii.gz")), stem(PurePath("notes.v2"))
    ('case.1', 'notes.v2')
    """
    end = ending(path)
    return path.name[: -len(end)] if end and len(path.name) > len(end) else path.name


def natural(text: str) -> tuple[tuple[str | int, ...], str]:
    """A sorting key that counts as people do.

    >>> sorted(["10.png", "2.png", "a.png"], key=natural)
    ['2.png', '10.png', 'a.png']
    """
    # words and numbers take turns, so words only ever meet words
    pieces = re.split(r"([0-9]+)", text)
    return tuple(int(piece) if place % 2 else piece for place, piece in enumerate(pieces)), text


def is_truth(name: str) -> bool:
    """Whether a stem says that the file is a truth.

    >>> is_truth("patient001_frame01_gt"), is_truth("gt")
    (True, False)
    """
    return name.lower().endswith(_TRUTH) and len(name) > len(_TRUTH)


def is_cine(name: str) -> bool:
    """Whether a stem says that the file is a whole cine."""
    return name.lower().endswith(_CINE) and len(name) > len(_CINE)


def labelled_stem(name: str) -> str | None:
    """The image's stem that a label map's stem names, or None if it names none.

    >>> labelled_stem("p1/ct_seg"), labelled_stem("p1/ct")
    ('p1/ct', None)
    """
    for suffix in LABEL_SUFFIXES:
        base = name[: -len(suffix)]
        if name.lower().endswith(suffix) and base and not base.endswith("/"):
            return base
    return None


def patient_of(name: str) -> str:
    """The patient that a case's name tells: all of it, less what tells images of one patient apart.

    >>> patient_of("patient001_frame12"), patient_of("sub-07_ses-2_T2w"), patient_of("hippocampus_003")
    ('patient001', 'sub-07', 'hippocampus_003')
    """
    base = name.rsplit("/", 1)[-1]
    if bids := re.match(r"sub-[A-Za-z0-9]+", base):
        return bids.group()
    found = _PART.search(base)
    return base[: found.start()] if found and found.start() > 0 else base


def listed(names: Iterable[object], most: int = 5) -> str:
    """A few names for an error or a note, control characters shown.

    >>> listed("abcdefg", most=3)
    'a, b, c and 4 more'
    """
    shown = [printable(str(name)) for name in names]
    rest = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {rest} more" if rest > 0 else "")


def counted(number: int, what: str) -> str:
    """A count in words.

    >>> counted(1, "file"), counted(3, "file")
    ('1 file', '3 files')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"
