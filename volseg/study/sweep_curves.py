"""The curves of every training of a sweep in one figure."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from volseg.study.history import History
from volseg.study.sweep_table import Row

# the same sweep gives the same bytes, and text stays text
_STYLE = {"svg.hashsalt": "volseg", "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 8}
# told apart without full colour vision, and by their dashes without any
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":")


def sweep_svg(rows: Sequence[Row], histories: Sequence[Sequence[History]], shown: int) -> bytes:
    """Validation Dice over epochs, above, and the loss, below: the best recipes with their names, the others in grey.

    Args:
        rows: the best first.
        histories: of the seeds of each row's recipe.
        shown: how many have a name.
    """
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(10, 8), layout="constrained", facecolor="white")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        # the best are drawn last, over the others
        for rank, (row, seeds) in reversed(list(enumerate(zip(rows, histories, strict=True)))):
            named = rank < shown
            style = {
                "color": _COLOURS[rank % len(_COLOURS)] if named else "#bbbbbb",
                "linestyle": _DASHES[rank // len(_COLOURS) % len(_DASHES)] if named else "-",
                "linewidth": 1.3 if named else 0.6,
            }
            for number, history in enumerate(seeds):
                judged = [event for event in history.validations if event.get("dice") is not None]
                label = f"{rank + 1}. {row.arm.name}" if named and number == 0 else None
                upper.plot(
                    [e["epoch"] for e in judged],
                    [e["dice"] for e in judged],
                    marker=".",
                    markersize=3,
                    label=label,
                    **style,
                )
                lower.plot(
                    [e["epoch"] for e in history.epochs],
                    [np.nan if e.get("loss") is None else e["loss"] for e in history.epochs],
                    **style,
                )
        upper.set_ylabel("Dice of the validation cases")
        upper.set_ylim(-0.02, 1.02)
        lower.set_ylabel("loss")
        lower.set_xlabel("epoch")
        for panel in (upper, lower):
            panel.grid(alpha=0.3)
        handles, labels = upper.get_legend_handles_labels()
        if handles:
            order = np.argsort([int(label.partition(".")[0]) for label in labels])
            figure.legend(
                [handles[k] for k in order], [labels[k] for k in order], loc="outside right upper", frameon=False
            )
        buffer = io.BytesIO()
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Title": "Curves of a sweep"})
    return buffer.getvalue()
