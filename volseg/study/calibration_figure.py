"""The calibration plot of a trust score: predicted and true Dice of every case, told without knowing the patient."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from volseg.study.calibration import Calibration, Told

_INK = "#1a1a1a"
_STYLE = {"svg.hashsalt": "volseg", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 8}
_COLUMNS = 3


def calibration_svg(found: Calibration) -> bytes:
    """A panel for each structure: intervals as bars, the diagonal, the border of review; cases beyond it are filled."""
    names = list(dict.fromkeys(one.seen.structure for one in found.told))
    columns = min(_COLUMNS, max(1, len(names)))
    rows = -(-max(1, len(names)) // columns)
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(3.6 * columns, 3.8 * rows), layout="constrained", facecolor="white")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel in panels[len(names) :]:
            panel.axis("off")
        for panel, name in zip(panels, names, strict=False):
            told = [one for one in found.told if one.seen.structure == name]
            _draw(panel, told, found.trust.structures[name].review)
            panel.set_title(f"{name}, n = {len(told)}{_figures(found, name)}", fontsize=8)
        figure.suptitle(f"Predicted Dice and its {found.trust.confidence:.0%} interval; filled: to be reviewed")
        buffer = io.BytesIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Title": "Calibration of the trust score"})
    return buffer.getvalue()


def _draw(panel: Any, told: Sequence[Told], review: float) -> None:
    said = np.array([one.dice for one in told])
    true = np.array([one.seen.dice for one in told])
    low = max(0.0, min(said.min(), true.min()) - 0.05)
    panel.plot([low, 1], [low, 1], color="#888888", linewidth=0.8, linestyle="--")
    panel.vlines(said, [max(low, one.low) for one in told], [one.high for one in told], color="#bbbbbb", linewidth=0.7)
    for flagged in (False, True):
        chosen = np.array([one.review == flagged for one in told])
        panel.scatter(
            said[chosen],
            true[chosen],
            s=14,
            facecolors=_INK if flagged else "none",
            edgecolors=_INK,
            linewidths=0.8,
            zorder=3,
        )
    panel.axvline(review, color=_INK, linewidth=0.7, linestyle=":")
    panel.set_xlim(low, 1)
    panel.set_ylim(low, 1)
    panel.set_xlabel("predicted Dice")
    panel.set_ylabel("true Dice")


def _figures(found: Calibration, name: str) -> str:
    figures = found.trust.assessment[name]
    rank = figures["spearman"]
    return ("" if rank is None else f", Spearman {rank:.2f}") + f", covered {figures['coverage']:.0%}"
