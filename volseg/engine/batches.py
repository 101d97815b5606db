"""Which patches make which batch, and how batches reach the training."""

from __future__ import annotations

import os
import queue
import signal
import tempfile
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from volseg.engine.patches import Draw, PatchDataset, collate
from volseg.errors import UsageError, VolsegError
from volseg.transforms.randomness import generator

# a socket's path has at most 104 bytes on some systems, and 32 of them are names that Python gives
_LONGEST_TEMPORARY = 70
# seconds that a process preparing data goes on after SIGTERM: the training writes its checkpoint meanwhile
_GRACE = 30


class WorkerDied(VolsegError, RuntimeError):
    """A process that prepared data ended before its time."""


class EpochBatches(Sampler[list[Draw]]):
    """The draws of every batch of a training: a pure function of the seed and the iteration.

    Cases come in an order of their own in every epoch, and all of them before any comes again. Iteration ``i`` has the
    same draws whether the training started at 0 or was resumed at ``i``; several devices share each step's draws.

    >>> batches = EpochBatches(cases=3, batch=2, steps_per_epoch=3, epochs=1)
    >>> sorted(draw.case for step in batches for draw in step)
    [0, 0, 1, 1, 2, 2]
    """

    def __init__(
        self,
        cases: int,
        batch: int,
        steps_per_epoch: int,
        epochs: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if min(cases, batch, steps_per_epoch, epochs, world) < 1 or not 0 <= rank < world:
            raise UsageError(f"{cases} cases, batches of {batch} and {steps_per_epoch} steps make no epoch")
        self.cases = cases
        self.batch = batch
        self.steps_per_epoch = steps_per_epoch
        self.epochs = epochs
        self.seed = seed
        self.rank = rank
        self.world = world
        #: the iteration, counted from 0, that comes first; set when a training is resumed
        self.start = 0

    def __iter__(self) -> Iterator[list[Draw]]:
        epoch, draws = -1, []
        for iteration in range(self.start, self.epochs * self.steps_per_epoch):
            if iteration // self.steps_per_epoch != epoch:
                epoch = iteration // self.steps_per_epoch
                draws = self.epoch(epoch)
            step = iteration % self.steps_per_epoch
            first = (step * self.world + self.rank) * self.batch
            yield draws[first : first + self.batch]

    def __len__(self) -> int:
        return self.epochs * self.steps_per_epoch - self.start

    def epoch(self, epoch: int) -> list[Draw]:
        """Every draw of an epoch, all devices' together."""
        count = self.steps_per_epoch * self.batch * self.world
        draws: list[Draw] = []
        slot = 0
        while len(draws) < count:
            order = generator(self.seed, epoch, slot, "order of cases").permutation(self.cases)
            draws += [Draw(epoch, int(case), slot) for case in order]
            slot += 1
        return draws[:count]


class PatchLoader:
    """Batches of patches, from this process, from a thread ahead of it, or from processes of their own.

    It runs on through all epochs, so that nothing is started anew between them. Its length is that of one epoch.
    """

    def __init__(self, dataset: PatchDataset, batches: EpochBatches, *, workers: int = 0, ahead: bool = False) -> None:
        """Say how.

        Args:
            dataset: of the patches.
            batches: which draws make a batch.
            workers: processes that prepare data; the cases should be in memory that they share, or on the disk.
            ahead: whether a thread prepares batches (in pinned memory) while the device computes.
        """
        self.batches = batches
        self.dataset = dataset
        self.ahead = ahead
        self.workers = workers
        self._at = torch.full((max(1, workers),), -1, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return self.batches.steps_per_epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self.workers:
            _require_short_temporary_folder()
        loader: DataLoader[Any] = DataLoader(
            _Told(self.dataset, self._at),
            batch_sampler=self.batches,
            num_workers=self.workers,
            collate_fn=_collate,
            worker_init_fn=_outlive_signals if self.workers else None,
            pin_memory=self.ahead and self.workers > 0 and torch.cuda.is_available(),
        )
        batches = self._batches(iter(loader))
        return ahead_of(batches) if self.ahead and not self.workers else batches

    def _batches(self, iterator: Iterator[Any]) -> Iterator[dict[str, Any]]:
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise self._died(iterator) from error
            if isinstance(batch, _Failed):
                raise batch.error
            yield batch

    def _died(self, iterator: Any) -> WorkerDied:
        dead = [n for n, worker in enumerate(getattr(iterator, "_workers", ())) if worker.exitcode not in (None, 0)]
        names = [self.dataset.cases[int(self._at[n])].name for n in dead if self._at[n] >= 0]
        return WorkerDied(
            "a process that prepares data died" + (f" while it prepared {', '.join(names)}" if names else ""),
            mend="it may lack memory: set training.workers lower, or 0; look at the case with volseg check",
        )


def ahead_of(batches: Iterator[dict[str, Any]], depth: int = 2) -> Iterator[dict[str, Any]]:
    """The same batches, prepared by a thread up to ``depth`` ahead, in pinned memory where there is a GPU.

    >>> list(ahead_of(iter([{"a": 1}, {"a": 2}])))
    [{'a': 1}, {'a': 2}]
    """
    ready: queue.Queue[Any] = queue.Queue(depth)
    gone = threading.Event()
    done = object()

    def put(item: Any) -> bool:
        while not gone.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for batch in batches:
                if not put(_pinned(batch)):
                    return
            put(done)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, name="patches", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not done:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        gone.set()
        thread.join()


def _require_short_temporary_folder() -> None:
    """Processes hand tensors over through sockets there; where a path is too long they would wait for each other."""
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > _LONGEST_TEMPORARY:
        raise UsageError(
            f"the temporary folder's path has more than {_LONGEST_TEMPORARY} characters, and processes that prepare "
            f"data meet there: {folder}",
            mend="set TMPDIR to a shorter one, or training.workers to 0",
        )


def _outlive_signals(_number: int) -> None:
    """Where a whole group of processes is told to stop, as schedulers do, let the training finish its step."""

    def wait(_signal: int, _frame: Any) -> None:
        signal.alarm(_GRACE)  # whose own handling ends the process

    signal.signal(signal.SIGTERM, wait)


class _Failed:
    """An error on its way from a worker: torch would rebuild it from its text, and lose what it says."""

    def __init__(self, error: VolsegError) -> None:
        self.error = error


class _Told(Dataset[Any]):
    """The dataset, noting which case each process is at, and carrying errors as values."""

    def __init__(self, dataset: PatchDataset, at: torch.Tensor) -> None:
        self.dataset = dataset
        self.at = at

    def __getitem__(self, draw: Draw) -> Any:
        worker = get_worker_info()
        self.at[0 if worker is None else worker.id] = draw.case
        try:
            return self.dataset[draw]
        except VolsegError as error:
            return _Failed(error)


def _collate(samples: list[Any]) -> Any:
    for sample in samples:
        if isinstance(sample, _Failed):
            return sample
    return collate(samples)


def _pinned(batch: dict[str, Any]) -> dict[str, Any]:
    if not torch.cuda.is_available():
        return batch
    return {
        key: value.pin_memory() if isinstance(value, torch.Tensor) and value.device.type == "cpu" else value
        for key, value in batch.items()
    }
