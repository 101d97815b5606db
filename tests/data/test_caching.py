"""Caches: made once, the same bytes back, keys that tell settings apart, and damage that is made anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from volseg.data.caching import Arrays, DiskCache, MemoryCache, NoCache, cache_key, free_memory, make_cache
from volseg.errors import UsageError


@pytest.fixture
def counted() -> tuple[list[int], Callable[[], Arrays]]:
    """A function that makes arrays, and how often it was called."""
    calls: list[int] = []

    def make() -> Arrays:
        calls.append(1)
        return {"image": np.arange(12, dtype=np.float32).reshape(3, 4), "places": np.zeros(0, dtype=np.int64)}

    return calls, make


def same(a: Arrays, b: Arrays) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_the_disk_gives_back_what_was_made(tmp_path: Path, counted: tuple[list[int], Callable[[], Arrays]]) -> None:
    """Another process that opens the folder makes nothing and gets the same arrays, empty ones too."""
    calls, make = counted
    first = DiskCache(tmp_path / "cache").get("k", make)
    second = DiskCache(tmp_path / "cache").get("k", make)
    assert len(calls) == 1
    assert same(first, second)
    assert same(second, make())
    assert isinstance(second["image"], np.memmap)


def test_writing_into_a_mapped_array_leaves_the_file(
    tmp_path: Path, counted: tuple[list[int], Callable[[], Arrays]]
) -> None:
    """Whoever changes an array in place changes his own copy."""
    _, make = counted
    DiskCache(tmp_path).get("k", make)["image"][:] = 7
    assert same(DiskCache(tmp_path).get("k", make), make())


@pytest.mark.parametrize("damage", ["index", "array"])
def test_a_damaged_entry_is_made_anew(
    tmp_path: Path, counted: tuple[list[int], Callable[[], Arrays]], damage: str
) -> None:
    """Half a file is no entry."""
    calls, make = counted
    DiskCache(tmp_path).get("k", make)
    victim = tmp_path / ("k.json" if damage == "index" else "k.image.npy")
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    assert same(DiskCache(tmp_path).get("k", make), make())
    assert len(calls) == 3


def test_memory_beyond_the_limit_goes_elsewhere(
    tmp_path: Path, counted: tuple[list[int], Callable[[], Arrays]]
) -> None:
    """The first entry fills the limit, the second lies on the disk, and both are made once."""
    calls, make = counted
    cache = MemoryCache(limit=1, beyond=DiskCache(tmp_path))
    for _ in range(3):
        cache.get("a", make)
        cache.get("b", make)
    assert len(calls) == 2
    assert (tmp_path / "b.json").exists()
    assert not (tmp_path / "a.json").exists()


def test_no_cache_makes_everything_anew(counted: tuple[list[int], Callable[[], Arrays]]) -> None:
    """Each time."""
    calls, make = counted
    for _ in range(3):
        NoCache().get("a", make)
    assert len(calls) == 3


def test_keys_depend_on_bytes_and_settings() -> None:
    """And on nothing else: the order of the settings is no difference."""
    key = cache_key({"image": "ab"}, {"spacing": [1, 2], "order": 1})
    assert key == cache_key({"image": "ab"}, {"order": 1, "spacing": [1, 2]})
    assert len({key, cache_key({"image": "ac"}, {"spacing": [1, 2], "order": 1}), cache_key({"image": "ab"}, {})}) == 3


def test_caches_are_named(tmp_path: Path) -> None:
    """Each name its kind; a misspelt one is refused."""
    assert isinstance(make_cache("memory", tmp_path), MemoryCache)
    assert isinstance(make_cache("disk", tmp_path), DiskCache)
    assert isinstance(make_cache(None, tmp_path), NoCache)
    with pytest.raises(UsageError, match="memory, disk, device or none"):
        make_cache("ram", tmp_path)  # type: ignore[arg-type]
    assert 0 < free_memory() < 1 << 62
