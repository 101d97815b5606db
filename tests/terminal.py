"""A program as a terminal runs it, and Ctrl-C as a terminal sends it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


class Session:
    """A program and its children as a terminal holds them, with a folder of their own for temporary files."""

    def __init__(self, command: list[str], place: Path, **env: str) -> None:
        # not below the test's own folder: the path of a socket must be short
        self.temporary = Path(tempfile.mkdtemp())
        # lines are not counted in there: interrupted where it holds its lock, coverage never ends
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS")}
        # a shell starts its background jobs deaf to Ctrl-C, and children inherit that: have this one listen
        listening = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            self.process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
                start_new_session=True,
                cwd=place,
                env=inherited | {"TMPDIR": str(self.temporary)} | env,
            )
        finally:
            signal.signal(signal.SIGINT, listening)

    def wait_for(self, met: Callable[[], bool]) -> None:
        """Wait until something is so."""
        until = time.monotonic() + 200
        while not met():
            assert self.process.poll() is None, self.process.communicate()[1]
            assert time.monotonic() < until
            time.sleep(0.01)

    def wait_to_say(self, words: str) -> None:
        """Wait for a line on stderr that begins so."""
        assert self.process.stderr is not None
        while not (line := self.process.stderr.readline()).startswith(words):
            assert line, f"it ended without saying {words!r}"

    def press_ctrl_c(self) -> str:
        """Interrupt all of them; what they said after that."""
        os.killpg(self.process.pid, signal.SIGINT)
        out, said = self.process.communicate(timeout=200)
        assert self.process.returncode == 130, said
        assert "Traceback" not in said
        assert "KeyboardInterrupt" not in said
        left = [path.name for path in self.temporary.iterdir()]
        shutil.rmtree(self.temporary)
        assert [name for name in left if not name.startswith("torchinductor_")] == []  # torch's cache, for next time
        return out + said
