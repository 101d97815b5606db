"""What a person sees: one place for words on the terminal.

Results go to stdout, everything said on the way to stderr, so that a pipe never carries chatter. Colours and carriage
returns appear on terminals only.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from volseg.errors import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console
    from rich.progress import Progress

DONE, FAILED, USAGE, SOME_FAILED, INTERRUPTED = 0, 1, 2, 3, 130


class Level(IntEnum):
    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


@dataclass
class Settings:
    """What the options before the verb chose."""

    level: Level = Level.NORMAL
    debug: bool = False


settings = Settings()


def say(text: str) -> None:
    """Tell what is going on (stderr)."""
    if settings.level >= Level.NORMAL:
        print(text, file=sys.stderr, flush=True)


def detail(text: str) -> None:
    """Tell what only ``-v`` asks for (stderr)."""
    if settings.level >= Level.VERBOSE:
        print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Tell what may be wrong; shown even with ``-q``."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def fail(error: BaseException) -> None:
    """Tell what went wrong: the error's own line, no traceback unless ``--debug``."""
    if settings.debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    print(f"error: {error}", file=sys.stderr, flush=True)


def result(text: str) -> None:
    """Print a result (stdout)."""
    print(text, flush=True)


def result_json(data: object) -> None:
    """Print a result as JSON (stdout)."""
    text = json.dumps(data, indent=2, ensure_ascii=False, default=str)
    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:  # a terminal without these letters, or a file name that is no text
        text = json.dumps(data, indent=2, default=str)
    print(text, flush=True)


def result_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], styles: Mapping[str, str] | None = None
) -> None:
    """Print a result as a table: ruled on a terminal, plain and never cut when piped; ``styles`` colours cells."""
    console = _rich(stderr=False)
    rows = [[printable(cell) for cell in row] for row in rows]  # a line break in a file name breaks no row
    if not console.is_terminal:
        from rich.cells import cell_len  # letters of some scripts take two places

        widths = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)]
        for row in (columns, *rows):
            padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
            result("  ".join(padded).rstrip())
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=(styles or {}).get(cell, "")) for cell in row))
    console.print(table)


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar with the time left on a terminal, one plain line per step elsewhere; call the yielded function per step."""
    if settings.level < Level.NORMAL:
        yield lambda _step: None
        return
    console = _rich(stderr=True)
    if not console.is_terminal:
        done = 0

        def line(step: str) -> None:
            nonlocal done
            done += 1
            say(f"{what} {done}/{total} {printable(step)}")

        yield line
        return
    with _bar(console) as bar:
        task = bar.add_task(what, total=total, step="")
        yield lambda step: bar.update(task, advance=1, step=printable(step))


@contextmanager
def meter(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar below the lines on a terminal, nothing elsewhere; call the yielded function with how many of how many."""
    console = _rich(stderr=True)
    if settings.level < Level.NORMAL or not console.is_terminal:
        yield lambda _done, _total: None
        return
    with _bar(console) as bar:
        task = bar.add_task(what, total=None, visible=False, step="")
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)


def _bar(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[step]}"),
        console=console,
        transient=True,
    )


def _rich(*, stderr: bool) -> Console:
    from rich.console import Console

    stream: Any = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else 10_000  # piped text is never wrapped: a line is a record
    return Console(file=stream, highlight=False, markup=False, width=width)
