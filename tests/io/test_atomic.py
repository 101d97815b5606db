"""A file appears whole or not at all, whatever goes wrong on the way."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volseg.errors import WriteError
from volseg.geometry import Grid
from volseg.io import write_labels, write_volume
from volseg.io.atomic import PREFIX, STALE_SECONDS, atomic_write, sweep, write_json, write_text

GRID = Grid.from_spacing((32, 32, 32), (1, 1, 1))
NOISE = np.random.default_rng(0).integers(0, 2**16, GRID.shape).astype(np.uint16)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_appears_only_at_the_end(tmp_path: Path) -> None:
    """While it is written only a hidden temporary is there; then only the file, readable by others."""
    with atomic_write(tmp_path / "a.bin") as file:
        file.write(b"half")
        assert [n.startswith(PREFIX) for n in names(tmp_path)] == [True]
        file.write(b" and half")
    assert names(tmp_path) == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"half and half"
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "a.bin").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("x"), SystemExit])
def test_an_interruption_leaves_the_older_file(tmp_path: Path, error: Any) -> None:
    """An exception of any kind passes through; the file that was there before is as it was."""
    write_text(tmp_path / "a.txt", "old\n")
    with pytest.raises(error if isinstance(error, type) else type(error)), atomic_write(tmp_path / "a.txt") as file:
        file.write(b"new")
        raise error
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old\n"


@pytest.mark.parametrize(
    ("code", "line"),
    [
        (errno.ENOSPC, "could not be written: no space left on the device; free some space and run it again"),
        (errno.EROFS, "could not be written: the file system is read-only; choose another output folder"),
        (errno.EDQUOT, "could not be written: the disk quota is used up; free some space and run it again"),
        (errno.EIO, "could not be written: the device reports an input/output error; check the disk"),
    ],
)
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_an_error_of_the_disk_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, line: str, ending: str
) -> None:
    """Whatever the disk reports when it is flushed is a WriteError that says why, and nothing is left."""

    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(WriteError) as caught:
        write_volume(tmp_path / f"m{ending}", NOISE, GRID)
    assert str(caught.value) == f"{tmp_path / f'm{ending}'}: {line}"
    assert names(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where one may be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("mounting a small file system needs more rights than these")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_full_disk_keeps_no_part_of_a_file(small_disk: Path, ending: str) -> None:
    """On a disk that is too small the write fails aloud and the disk is as empty as before."""
    with pytest.raises(WriteError, match="no space left on the device"):
        write_volume(small_disk / f"m{ending}", NOISE, GRID)
    assert names(small_disk) == []
    write_labels(small_disk / f"m{ending}", np.zeros(GRID.shape, np.uint8), GRID)
    assert names(small_disk) == [f"m{ending}"]


_WRITER = """
import sys, numpy as np
from volseg.io.atomic import atomic_write
with atomic_write(sys.argv[1]) as file:
    file.write(bytes(1 << 16)); file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_a_killed_writer_leaves_a_temporary_that_the_next_one_removes(tmp_path: Path) -> None:
    """SIGKILL leaves no part under the final name; the temporary is known for what it is and swept away."""
    writer = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path / "m.nii")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        (temporary,) = tmp_path.iterdir()
        assert temporary.name.startswith(PREFIX)
        old = time.time() - 2 * STALE_SECONDS
        os.utime(temporary, (old, old))
        assert sweep(tmp_path) == 0  # its writer lives
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert names(tmp_path) == [temporary.name]
    assert sweep(tmp_path) == 1
    assert names(tmp_path) == []


def test_a_young_temporary_is_left_alone(tmp_path: Path) -> None:
    """What was created a moment ago may be somebody's who has not locked it yet."""
    (tmp_path / f"{PREFIX}abc.nii").write_bytes(b"")
    assert sweep(tmp_path) == 0


def test_names_that_cannot_be_are_found_before_the_work(tmp_path: Path) -> None:
    """A name over 255 bytes, a folder in the way or not there: one line each, before anything is made."""
    (tmp_path / "taken").mkdir()
    for path, reason in (
        (tmp_path / ("x" * 252 + ".nii"), "the file name is too long"),
        (tmp_path / "taken", "a folder of that name is in the way"),
        (tmp_path / "absent" / "a.nii", "the folder does not exist"),
    ):
        with pytest.raises(WriteError, match=reason), atomic_write(path):
            pytest.fail("the work began")
    assert names(tmp_path) == ["taken"]
    longest = tmp_path / ("x" * 248 + ".nii.gz")
    write_labels(longest, np.zeros(GRID.shape, np.uint8), GRID)
    assert longest.exists()


def test_json_has_no_nan(tmp_path: Path) -> None:
    """JSON is written as others can read it: UTF-8, no NaN."""
    write_json(tmp_path / "a.json", {"name": "Müller", "dice": 0.5})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "name": "Müller",\n  "dice": 0.5\n}\n'
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "b.json", {"dice": float("nan")})
    assert names(tmp_path) == ["a.json"]


def test_the_same_mask_is_the_same_file(tmp_path: Path) -> None:
    """Nothing but its content goes into a file: no time, no name."""
    for ending in (".nii.gz", ".nrrd", ".mha"):
        write_labels(tmp_path / f"a{ending}", NOISE > 9, GRID)
        write_labels(tmp_path / f"b{ending}", NOISE > 9, GRID)
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()
