"""Work on cases in processes of their own: one that kills its process costs only itself."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, resource_tracker
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def each_apart(
    work: Callable[[Item], Result], items: Sequence[Item], *, processes: int, lost: Callable[[Item], Result]
) -> Iterator[Result]:
    """The results of ``work`` in the order of the items, whichever process was quicker.

    Args:
        work: takes one item and raises nothing that is the item's own fault; a function that pickles.
        items: what to work on.
        processes: how many at the same time; 0 works in this process, where a crash takes everything with it.
        lost: the result of an item that ended its process.

    >>> list(each_apart(abs, [-2, 1], processes=0, lost=abs))
    [2, 1]
    """
    if processes < 1:
        yield from map(work, items)
        return
    workers = max(1, min(processes, len(items), os.cpu_count() or 1))
    waiting = list(items)
    while waiting:
        with _running(work, waiting, workers) as futures:
            for index, (item, future) in enumerate(zip(waiting, futures, strict=True)):
                try:
                    yield future.result()
                except BrokenProcessPool:
                    # which of the items in flight it was is not known: the first gets a process to itself
                    yield _alone(work, item, lost)
                    waiting = waiting[index + 1 :]
                    break
            else:
                return


def _alone(work: Callable[[Item], Result], item: Item, lost: Callable[[Item], Result]) -> Result:
    with _running(work, [item], 1) as (future,):
        try:
            return future.result()
        except BrokenProcessPool:
            return lost(item)


@contextmanager
def _running(work: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[list[Future[Result]]]:
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        with deaf():
            futures = [pool.submit(_heeding, work, item) for item in items]
        yield futures
    finally:
        pool.shutdown(cancel_futures=True)  # whoever stops listening waits for what is in flight, not for the rest


@contextmanager
def deaf() -> Iterator[None]:
    """What is begun in here does not hear Ctrl-C, which a terminal sends to children too: their parent ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # pragma: no cover - not on this system: children then tell of it
        yield
        return
    resource_tracker.ensure_running()  # begun later, it would open the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _heeding(work: Callable[[Item], Result], item: Item) -> Result:
    """Let Ctrl-C in while there is work to give up: its temporaries go, and it fails as an item, without a word."""
    if not hasattr(signal, "pthread_sigmask"):  # pragma: no cover
        return work(item)
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        return work(item)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
