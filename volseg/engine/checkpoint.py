"""Checkpoints: written whole or not at all, known by their hash, read back as plain tensors."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from volseg.errors import VolsegError, WriteError
from volseg.io.atomic import write_bytes, write_text

INDEX = "index.json"


class CheckpointError(VolsegError, RuntimeError):
    """A training that cannot be taken up again."""


@dataclass(frozen=True)
class Entry:
    """A checkpoint, and the hash by which the index knows it; none where the index itself is lost."""

    name: str
    iteration: int
    sha256: str | None = None


class Checkpoints:
    """The checkpoints of one run: the newest ``keep`` of them.

    The index is written after the file it names and before older files are removed, each step atomic: a process
    killed between any two leaves at least one checkpoint that the index vouches for.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = max(1, keep)

    def save(self, state: Mapping[str, Any], iteration: int) -> Path:
        """Write a checkpoint and forget those too many.

        Raises:
            WriteError: if it could not be written; the older ones are still there.
        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        data = buffer.getvalue()
        self._make_folder()
        entry = Entry(f"iteration-{iteration:09d}.pt", iteration, hashlib.sha256(data).hexdigest())
        write_bytes(self.folder / entry.name, data)
        entries = [*(e for e in self.entries() if e.iteration < iteration), entry][-self.keep :]
        write_text(self.folder / INDEX, json.dumps([asdict(e) for e in entries], indent=1) + "\n")
        self._sweep({e.name for e in entries})
        return self.folder / entry.name

    def entries(self) -> list[Entry]:
        """What the index vouches for, oldest first; without an index that can be read, the files that are there."""
        try:
            return [Entry(**entry) for entry in json.loads((self.folder / INDEX).read_text())]
        except (OSError, ValueError, TypeError):
            paths = sorted(self.folder.glob("iteration-*.pt"))
            return [Entry(path.name, int(path.stem.partition("-")[2])) for path in paths]

    def load(self, device: str | torch.device = "cpu") -> tuple[dict[str, Any] | None, list[str]]:
        """The newest undamaged checkpoint (none if there never was one), and a line for each damaged one before it.

        Raises:
            CheckpointError: if there are checkpoints and every one is damaged.
        """
        told: list[str] = []
        index, entries = self.folder / INDEX, self.entries()
        if entries and entries[-1].sha256 is None:
            told.append(f"{index}: is missing or damaged; the checkpoints beside it are taken")
        for entry in reversed(entries):
            path = self.folder / entry.name
            try:
                data = path.read_bytes()
            except OSError as error:
                told.append(f"{path}: cannot be read ({error.strerror}); going back to the one before")
                continue
            if not _is_whole(data, entry.sha256):
                told.append(f"{path}: is damaged; going back to the one before")
                continue
            return torch.load(io.BytesIO(data), map_location=device, weights_only=True), told
        if entries or index.exists():
            raise CheckpointError("every checkpoint is damaged", where=self.folder, mend="start the training anew")
        return None, told

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"the folder cannot be made ({error.strerror})", where=self.folder) from error

    def _sweep(self, kept: set[str]) -> None:
        for path in self.folder.glob("iteration-*.pt"):
            if path.name not in kept:
                path.unlink(missing_ok=True)


def _is_whole(data: bytes, sha256: str | None) -> bool:
    """Whether these are the bytes that were written, by their hash or else by the sums within the archive."""
    if sha256 is not None:
        return hashlib.sha256(data).hexdigest() == sha256
    try:
        return zipfile.ZipFile(io.BytesIO(data)).testzip() is None
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError):
        return False
