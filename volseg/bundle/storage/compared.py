"""A bundle's files held against the bytes that they should have."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from volseg.bundle.storage.files import BundleFiles, read_whole


def differing(
    files: BundleFiles, expected: Mapping[str, bytes], *, but: Collection[str] = ()
) -> Iterator[tuple[str, bool]]:
    """The paths whose bytes are not those expected, each with whether there is no such file at all.

    Args:
        files: of the bundle; of a file no more is read than is expected of it.
        expected: the bytes of each path.
        but: paths that may be different.
    """
    for path, data in expected.items():
        if path in but:
            continue
        if path not in files.sizes:
            yield path, True
        elif files.sizes[path] != len(data) or read_whole(files, path, len(data)) != data:
            yield path, False
