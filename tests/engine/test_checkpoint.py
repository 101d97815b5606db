"""Checkpoints: the newest whole one comes back, whatever happened to the files."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from volseg.engine.checkpoint import INDEX, CheckpointError, Checkpoints
from volseg.errors import WriteError


def state(number: int) -> dict[str, object]:
    return {"weights": {"a": torch.full((3, 4), float(number))}, "iteration": number, "names": ["x", "y"]}


def test_the_newest_comes_back_and_only_so_many_are_kept(tmp_path: Path) -> None:
    """Tensors, numbers and names survive; older files are gone."""
    checkpoints = Checkpoints(tmp_path / "run", keep=2)
    assert checkpoints.load() == (None, [])
    for number in (1, 2, 3):
        checkpoints.save(state(number), number)
    loaded, told = checkpoints.load()
    assert told == []
    assert loaded["iteration"] == 3
    assert loaded["names"] == ["x", "y"]
    assert torch.equal(loaded["weights"]["a"], torch.full((3, 4), 3.0))
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        INDEX,
        "iteration-000000002.pt",
        "iteration-000000003.pt",
    ]


@pytest.mark.parametrize("harm", ["truncate", "flip", "remove"])
def test_a_damaged_last_checkpoint_falls_back(tmp_path: Path, harm: str) -> None:
    """Half a file, a flipped bit or no file at all: the one before is taken, and a line says so."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1), 1)
    last = checkpoints.save(state(2), 2)
    data = bytearray(last.read_bytes())
    if harm == "truncate":
        last.write_bytes(data[: len(data) // 2])
    elif harm == "flip":
        data[len(data) // 2] ^= 1
        last.write_bytes(data)
    else:
        last.unlink()
    loaded, told = checkpoints.load()
    assert loaded["iteration"] == 1
    assert len(told) == 1
    assert str(last) in told[0]


def test_all_damaged_is_an_error_not_a_fresh_start(tmp_path: Path) -> None:
    """A run whose every checkpoint is damaged does not quietly begin again."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1), 1).write_bytes(b"half")
    with pytest.raises(CheckpointError) as caught:
        checkpoints.load()
    assert str(caught.value) == f"{tmp_path}: every checkpoint is damaged; start the training anew"


def test_going_back_forgets_what_came_after(tmp_path: Path) -> None:
    """After a fall-back, saving at an earlier iteration leaves no newer checkpoint to confuse the next resume."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(10), 10)
    checkpoints.save(state(20), 20)
    for _ in range(2):  # the same again takes its own place
        checkpoints.save(state(15), 15)
        assert [entry.iteration for entry in checkpoints.entries()] == [10, 15]


def test_what_is_damaged_is_told_by_its_name(tmp_path: Path) -> None:
    """A file that is gone and one with other bytes, newest first; the oldest still serves."""
    checkpoints = Checkpoints(tmp_path, keep=3)
    for number in (1, 2, 3):
        checkpoints.save(state(number), number)
    two, three = tmp_path / "iteration-000000002.pt", tmp_path / "iteration-000000003.pt"
    two.write_bytes(b"")
    three.unlink()
    loaded, told = checkpoints.load()
    assert loaded["iteration"] == 1
    assert told == [
        f"{three}: cannot be read (No such file or directory); going back to the one before",
        f"{two}: is damaged; going back to the one before",
    ]


@pytest.mark.parametrize("index", [None, "", "[{", "[1]", '[{"name": "a"}]', '{"name": 3}', "3"])
def test_an_index_that_is_none_is_told(index: str | None, tmp_path: Path) -> None:
    """Whatever it holds instead, the files beside it serve, each if it is whole; without any the training is lost."""
    checkpoints = Checkpoints(tmp_path)
    for number in (1, 2):
        newest = checkpoints.save(state(number), number)
    (tmp_path / INDEX).unlink()
    if index is not None:
        (tmp_path / INDEX).write_text(index)
    lost = f"{tmp_path / INDEX}: is missing or damaged; the checkpoints beside it are taken"
    loaded, told = Checkpoints(tmp_path).load()
    assert (loaded["iteration"], told) == (2, [lost])
    harmed = bytearray(newest.read_bytes())
    harmed[harmed.index(struct.pack("<12f", *[2.0] * 12))] ^= 1
    newest.write_bytes(bytes(harmed))
    loaded, told = Checkpoints(tmp_path).load()
    assert (loaded["iteration"], told) == (1, [lost, f"{newest}: is damaged; going back to the one before"])
    for path in tmp_path.glob("*.pt"):
        path.unlink()
    if index is None:
        assert Checkpoints(tmp_path).load() == (None, [])
        return
    with pytest.raises(CheckpointError, match="every checkpoint is damaged; start the training anew"):
        Checkpoints(tmp_path).load()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file in its place."""
    (tmp_path / "run").write_text("x")
    with pytest.raises(WriteError) as caught:
        Checkpoints(tmp_path / "run").save(state(1), 1)
    assert str(caught.value) == f"{tmp_path / 'run'}: the folder cannot be made (File exists)"


@pytest.mark.parametrize(("keep", "kept"), [({}, [2, 3]), ({"keep": 3}, [1, 2, 3]), ({"keep": 0}, [3])])
def test_saving_sweeps_what_the_index_no_longer_names(keep: dict[str, int], kept: list[int], tmp_path: Path) -> None:
    """Two are kept where nobody says otherwise, and never none; a killed process's leftover goes, other files stay."""
    checkpoints = Checkpoints(tmp_path / "deep" / "run", **keep)
    checkpoints.save(state(1), 1)
    (tmp_path / "deep/run/iteration-000000007.pt").write_bytes(b"half")
    (tmp_path / "deep/run/notes.txt").write_text("mine")
    for number in (2, 3):
        assert checkpoints.save(state(number), number).name == f"iteration-{number:09d}.pt"
    assert [entry.iteration for entry in checkpoints.entries()] == kept
    files = {path.name for path in (tmp_path / "deep/run").iterdir()}
    assert files == {INDEX, "notes.txt", *(f"iteration-{number:09d}.pt" for number in kept)}


def test_a_checkpoint_is_loaded_onto_the_device_that_was_asked_for(tmp_path: Path) -> None:
    """Without a device, onto the CPU."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1), 1)
    assert checkpoints.load()[0]["weights"]["a"].device.type == "cpu"
    assert checkpoints.load("meta")[0]["weights"]["a"].device.type == "meta"


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    """A pickle that would call something is refused by the loader, whatever its hash."""

    class Call:
        def __reduce__(self) -> tuple[object, ...]:
            return (os.mkdir, (str(tmp_path / "canary"),))

    checkpoints = Checkpoints(tmp_path)
    checkpoints.save({"x": Call()}, 1)
    with pytest.raises(Exception, match=r"[Ww]eights"):
        checkpoints.load()
    assert not (tmp_path / "canary").exists()


def test_a_full_disk_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the new one cannot be written, the error says so and the old one is still good."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(state(1), 1)

    def full(*_: object) -> None:
        raise WriteError("no space left on the device", where="x")

    monkeypatch.setattr("volseg.engine.checkpoint.write_bytes", full)
    with pytest.raises(WriteError, match="no space"):
        checkpoints.save(state(2), 2)
    assert checkpoints.load()[0]["iteration"] == 1


KILLED = """
import sys, torch
from pathlib import Path
from volseg.engine.checkpoint import Checkpoints
checkpoints = Checkpoints(Path(sys.argv[1]))
number = 0
while True:
    number += 1
    checkpoints.save({"iteration": number, "w": torch.full((256, 1024), float(number))}, number)
    print(number, flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment_there_is_a_whole_checkpoint(tmp_path: Path) -> None:
    """SIGKILL while checkpoints are written one after the other: the last one told of, or a later one, loads."""
    for attempt in range(5):
        folder = tmp_path / str(attempt)
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(3 + attempt)]
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        loaded, _ = Checkpoints(folder).load()
        assert loaded["iteration"] >= told[-1]
        assert torch.equal(loaded["w"], torch.full((256, 1024), float(loaded["iteration"])))
