"""The cohort's plots as SVG that takes the page's ink and its fonts: box plots, and agreement of volumes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from volseg.evaluation.bland_altman import draw_limits
from volseg.metrics import measure_agreement

# stands for the page's ink, whatever that is: light pages and dark ones
_INK = "#010203"
_STYLE = {
    "svg.hashsalt": "volseg",
    "svg.fonttype": "none",
    "font.size": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_WIDTH = 4.2


@matplotlib.rc_context(_STYLE)
def box_plot(title: str, values: Mapping[str, Sequence[float]], links: Mapping[str, Sequence[str]]) -> str:
    """Every case as a point over the box of its structure, a row for each; points lead to their cases.

    Boxes reach from the first to the third quartile, whiskers to the last point within 1.5 times that.

    Args:
        title: the measure and its unit.
        values: by structure, a value for each case; NaN and infinity have no place on the axis.
        links: by structure, the page of each case.
    """
    kept = {
        name: [(v, link) for v, link in zip(found, links[name], strict=True) if math.isfinite(v)]
        for name, found in values.items()
    }
    figure = Figure(figsize=(_WIDTH, 0.75 + 0.42 * len(kept)), layout="constrained")
    axes: Any = figure.add_subplot()
    for row, found in enumerate(kept.values()):
        if not found:
            continue
        numbers = [v for v, _ in found]
        if len(numbers) > 2:
            line = {"color": _INK, "linewidth": 0.9}
            axes.boxplot(
                [numbers],
                positions=[row],
                widths=0.55,
                orientation="horizontal",
                showfliers=False,
                medianprops={"color": _INK, "linewidth": 2},
                boxprops=line,
                whiskerprops=line,
                capprops=line,
            )
        points = axes.scatter(numbers, [row + _spread(k) for k in range(len(numbers))], **_points())
        points.set_urls([link for _, link in found])
    axes.set_yticks(range(len(kept)), [_short(name) for name in kept])
    axes.set_ylim(len(kept) - 0.4, -0.6)
    axes.set_title(title, loc="left", fontsize=10)
    axes.grid(axis="x", color=_INK, alpha=0.12, linewidth=0.7)
    axes.tick_params(length=0)
    return _svg(figure, title)


@matplotlib.rc_context(_STYLE)
def bland_altman(
    structure: str, unit: str, predicted: Sequence[float], true: Sequence[float], links: Sequence[str]
) -> str:
    """Predicted less true volume over the mean of both: bias solid, limits of agreement dashed, zero dotted."""
    found = measure_agreement(predicted, true)
    made, given = np.asarray(predicted, dtype=np.float64), np.asarray(true, dtype=np.float64)
    figure = Figure(figsize=(_WIDTH, 2.9), layout="constrained")
    axes: Any = figure.add_subplot()
    points = axes.scatter((made + given) / 2, made - given, **_points())
    points.set_urls(list(links))
    draw_limits(axes, found, _INK, fontsize=8)
    axes.set_title(f"{_short(structure, 40)}, n = {found.n}", loc="left", fontsize=10)
    axes.set_xlabel(f"mean of prediction and truth, {unit}")
    axes.set_ylabel(f"prediction less truth, {unit}")
    axes.tick_params(length=2)
    return _svg(figure, f"Bland-Altman plot of the volume of {structure}")


def _points() -> dict[str, Any]:
    return {"s": 16, "facecolors": "#56B4E9", "edgecolors": _INK, "linewidths": 0.6, "alpha": 0.85, "zorder": 3}


def _spread(number: int) -> float:
    """A little up or down, the same each time, so that equal values are still told apart."""
    return 0.28 * (((number * 0.618034) % 1) - 0.5)


def _short(name: str, most: int = 24) -> str:
    # a dollar sign would begin a formula
    return (name if len(name) <= most else name[: most - 1] + "…").replace("$", r"\$")


def _svg(figure: Figure, title: str) -> str:
    buffer = io.BytesIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})
    text = buffer.getvalue().decode("utf-8")
    return inlined(text[text.index("<svg") :], title)


def inlined(svg: str, title: str) -> str:
    """A drawing as a part of a page: no size of its own, no rules for the rest of the page, the page's ink.

    Ids that nothing refers to are dropped, since two drawings would have the same.
    """
    referred = set(re.findall(r"""(?:url\(#|href="#)([^)"]+)""", svg))
    svg = re.sub(r' id="([^"]+)"', lambda found: found.group() if found[1] in referred else "", svg)
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font-family: [^;\"]+; ", "", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1).replace(_INK, "currentColor")
