"""Ctrl-C: the work is left wherever it is, but never by an exception in the middle of an import.

Libraries take an exception among their imports for a part that is missing, and go on to fail in strange ways.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

# until an import that Ctrl-C fell into is asked again, in seconds
_PATIENCE = 0.05


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C; where an import is under way, leave at once or wait until it is over."""
    # only the main thread may listen; and a job that a shell began in the background is to stay deaf
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield
        return
    signal.signal(signal.SIGINT, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    asker = _asks_for_imports(frame)
    if asker is None:
        raise KeyboardInterrupt
    if Path(asker.f_code.co_filename).is_relative_to(Path(__file__).parent):
        os._exit(130)  # a verb's own imports come before its work: there is nothing to put away
    again = threading.Timer(_PATIENCE, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _asks_for_imports(frame: FrameType | None) -> FrameType | None:
    """The code whose import is under way; of imports within imports, the first."""
    asker = None
    while frame is not None:
        inside = frame.f_code.co_filename.startswith("<frozen importlib")
        frame = frame.f_back
        if inside:
            asker = frame
    return asker
