"""Writing a report: a page for each case, and an index of all that opens first."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from volseg.data.apart import each_apart
from volseg.errors import UsageError
from volseg.io.atomic import write_text
from volseg.io.atomic_folder import atomic_folder
from volseg.report.cases import Gathered, ReportCase
from volseg.report.drawing import Drawing, Drawn
from volseg.report.html import GENERATOR, render
from volseg.report.overview import Overview, Row, flags_of

INDEX = "index.html"
_PAGES = "cases"


@dataclass(frozen=True)
class Report:
    """What became of a report.

    Attributes:
        index: the file to open.
        failed: a line for each case that has no mask, no figures where it should have some, or no picture.
    """

    index: Path
    cases: int
    failed: tuple[str, ...]


def require_place(output: Path) -> None:
    """Refuse, before the work, a folder that holds anything but an older report.

    Raises:
        UsageError: if it does.
    """
    if not output.exists():
        return
    if not output.is_dir():
        raise UsageError("is a file, and a report is a folder", where=output)
    if any(output.iterdir()) and not _is_report(output):
        raise UsageError("holds other things than a report", where=output, mend="name a new folder")


def write_report(
    gathered: Gathered,
    output: Path,
    drawing: Drawing,
    *,
    title: str = "Segmentation report",
    date: str | None = None,
    processes: int = 0,
    step: Callable[[str], None] | None = None,
) -> Report:
    """Write the report of a cohort, whole or not at all; an older report in its place is replaced.

    The same cohort gives the same bytes.

    Args:
        gathered: the cases and their figures.
        output: the folder, new or an older report.
        drawing: how cases are drawn.
        title: of the report.
        date: to be printed on it; none by default.
        processes: how many cases are drawn at the same time, each in a process of its own; 0 draws in this one.
        step: called with the name of each case that is done.

    Raises:
        UsageError: if the folder holds anything else.
    """
    require_place(output)
    pages = page_names([case.name for case in gathered.cases])
    told = {"title": title, "date": date}
    rows = []
    with atomic_folder(output) as folder:
        (folder / _PAGES).mkdir()
        drawn = each_apart(drawing, gathered.cases, processes=processes, lost=_lost)
        for place, (case, found) in enumerate(zip(gathered.cases, drawn, strict=True)):
            row = Row.of(case, found, f"{_PAGES}/{pages[place]}", gathered.labels)
            around = {"before": pages[place - 1] if place else None, "after": (*pages, None)[place + 1]}
            write_text(folder / _PAGES / pages[place], _case_page(gathered, case, found, row, {**told, **around}))
            rows.append(row)
            if step is not None:
                step(case.name)
        write_text(folder / INDEX, _index_page(gathered, rows, told))
    failed = tuple(f"{row.name}: {row.error.removeprefix(f'{row.name}: ')}" for row in rows if row.error)
    return Report(output / INDEX, len(rows), failed)


def page_names(cases: Sequence[str]) -> list[str]:
    """A file name for each case, that any file system bears and that no two share.

    >>> page_names(["p1/ct", "<b>"])
    ['1_p1_ct.html', '2_b.html']
    """
    digits = len(str(len(cases)))
    words = (re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("._")[:60] for name in cases)
    return [f"{number:0{digits}d}_{word}.html" for number, word in enumerate(words, start=1)]


def _index_page(gathered: Gathered, rows: Sequence[Row], told: Mapping[str, str | None]) -> str:
    overview = Overview.of(gathered, rows)
    return render("index.html", "table.js", overview=overview, rows=rows, gathered=gathered, **told)


def _case_page(gathered: Gathered, case: ReportCase, drawn: Drawn, row: Row, told: Mapping[str, str | None]) -> str:
    names = [*gathered.labels.names, *(gathered.labels.regions if case.scored else ())]
    return render(
        "case.html",
        "viewer.js",
        case=case,
        drawn=drawn,
        row=row,
        names=names,
        labels=gathered.labels,
        measured=gathered.measured,
        flags=flags_of(case, drawn),
        **told,
    )


def _lost(case: ReportCase) -> Drawn:
    return Drawn(error="drawing it ended the process")


def _is_report(folder: Path) -> bool:
    try:
        head = (folder / INDEX).read_text(encoding="utf-8")[:2000]
    except (OSError, UnicodeDecodeError):
        return False
    return f'<meta name="generator" content="{GENERATOR}">' in head
