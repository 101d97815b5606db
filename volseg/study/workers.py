"""Work in processes of their own, one at a time on each device."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any, TypeVar

from volseg.data.apart import deaf
from volseg.engine.stopping import Stop

Job = TypeVar("Job")
# how long to wait before asking again whether to stop, in seconds
_PATIENCE = 0.5


def places(device: str, number: int | None) -> tuple[str, ...]:
    """The devices that work in parallel: every GPU, or the one that was named as often as was asked for.

    >>> places("cpu", 2)
    ('cpu', 'cpu')
    """
    import torch

    if device == "auto" and torch.cuda.is_available():
        count = torch.cuda.device_count()
        return tuple(f"cuda:{index % count}" for index in range(number or count))
    return ("cpu" if device == "auto" else device,) * (number or 1)


def each_in_process(
    work: Callable[[Job, str], None], jobs: Sequence[Job], devices: Sequence[str], stop: Stop
) -> Iterator[Job]:
    """Each job once its process has ended, however that was; in the order in which they end.

    Args:
        work: takes a job and a device; a function that pickles, and leaves its result in a file.
        jobs: what to work on, in this order as devices become free.
        devices: as many processes at a time.
        stop: no job is begun any more once there is a reason to stop; those that run are told by a signal.
    """
    context = _context()
    waiting, free = list(jobs), list(devices)
    running: dict[Any, tuple[Any, Job, str]] = {}
    told = False
    try:
        while running or (waiting and stop.why is None):
            while waiting and free and stop.why is None:
                job, device = waiting.pop(0), free.pop(0)
                process = context.Process(target=work, args=(job, device))
                with deaf():
                    process.start()
                running[process.sentinel] = process, job, device
            for sentinel in wait(list(running), timeout=_PATIENCE):
                process, job, device = running.pop(sentinel)
                process.join()
                free.append(device)
                yield job
            if stop.why is not None and not told:
                told = True
                for process, _, _ in running.values():
                    process.terminate()  # SIGTERM: a training leaves a checkpoint and goes
    finally:
        for process, _, _ in running.values():  # whoever stops listening leaves nothing behind
            process.terminate()
            process.join()


def _context() -> Any:
    """Processes that begin with everything imported, where the system can; elsewhere each imports for itself."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["volseg.study.trial"])
    return context
