"""The first page's content: what stands in its tables, and its plots."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from volseg.labels import Labels
from volseg.report.cases import Gathered, ReportCase
from volseg.report.drawing import Drawn
from volseg.report.figures import bland_altman, box_plot
from volseg.report.stills import Still
from volseg.report.told import Trust

# More columns than this nobody reads; the others are on the cases' pages.
_MOST_COLUMNS = 6
# measures with a plot of their own, by their key
_PLOTTED = (("dice", "Dice"), ("surface_dice", "surface Dice"), ("hd95", "HD95, mm"))


@dataclass(frozen=True)
class Cell:
    """A structure of one case: NaN where nothing applies."""

    dice: float = math.nan
    volume: float = math.nan
    difference: float = math.nan
    missed: bool = False
    invented: bool = False
    trust: Trust | None = None


@dataclass(frozen=True)
class Row:
    """A case in the table."""

    name: str
    page: str
    thumbnail: Still | None
    error: str | None
    flags: tuple[str, ...]
    review: bool
    mean_dice: float
    hd95: float
    expected_dice: float
    cells: Mapping[str, Cell]
    unit: str

    @classmethod
    def of(cls, case: ReportCase, drawn: Drawn, page: str, labels: Labels) -> Row:
        """A case as it was drawn."""
        scores = case.scores.structures if case.scores else {}
        cells = {}
        for name in labels.names:
            found = scores.get(name, {})
            predicted, true = found.get("prediction_voxels", math.nan), found.get("truth_voxels", math.nan)
            cells[name] = Cell(
                found.get("dice", math.nan),
                (drawn.volumes or {}).get(name, found.get("prediction_ml", math.nan)),
                found.get("difference_ml", math.nan),
                true > 0 and predicted == 0,
                predicted > 0 and true == 0,
                case.told.trust.get(name),
            )
        distances = [found["hd95"] for name, found in scores.items() if name in cells and not math.isnan(found["hd95"])]
        return cls(
            case.name,
            page,
            drawn.thumbnail,
            case.error or drawn.error,
            flags_of(case, drawn),
            case.told.review,
            case.scores.mean_dice if case.scores else math.nan,
            max(distances, default=math.nan),
            case.told.expected_dice,
            cells,
            drawn.unit,
        )


def flags_of(case: ReportCase, drawn: Drawn) -> tuple[str, ...]:
    """What a reader should know of a case before trusting it: hints of the prediction, and doubts of the readers."""
    scores = case.scores.notes if case.scores else ()
    doubts = [*case.told.hints, *(note for note in (*case.told.notes, *scores) if note not in drawn.notes)]
    return tuple(dict.fromkeys(doubts))


@dataclass(frozen=True)
class Volumes:
    """A structure's volumes over the cohort, as predicted."""

    median: float
    smallest: float
    largest: float
    n: int


@dataclass(frozen=True)
class Overview:
    """The cohort's page.

    Attributes:
        names: the structures, and the regions where they were measured.
        columns: the structures that have a column in the table of cases.
        volumes: by structure, over the cases that have a mask.
        plots: groups of drawings, with a title and a line on how to read them.
        unit: of the volumes.
        review: how many cases are to be looked at first.
        trusted: whether Dice was predicted.
        lost: whether any structure was missed or invented.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    volumes: Mapping[str, Volumes]
    plots: tuple[tuple[str, str, tuple[Markup, ...]], ...]
    unit: str
    review: int
    flagged: int
    failed: int
    trusted: bool
    lost: bool

    @classmethod
    def of(cls, gathered: Gathered, rows: Sequence[Row]) -> Overview:
        """From the rows of all cases."""
        names, measured = gathered.labels.names, gathered.measured
        columns = names
        if len(names) > _MOST_COLUMNS:
            worst = sorted(names, key=lambda name: measured.means[name]["dice"].mean) if measured else names
            columns = tuple(name for name in names if name in worst[:_MOST_COLUMNS])
        return cls(
            (*names, *(measured.labels.regions if measured else ())),
            columns,
            {name: _volumes([row.cells[name].volume for row in rows]) for name in names},
            tuple(_plots(gathered, rows)),
            rows[0].unit if rows else "ml",
            sum(row.review for row in rows),
            sum(bool(row.flags) for row in rows),
            sum(row.error is not None for row in rows),
            any(not math.isnan(row.expected_dice) for row in rows),
            measured is not None and any((*measured.missed.values(), *measured.invented.values())),
        )


def _volumes(values: Sequence[float]) -> Volumes:
    found = [value for value in values if math.isfinite(value)]
    if not found:
        return Volumes(math.nan, math.nan, math.nan, 0)
    return Volumes(float(np.median(found)), min(found), max(found), len(found))


def _plots(gathered: Gathered, rows: Sequence[Row]) -> list[tuple[str, str, tuple[Markup, ...]]]:
    names, pages = gathered.labels.names, {row.name: row.page for row in rows}
    # named as the rows are: figures of cases without a page lead nowhere and are left out
    scored = [case for case in gathered.cases if case.scores and case.scores.error is None]
    if not scored:
        links = {name: [row.page for row in rows] for name in names}
        values = {name: [row.cells[name].volume for row in rows] for name in names}
        unit = rows[0].unit if rows else "ml"
        drawn = (Markup(box_plot(f"volume, {unit}", values, links)),)
        return [("Volumes", "A point is a case and leads to it; boxes hold the middle half.", drawn)]
    figures = {name: [case.scores.structures.get(name, {}) for case in scored if case.scores] for name in names}
    links = {name: [pages[case.name] for case in scored] for name in names}
    boxes = tuple(
        Markup(box_plot(title, {n: [f.get(key, math.nan) for f in figures[n]] for n in names}, links))
        for key, title in _PLOTTED
    )
    agreement = []
    for name in names:
        both = [
            (found["prediction_ml"], found["truth_ml"], link)
            for found, link in zip(figures[name], links[name], strict=True)
            if found and math.isfinite(found["prediction_ml"]) and math.isfinite(found["truth_ml"])
        ]
        if both:
            predicted, true, where = zip(*both, strict=True)
            agreement.append(Markup(bland_altman(name, "ml", predicted, true, where)))
    plots = [
        (
            "Overlap and distance",
            "A point is a case and leads to it; boxes hold the middle half, the thick line is the median.",
            boxes,
        )
    ]
    if agreement:
        plots.append(
            (
                "Agreement of volumes",
                "Bland and Altman: prediction less truth over the mean of both. Solid: bias; dashed: limits of "
                "agreement (bias ± 1.96 SD); dotted: zero.",
                tuple(agreement),
            )
        )
    return plots
