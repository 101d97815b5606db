"""What a run tells: a line of JSON for everything that happened, a table of the epochs."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import Any

from volseg.io.atomic import refusal, write_text

Event = dict[str, Any]
"""``event`` says what happened; an ``epoch`` has ``epoch``, ``iteration``, ``loss``, ``lr``, ``seconds`` and, where it
was validated, ``dice`` and ``labels``."""
Listener = Callable[[Event], None]


class RunLog:
    """``log.jsonl`` and ``metrics.csv`` in a run's folder; takes up where an interrupted run was.

    >>> import tempfile
    >>> log = RunLog(Path(tempfile.mkdtemp()))
    >>> log({"event": "epoch", "epoch": 1, "iteration": 10, "loss": 0.5, "lr": 0.1, "seconds": 2.0})
    >>> (log.folder / "metrics.csv").read_text().splitlines()
    ['epoch,iteration,loss,lr,seconds,dice', '1,10,0.5,0.1,2.0,']
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "log.jsonl"
        self.events = self._read()

    @property
    def epochs(self) -> list[Event]:
        """The epochs so far."""
        return [event for event in self.events if event.get("event") == "epoch"]

    @property
    def ended(self) -> bool:
        """Whether the run came to its end."""
        return any(event.get("event") == "end" for event in self.events)

    def __call__(self, event: Event) -> None:
        """Note an event; single steps are too many to keep."""
        if event["event"] == "step":
            return
        told = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **_plain(event)}
        self.events.append(told)
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(told, ensure_ascii=False) + "\n")
        except OSError as error:
            raise refusal(error, self.path) from error
        if event["event"] == "epoch":
            self._write_table()

    def back_to(self, iteration: int) -> None:
        """Forget what came after an iteration: it is about to happen again."""
        self.events = [event for event in self.events if int(event.get("iteration", 0)) <= iteration]
        write_text(self.path, "".join(json.dumps(event, ensure_ascii=False) + "\n" for event in self.events))
        if self.epochs:
            self._write_table()

    def _read(self) -> list[Event]:
        if not self.path.exists():
            return []
        events = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                events.append(json.loads(line))
            except ValueError:
                break  # the last line of a killed run may be half a line
        return events

    def _write_table(self) -> None:
        labels = list(dict.fromkeys(name for event in self.epochs for name in event.get("labels", {})))
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        columns = ["epoch", "iteration", "loss", "lr", "seconds", "dice"]
        writer.writerow([*columns, *(f"dice {name}" for name in labels)])
        for event in self.epochs:
            row = [event.get(column, "") for column in columns]
            row += [event.get("labels", {}).get(name, "") for name in labels]
            writer.writerow(["" if value is None else value for value in row])
        write_text(self.folder / "metrics.csv", table.getvalue())


def _plain(value: Any) -> Any:
    """Plain data for JSON, which has no NaN: what is not a number is null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return value


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(42), duration(200), duration(7260)
    ('42 s', '3 min', '2 h 1 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def quiet(engine: Any) -> None:
    """Errors are told once, by whoever started the training, and not by the engine on their way."""
    engine.logger = logging.getLogger("volseg.engine.run")
    engine.logger.addHandler(logging.NullHandler())
    engine.logger.propagate = False
