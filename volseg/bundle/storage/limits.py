"""How much of a stranger's bundle is looked at before it is refused."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20
GIB = 2**30


@dataclass(frozen=True)
class Limits:
    """Caps on what a bundle may hold; a real one stays far below each."""

    #: files and folders
    entries: int = 10_000
    #: folders within folders
    depth: int = 12
    #: bytes of a path
    name: int = 240
    #: bytes of the archive's own table of contents
    table: int = 4 * MIB
    #: bytes of everything, unpacked
    total: int = 16 * GIB
    #: bytes of everything that was packed smaller: it is unpacked into the system's temporary folder
    inflated: int = 4 * GIB
    #: unpacked bytes for each packed one, where that is more than a mebibyte
    ratio: int = 200
    #: bytes of one JSON, YAML or text file
    text: int = 4 * MIB


LIMITS = Limits()
