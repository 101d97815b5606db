"""Stopping in good order: on a signal, or when the time is up."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """The run should stop, in the middle of something."""


class Stop:
    """Whether the run should write a checkpoint and leave, and why; asked after every step and every case."""

    def __init__(self, time_limit: float | None = None) -> None:
        self._signal: int | None = None
        self._until = None if time_limit is None else time.monotonic() + time_limit

    @property
    def why(self) -> str | None:
        """The reason to stop, in words; none to go on."""
        if self._signal is not None:
            return f"stopped by {signal.Signals(self._signal).name}"
        if self._until is not None and time.monotonic() >= self._until:
            return "the time limit is reached"
        return None

    @property
    def interrupted(self) -> bool:
        """Whether it was a signal."""
        return self._signal is not None

    def check(self) -> None:
        """Leave what is under way if the run should stop.

        Raises:
            Interrupted: if it should.
        """
        if self.why is not None:
            raise Interrupted

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as a wish to stop; a second one of the same kind does what it always did."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only the main thread may listen to signals; elsewhere its owner does
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def note(number: int, _frame: FrameType | None) -> None:
            self._signal = number
            signal.signal(number, before[signal.Signals(number)])

        for number in before:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class Part(Stop):
    """Stops one part of some work at a time limit of its own, and whenever the whole is to stop.

    >>> whole = Stop(0)
    >>> Part(whole, 3600).why, Part(Stop(), 0).why
    ('the time limit is reached', 'the time limit is reached')
    """

    def __init__(self, whole: Stop, time_limit: float | None = None) -> None:
        super().__init__(time_limit)
        self._whole = whole

    @property
    def why(self) -> str | None:
        """The reason to stop, in words; none to go on."""
        return self._whole.why or super().why

    @property
    def interrupted(self) -> bool:
        """Whether it was a signal."""
        return self._whole.interrupted

    @contextmanager
    def listening(self) -> Iterator[None]:
        """The whole listens: a signal in one part is a wish to stop them all."""
        with self._whole.listening():
            yield
