"""Batches: the same at every iteration however one gets there, every case once, and workers that fail by name."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from volseg.engine.batches import EpochBatches, PatchLoader, WorkerDied, ahead_of
from volseg.engine.cases import LearningCase
from volseg.engine.patches import Draw, PatchDataset
from volseg.errors import UsageError, VolumeError


def dataset(names: str = "abc") -> PatchDataset:
    cases = [
        LearningCase(name, torch.rand(1, 9, 9), torch.zeros(1, 9, 9, dtype=torch.uint8), None, (), (1.0, 1.0))
        for name in names
    ]
    return PatchDataset(cases, (4, 4))


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.data())
def test_a_resumed_training_sees_the_same_batches(
    cases: int, batch: int, steps: int, epochs: int, data: st.DataObject
) -> None:
    """From any iteration on."""
    whole = list(EpochBatches(cases, batch, steps, epochs, seed=3))
    resumed = EpochBatches(cases, batch, steps, epochs, seed=3)
    resumed.start = data.draw(st.integers(0, epochs * steps))
    assert list(resumed) == whole[resumed.start :]
    assert len(resumed) == len(whole) - resumed.start


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 6), st.integers(1, 3), st.integers(0, 3))
def test_devices_share_the_draws(cases: int, batch: int, steps: int, world: int, seed: int) -> None:
    """Together they see what one device with the larger batch sees, and no patch is drawn twice."""
    one = list(EpochBatches(cases, batch * world, steps, 2, seed=seed))
    several = [list(EpochBatches(cases, batch, steps, 2, seed=seed, rank=r, world=world)) for r in range(world)]
    assert [[d for rank in step for d in rank] for step in zip(*several, strict=True)] == one
    draws = [d for step in one for d in step]
    assert len(set(draws)) == len(draws)


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 6))
def test_cases_come_equally_often(cases: int, batch: int, steps: int) -> None:
    """In no epoch does one come twice more than another."""
    counts = Counter(draw.case for draw in EpochBatches(cases, batch, steps, 1).epoch(0))
    assert max(counts.values()) - min(counts.get(case, 0) for case in range(cases)) <= 1


def test_a_temporary_folder_where_processes_cannot_meet_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would wait for each other for ever; without processes it does not matter."""
    monkeypatch.setattr("tempfile.tempdir", "/scratch/" + "x" * 80)
    batches = EpochBatches(3, 1, 1, 1)
    with pytest.raises(UsageError, match=r"more than 70 characters.*set TMPDIR to a shorter one, or training\.workers"):
        iter(PatchLoader(dataset(), batches, workers=1))
    assert len(list(PatchLoader(dataset(), batches))) == 1


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("ahead", [False, True])
def test_however_they_come_they_are_the_same(workers: int, ahead: bool) -> None:
    """From this process, a thread, or processes of their own."""
    patches, batches = dataset(), EpochBatches(3, 2, 2, 2)
    expected = [[patches[draw]["image"] for draw in step] for step in batches]
    loader = PatchLoader(patches, batches, workers=workers, ahead=ahead)
    found = list(loader)
    assert len(loader) == 2
    assert len(found) == 4
    for batch, images in zip(found, expected, strict=True):
        assert torch.equal(batch["image"], torch.stack(images))


class Broken(PatchDataset):
    """A dataset whose second case cannot be read, or kills its process."""

    deadly = False

    def __getitem__(self, draw: Draw | tuple[int, int, int]) -> dict[str, object]:
        if draw[1] == 1:
            if self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            raise VolumeError("holds 3 NaN voxels", where="b.nii", mend="look at it")
        return super().__getitem__(draw)


def test_a_process_outlives_the_wish_to_stop() -> None:
    """A scheduler tells every process of a job to stop: the training still gets the batches of its last step."""
    batches = iter(PatchLoader(dataset(), EpochBatches(2, 1, 40, 1), workers=1))
    next(batches)
    for worker in multiprocessing.active_children():
        os.kill(worker.pid or 0, signal.SIGTERM)
    time.sleep(0.5)
    assert len(list(batches)) == 39


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_keeps_its_words(workers: int) -> None:
    """Also across processes: one line, the file in it."""
    patches = dataset("ab")
    patches.__class__ = Broken
    with pytest.raises(VolumeError) as caught:
        list(PatchLoader(patches, EpochBatches(2, 1, 4, 1), workers=workers))
    assert str(caught.value) == "b.nii: holds 3 NaN voxels; look at it"


def test_a_worker_that_dies_names_its_case() -> None:
    """Killed from outside, by lack of memory say."""
    patches = dataset("ab")
    patches.__class__ = type("Deadly", (Broken,), {"deadly": True})
    with pytest.raises(WorkerDied, match=r"died while it prepared b; .*training\.workers"):
        list(PatchLoader(patches, EpochBatches(2, 1, 4, 1), workers=1))


def test_a_thread_ahead_ends_with_its_reader() -> None:
    """A training that stops in the middle leaves no thread behind; an error reaches the reader."""
    import threading

    def endless() -> Iterator[dict[str, int]]:
        number = 0
        while True:
            number += 1
            yield {"number": number}

    before = set(threading.enumerate())
    reader = ahead_of(endless())
    assert [next(reader)["number"] for _ in range(3)] == [1, 2, 3]
    assert set(threading.enumerate()) - before
    reader.close()  # type: ignore[attr-defined]
    assert not set(threading.enumerate()) - before

    def failing() -> Iterator[dict[str, int]]:
        yield {"number": 1}
        raise VolumeError("bad")

    with pytest.raises(VolumeError, match="bad"):
        list(ahead_of(failing()))
