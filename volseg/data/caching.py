"""Prepared cases kept between epochs: in memory, or in files that are mapped into it.

An entry's key is the hash of everything it was made from, so an entry is never stale: other bytes or other settings
have another key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from volseg.errors import UsageError, WriteError
from volseg.io.atomic import atomic_write, write_json

Arrays = dict[str, npt.NDArray[Any]]
Make = Callable[[], Arrays]


class Cache(Protocol):
    """Gives the arrays of a key, made at most once."""

    def get(self, key: str, make: Make) -> Arrays:
        """The arrays kept under ``key``; ``make`` makes them if there are none."""
        ...


class NoCache:
    """Makes everything anew each time."""

    def get(self, key: str, make: Make) -> Arrays:
        return make()


class MemoryCache:
    """Keeps arrays in memory, up to ``limit`` bytes; what comes after goes to ``beyond``.

    >>> cache = MemoryCache()
    >>> first = cache.get("a", lambda: {"image": np.zeros(3)})
    >>> cache.get("a", lambda: {})["image"] is first["image"]
    True
    """

    def __init__(self, limit: int | None = None, beyond: Cache | None = None) -> None:
        self.limit = limit
        self.beyond = beyond or NoCache()
        self.size = 0
        self._kept: dict[str, Arrays] = {}

    def get(self, key: str, make: Make) -> Arrays:
        if key in self._kept:
            return self._kept[key]
        if self.limit is not None and self.size >= self.limit:
            return self.beyond.get(key, make)
        made = make()
        self._kept[key] = made
        self.size += sum(array.nbytes for array in made.values())
        return made


class DiskCache:
    """Keeps arrays as ``.npy`` files, mapped when read: many processes share them, and the system's own memory.

    Raises:
        WriteError: if they cannot be written; nothing half-written is ever read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, key: str, make: Make) -> Arrays:
        known = self._read(key)
        if known is not None:
            return known
        made = make()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"the folder cannot be made ({error.strerror})", where=self.folder) from error
        for name, array in made.items():
            with atomic_write(self.folder / f"{key}.{name}.npy") as file:
                np.save(file, array, allow_pickle=False)
        # the index comes last: without it the files do not count
        write_json(self.folder / f"{key}.json", {name: list(array.shape) for name, array in made.items()})
        return self._read(key) or made

    def _read(self, key: str) -> Arrays | None:
        try:
            shapes = json.loads((self.folder / f"{key}.json").read_text())
            # copy on write: torch takes no read-only memory, and nothing may reach the file
            arrays = {
                name: np.load(self.folder / f"{key}.{name}.npy", mmap_mode="c" if 0 not in shape else None)
                for name, shape in shapes.items()
            }
        except (OSError, ValueError):
            return None
        return arrays if all(list(arrays[name].shape) == shapes[name] for name in shapes) else None


def cache_key(sha256s: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    """The key of what is made from files of these hashes with these settings.

    >>> cache_key({"image": "00"}, {"spacing": 1}) == cache_key({"image": "00"}, {"spacing": 2})
    False
    """
    told = json.dumps({"files": dict(sha256s), "settings": dict(settings)}, sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def make_cache(kind: Literal["memory", "disk", "device"] | None, folder: Path, *, share: float = 0.6) -> Cache:
    """The cache that a recipe's ``training.cache`` names.

    Args:
        kind: ``memory`` takes at most ``share`` of the memory that is free now, and the disk for the rest; ``device``
            is read once through no cache at all and kept by the device.
        folder: for what goes to the disk.
        share: of the free memory.
    """
    if kind == "disk":
        return DiskCache(folder)
    if kind == "memory":
        return MemoryCache(int(share * free_memory()), DiskCache(folder))
    if kind is None or kind == "device":
        return NoCache()
    raise UsageError(f"no cache is called {kind!r}", mend="memory, disk, device or none")


def free_memory() -> int:
    """Bytes that can be taken without swapping, a container's own limit included; large where nobody says."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):
        pass  # not this system, or no container: what was found is what there is
    return max(0, min(found, default=1 << 62))
