"""Everything below a folder that may be an image, in natural order."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from volseg.data.cohort.naming import counted, natural, stem
from volseg.errors import CohortError
from volseg.io.dicom import is_dicom
from volseg.io.formats import ENDINGS, PICTURES, ending

# Beside the images of some layout, and no images.
_COMPANIONS = {"info.cfg", "dataset.json", "phantom.json", "dicomdir", "thumbs.db", "desktop.ini"}
# What `volseg predict` writes beside its masks; a run in parts writes a summary for each.
_COMPANIONS |= {"summary.json", "labels.ctbl", "labels.itksnap.txt"}
_SUMMARY_OF_A_PART = re.compile(r"summary-\d+-of-\d+\.json")
_IGNORED_FOLDERS = {"__macosx"}
# The voxels of a header that lies beside them.
_DETACHED = {".raw", ".zraw", ".raw.gz"}
_DICOM = {end for end, form in ENDINGS.items() if form.kind == "dicom"}


@dataclass(frozen=True)
class Item:
    """A file or a DICOM folder that may be an image; ``name`` is its path below the root, without the ending."""

    path: Path
    name: str
    dicom: bool = False

    @property
    def base(self) -> str:
        """The name without the folders."""
        return self.name.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Listing:
    """What lies below a folder."""

    root: Path
    items: tuple[Item, ...]
    #: what is no image, by its path
    strange: tuple[Path, ...]
    #: how many 2-D pictures lie among volumes: figures and previews, not cases
    pictures: int = 0

    def notes(self) -> tuple[str, ...]:
        """A line on what was left out, if anything."""
        said = f"{counted(self.pictures, 'picture')} among volumes left out: name the file or a folder of pictures"
        seen = (said,) if self.pictures else ()
        if not self.strange:
            return seen
        kinds = Counter("".join(path.suffixes[-1:]).lower() or "no ending" for path in self.strange)
        shown = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda k: (-k[1], k[0]))[:5])
        return (
            *seen,
            f"{counted(len(self.strange), 'file')} not understood as images and left out ({shown})",
        )


def list_images(root: Path) -> Listing:
    """Walk a folder. What operating systems leave behind (``._x``, ``.DS_Store``) is not even counted.

    A broken link, an unreadable file or an unreadable folder stays in the list: as a case it fails by itself, with
    its reason, where leaving it out would lose it without a word.
    """
    items: list[Item] = []
    strange: list[Path] = []
    _walk(root, "", items, strange, frozenset())
    others = [item for item in items if ending(item.path) not in PICTURES]
    if any(item.dicom or ending(item.path) for item in others):  # a folder that cannot be listed tells nothing
        return Listing(root, tuple(others), tuple(strange), len(items) - len(others))
    return Listing(root, tuple(items), tuple(strange))


def folders(root: Path) -> list[Path]:
    """The folders directly below a folder, in natural order, hidden ones left out."""
    return [path for path in _entries(root) if is_folder(path)]


def is_there(path: Path) -> bool:
    """Whether something has this name; a broken link or a file that may not be seen fails by itself when it is read."""
    try:
        return path.exists() or path.is_symlink()
    except OSError:
        return True


def is_folder(path: Path) -> bool:
    """Whether this is a folder; what may not be seen is none, and fails by itself when it is read."""
    try:
        return path.is_dir()
    except OSError:
        return False


def strangers(folder: Path) -> tuple[Path, ...]:
    """Files directly in a folder that belong to no layout."""
    return tuple(path for path in _entries(folder) if not is_folder(path) and not _is_companion(path.name))


def _walk(folder: Path, above: str, items: list[Item], strange: list[Path], seen: frozenset[Path]) -> None:
    real = folder.resolve()
    if real in seen:  # a link that leads back up
        return
    try:
        entries = _entries(folder)
    except CohortError:
        if not above:
            raise
        items.append(Item(folder, above.removesuffix("/")))
        return
    files = [path for path in entries if not is_folder(path)]
    images, rest = _images(files)
    slices = [path for path in rest if ending(path) in _DICOM or _starts_as_dicom(path)]
    # slices of a series are one item, the folder; where images lie beside them they are still one series
    if slices:
        items.append(Item(folder, above.removesuffix("/") or _own_name(folder), dicom=True))
    items.extend(Item(path, above + stem(path)) for path in images)
    gone = set(slices)
    strange.extend(path for path in rest if path not in gone)
    for path in entries:
        if is_folder(path) and path.name.lower() not in _IGNORED_FOLDERS:
            _walk(path, f"{above}{path.name}/", items, strange, seen | {real})


def _starts_as_dicom(path: Path) -> bool:
    try:
        return is_dicom(path)
    except OSError:  # a file that may not be seen, and whose name promises no image
        return False


def _is_companion(name: str) -> bool:
    return name.lower() in _COMPANIONS or _SUMMARY_OF_A_PART.fullmatch(name) is not None


def _images(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """Volumes, and what is left to look at; voxels that a header beside them describes are neither."""
    headers = {path.name.lower() for path in files}
    images: list[Path] = []
    rest: list[Path] = []
    for path in files:
        name, end = path.name.lower(), ending(path)
        if _is_companion(name):
            continue
        if end in (".img", ".img.gz") and name.replace(".img", ".hdr") in headers:
            continue
        if any(name.endswith(raw) for raw in _DETACHED) and any(n.endswith((".mhd", ".nhdr")) for n in headers):
            continue
        (images if end and end not in _DICOM else rest).append(path)
    return images, rest


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise CohortError(f"cannot be listed: {error.strerror}", where=folder) from error
    return [folder / name for name in sorted(names, key=natural)]


def _own_name(folder: Path) -> str:
    return folder.name or folder.resolve().name or "series"
