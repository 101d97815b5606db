"""Bland and Altman's plot of every quantity, as one SVG that reads in black and white."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from volseg.errors import UsageError
from volseg.evaluation.cardiac import QUANTITIES, CardiacStudy, Quantity
from volseg.metrics import Agreement

_INK, _PAPER = "#1a1a1a", "#ffffff"
# groups differ by shape, never by colour alone
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_COLUMNS = 3
_ROWS = 3
# the same study gives the same bytes, and text stays text
_STYLE = {"svg.hashsalt": "volseg", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 8}


def bland_altman_svg(study: CardiacStudy) -> bytes:
    """Predicted less true over the mean of both, for each quantity: bias and limits of agreement as lines.

    Raises:
        UsageError: if no patient has both a prediction and a truth.
    """
    if not study.compared:
        raise UsageError("a Bland-Altman plot compares with the truth, and no patient has both", mend="give --truths")
    with matplotlib.rc_context(_STYLE):
        figure = _figure(study)
        buffer = io.BytesIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Title": "Bland-Altman plots"})
    return buffer.getvalue()


def _figure(study: CardiacStudy) -> Figure:
    figure = Figure(figsize=(10, 9), layout="constrained", facecolor=_PAPER)
    groups = [heart.group or "" for heart in study.compared]
    names = sorted(set(groups))
    shapes = {name: _MARKERS[k] for k, name in enumerate(names)} if len(names) <= len(_MARKERS) else {}
    panels = figure.subplots(_ROWS, _COLUMNS).ravel()
    for panel, quantity in zip(panels, QUANTITIES, strict=True):
        _draw(panel, study, quantity, [shapes.get(group, "o") for group in groups])
    for panel in panels[-_COLUMNS:]:
        panel.set_xlabel("mean of prediction and truth")
    figure.supylabel("prediction less truth")
    n = len(study.compared)
    figure.suptitle(
        f"Agreement with the truth, {n} patient{'' if n == 1 else 's'}: "
        "bias (solid), bias ± 1.96 SD (dashed), zero (dotted)"
    )
    if len(shapes) > 1:
        _legend(figure, shapes)
    return figure


def _draw(panel: Any, study: CardiacStudy, quantity: Quantity, markers: Sequence[str]) -> None:
    measured, true = (np.asarray(values, dtype=np.float64) for values in study.pairs(quantity.key))
    found = study.agreement[quantity.key]
    kept = np.isfinite(measured) & np.isfinite(true)
    means, differences = (measured + true) / 2, measured - true
    for marker in dict.fromkeys(markers):
        chosen = kept & (np.asarray(markers) == marker)
        panel.scatter(
            means[chosen], differences[chosen], s=18, marker=marker, facecolors="none", edgecolors=_INK, linewidths=0.9
        )
    draw_limits(panel, found, _INK, fontsize=7)
    correlation = f", r = {found.correlation:.3f}" if math.isfinite(found.correlation) else ""
    missing = f", {found.missing} missing" if found.missing else ""
    panel.set_title(f"{quantity.title} ({quantity.unit}), n = {found.n}{correlation}{missing}", fontsize=9)


def draw_limits(panel: Any, found: Agreement, ink: str, *, fontsize: float) -> None:
    """Zero, bias and limits of agreement as lines over points that are there already, each with its value beside it."""
    panel.axhline(0, color=ink, linewidth=0.8, linestyle=":")
    # as many decimals for each as tell them apart
    digits = next((d for d in (0, 1, 2) if found.deviation * 10**d >= 50), 3) if found.deviation > 0 else 1
    for value, name, style in (
        (found.bias, "bias", "-"),
        (found.upper, "+1.96 SD", "--"),
        (found.lower, "−1.96 SD", "--"),
    ):
        if math.isfinite(value) and (name == "bias" or found.deviation > 0):
            panel.axhline(value, color=ink, linewidth=1.0, linestyle=style)
            panel.annotate(
                f"{name}\n{round(value, digits) + 0.0:.{digits}f}".replace("-", "−"),
                (1.0, value),
                xycoords=("axes fraction", "data"),
                xytext=(3, 0),
                textcoords="offset points",
                ha="left",
                va="center",
                fontsize=fontsize,
                color=ink,
            )
    panel.margins(x=0.08, y=0.25)


def _legend(figure: Figure, shapes: dict[str, str]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker=marker, linestyle="none", markerfacecolor="none", markeredgecolor=_INK, label=name or "-")
        for name, marker in shapes.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
