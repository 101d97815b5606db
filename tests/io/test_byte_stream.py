"""gzip is read to its end and verified, by isal where it is installed and by zlib where it is not."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volseg.errors import VolumeError
from volseg.geometry import Grid
from volseg.io import byte_stream, read_volume, write_volume
from volseg.io.byte_stream import drain, fill, opened, skip

DATA = np.random.default_rng(0).integers(0, 50, 700_000).astype(np.uint8).tobytes()


@pytest.fixture(params=["as installed", "zlib"], autouse=True)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "zlib":
        monkeypatch.setattr(byte_stream, "deflate", zlib)
    return str(request.param)


def whole(path: Path, size: int = len(DATA)) -> tuple[bytes, int]:
    buffer = bytearray(size)
    with opened(path, compressed=True) as stream:
        count = fill(stream, memoryview(buffer))
        left = drain(stream, 100)
    return bytes(buffer[:count]), left


def test_members_zeros_and_foreign_bytes(tmp_path: Path) -> None:
    """Members follow one another; zeros after them are padding, anything else is foreign and counted."""
    path = tmp_path / "a.gz"
    members = gzip.compress(DATA[:300_000]) + gzip.compress(b"") + gzip.compress(DATA[300_000:], 1)
    for after, left in ((b"", 0), (bytes(512), 0), (b"\n", 1), (b"foreign bytes after the end", 1)):
        path.write_bytes(members + after)
        assert whole(path) == (DATA, left)


def test_every_truncation_and_flip_is_found(tmp_path: Path) -> None:
    """Wherever the file ends early or a bit is wrong, it is told, or the content is the same."""
    path = tmp_path / "a.gz"
    packed = gzip.compress(DATA[:3000], mtime=0)
    for keep in range(0, len(packed), 7):
        path.write_bytes(packed[:keep])
        if keep < 2:
            assert whole(path)[0] == b""
        else:
            with pytest.raises(VolumeError, match="truncated: the gzip data end early"):
                whole(path)
    for bit in range(16, 8 * len(packed), 11):
        flipped = bytearray(packed)
        flipped[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(flipped)
        try:
            content, _ = whole(path)
        except VolumeError:
            continue
        assert content == DATA[:3000]


@pytest.mark.parametrize("at", [-8, -1])
def test_checksum_and_length_are_verified(tmp_path: Path, at: int) -> None:
    """The trailer's checksum and its length are both compared."""
    packed = bytearray(gzip.compress(DATA))
    packed[at] ^= 1
    (tmp_path / "a.gz").write_bytes(packed)
    with pytest.raises(VolumeError, match="damaged: the gzip checksum does not match"):
        whole(tmp_path / "a.gz")


def test_skipping_counts_what_there_was(tmp_path: Path) -> None:
    """Skipping past the end gives the true count."""
    (tmp_path / "a").write_bytes(DATA)
    with opened(tmp_path / "a", compressed=False, offset=100) as stream:
        assert skip(stream, 10**9) == len(DATA) - 100


def test_what_one_library_packs_the_other_unpacks(tmp_path: Path) -> None:
    """Files written by either are gzip to everybody."""
    pack = byte_stream.Compressor()
    packed = pack.compress(DATA) + pack.flush()
    assert gzip.decompress(packed) == DATA
    pack = byte_stream.Compressor("zlib")
    packed = pack.compress(DATA) + pack.flush()
    assert zlib.decompress(packed) == DATA
    assert byte_stream.inflated(Path("x"), packed, len(DATA)) == (DATA, 0)
    assert byte_stream.inflated(Path("x"), packed + b"xy", len(DATA)) == (DATA, 2)


_WITHOUT = """
import sys
sys.modules["isal"] = None
from volseg.io import byte_stream, read_volume
assert byte_stream.deflate.__name__ == "zlib"
print(int(read_volume(sys.argv[1]).array.sum()))
"""


def test_everything_works_without_isal(tmp_path: Path, library: Any) -> None:
    """Where isal is not installed the same voxels are read."""
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    write_volume(tmp_path / "a.nii.gz", array, Grid.from_spacing(array.shape, (1, 1, 1)))
    assert np.array_equal(read_volume(tmp_path / "a.nii.gz").array, array)
    command = [sys.executable, "-c", _WITHOUT, str(tmp_path / "a.nii.gz")]
    assert int(subprocess.run(command, check=True, capture_output=True).stdout) == array.sum()
