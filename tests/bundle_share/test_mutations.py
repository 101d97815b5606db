"""A packed bundle that was changed anywhere, by anybody, never verifies."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import random
import zipfile
import zlib
from functools import partial
from pathlib import Path

import pytest

from volseg.bundle.storage.archive import Packed, zip_bytes
from volseg.bundle.storage.manifest import MANIFEST, FileRecord, Manifest
from volseg.bundle.verifying.verify import verify_bundle
from volseg.errors import VolsegError

_KINDS = ("bit", "cut", "grown", "doubled", "removed", "renamed", "added", "manifest", "known file", "new file")


@pytest.mark.slow
def test_500_mutations_are_500_refusals(packed: Path, tmp_path: Path) -> None:
    """Bytes, files and the manifest, the zip in order around them or not; and a new manifest that is right about it."""
    good = packed.read_bytes()
    random_ = random.Random(20240725)
    spoiled = tmp_path / "cells.zip"
    passed, told = [], []
    for number in range(500):
        kind = _KINDS[number % len(_KINDS)]
        spoiled.write_bytes(_mutated(packed, good, kind, random_))
        try:
            verify_bundle(spoiled)
        except VolsegError as error:
            told.append(str(error))
        else:
            passed.append((number, kind))
    assert passed == []
    assert len(told) == 500
    assert not any("\n" in line for line in told)
    spoiled.write_bytes(good)
    verify_bundle(spoiled)


def _mutated(packed: Path, good: bytes, kind: str, random_: random.Random) -> bytes:
    data, at = bytearray(good), random_.randrange(len(good))
    if kind == "bit":
        data[at] ^= 1 << random_.randrange(8)
    elif kind == "cut":
        del data[at : at + random_.randint(1, 40)]
    elif kind == "grown":
        data[at:at] = random_.randbytes(random_.randint(1, 40))
    elif kind == "doubled":
        data += data[at:]
    else:
        return _rezipped(packed, kind, random_)
    return bytes(data)


def _rezipped(packed: Path, kind: str, random_: random.Random) -> bytes:
    """Packed again as ours are, to the byte: only the content is another."""
    with zipfile.ZipFile(packed) as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    chosen = random_.choice(sorted(set(members) - {MANIFEST}))
    new = f"{random_.choice(['', 'configs/', 'models/', 'docs/'])}{random_.randbytes(4).hex()}.json"
    if kind == "removed":
        del members[random_.choice(sorted(members))]
    elif kind == "renamed":
        members[new] = members.pop(chosen)
    elif kind == "added":
        members[new] = b"{}"
    elif kind == "manifest":
        members[MANIFEST] = _other_manifest(members[MANIFEST], random_)
    elif kind == "known file":
        # documents and configurations follow from the recipe; what follows from nothing is the numbers themselves
        rendered = [name for name in members if name.startswith(("configs/", "docs/", "LICENSE"))]
        chosen = random_.choice(sorted(rendered))
        members[chosen] = _other_text(members[chosen], random_)
    elif kind == "new file":
        chosen = new.replace("docs/", "scripts/")
        members[chosen] = b"{}"
    if kind in ("known file", "new file"):
        members[MANIFEST] = _renewed(members[MANIFEST], chosen, members[chosen])
    return b"".join(
        zip_bytes(
            Packed(f"cells/{name}", len(content), zlib.crc32(content), partial(io.BytesIO, content))
            for name, content in members.items()
        )
    )


def _renewed(raw: bytes, path: str, content: bytes) -> bytes:
    """A manifest that is right about a file, and about itself."""
    manifest = Manifest.from_bytes(raw)
    record = FileRecord(len(content), hashlib.sha256(content).hexdigest())
    return dataclasses.replace(manifest, files={**manifest.files, path: record}).to_bytes()


def _other_text(content: bytes, random_: random.Random) -> bytes:
    at = random_.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def _other_manifest(raw: bytes, random_: random.Random) -> bytes:
    """One value changed, in the same spelling."""
    data = json.loads(raw)
    path = random_.choice(sorted(data["files"]))
    change = random_.randrange(4)
    if change == 0:
        data["files"][path]["size"] += 1
    elif change == 1:
        data["files"][path]["sha256"] = random_.randbytes(32).hex()
    elif change == 2:
        del data["files"][path]
    else:
        data[random_.choice(["recipe", "digest"])] = random_.randbytes(32).hex()
    return (json.dumps(data, indent=1, sort_keys=True) + "\n").encode()
