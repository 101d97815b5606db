"""What a case's files hold, remembered, so that a later run can tell whether they are still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from volseg.data.cohort import Case
from volseg.errors import CohortError

_BLOCK = 1 << 20


@dataclass(frozen=True)
class Content:
    """One file, or the folder of a series: its size, when it was written, and the hash of its bytes."""

    size: int
    modified: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Content:
        """The content of a file or folder.

        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp(), "a")
        >>> _ = file.write_bytes(b"abc")
        >>> Content.of(file).sha256[:8]
        'ba7816bf'
        """
        size, modified = _stamp(path)
        return cls(size, modified, _digest(path))

    def still_of(self, path: Path) -> bool:
        """Whether the path holds the same bytes; they are only read where its size or date do not settle it."""
        size, modified = _stamp(path)
        if size != self.size:
            return False
        return modified == self.modified or _digest(path) == self.sha256


def contents_of(case: Case) -> dict[str, Content]:
    """Every file of a case by its part in it: ``image 0``, ``image 1``, …, ``label``."""
    return {part: Content.of(path) for part, path in _parts(case).items()}


def changed_parts(cases: Sequence[Case], before: Mapping[str, Mapping[str, Content]]) -> list[str]:
    """One line for each case that came, went or changed since ``before``."""
    now = {case.name: case for case in cases}
    told = [f"{name} is gone" for name in before if name not in now]
    told += [f"{name} is new" for name in now if name not in before]
    for name, parts in before.items():
        if name not in now:
            continue
        paths = _parts(now[name])
        if paths.keys() != parts.keys():
            told.append(f"{name} has other files")
            continue
        told += [f"{name}: {paths[part].name} has changed" for part in parts if not parts[part].still_of(paths[part])]
    return told


def to_plain(contents: Mapping[str, Mapping[str, Content]]) -> dict[str, Any]:
    """Plain data, for JSON."""
    return {name: {part: asdict(content) for part, content in parts.items()} for name, parts in contents.items()}


def from_plain(stored: Mapping[str, Any]) -> dict[str, dict[str, Content]]:
    """What :func:`to_plain` gave."""
    return {name: {part: Content(**content) for part, content in parts.items()} for name, parts in stored.items()}


def _parts(case: Case) -> dict[str, Path]:
    parts = {f"image {channel}": path for channel, path in enumerate(case.images)}
    return parts if case.label is None else {**parts, "label": case.label}


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stats = [file.stat() for file in _files(path)]
    except OSError as error:
        raise CohortError(f"cannot be read ({error.strerror})", where=path) from error
    return sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0)


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    try:
        for file in _files(path):
            with file.open("rb") as opened:
                while block := opened.read(_BLOCK):
                    found.update(block)
    except OSError as error:
        raise CohortError(f"cannot be read ({error.strerror})", where=path) from error
    return found.hexdigest()
