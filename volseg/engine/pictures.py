"""Pictures of a run: curves of loss and Dice, and the first validation cases with truth and prediction on them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from volseg.engine.log import Event, RunLog
from volseg.errors import printable
from volseg.io.atomic import write_bytes
from volseg.labels import Labels


class Curves:
    """Draws ``curves.png`` whenever an epoch was validated.

    Args:
        log: of the run, which comes before this among the listeners.
    """

    def __init__(self, log: RunLog) -> None:
        self.log = log

    def __call__(self, event: Event) -> None:
        """Draw, if the event is a validation."""
        if event["event"] == "validation":
            write_bytes(self.log.folder / "curves.png", curves(self.log.epochs))


def curves(epochs: Sequence[Mapping[str, Any]]) -> bytes:
    """Loss and learning rate above, Dice of each structure below, as PNG."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    numbers = [event["epoch"] for event in epochs]
    upper.plot(numbers, _values(event.get("loss") for event in epochs), color="#0072B2")
    upper.set_ylabel("loss")
    rates = upper.twinx()
    rates.plot(numbers, _values(event.get("lr") for event in epochs), color="#999999", linewidth=0.8)
    rates.set_ylabel("learning rate", color="#666666")
    judged = [event for event in epochs if event.get("dice") is not None]
    at = [event["epoch"] for event in judged]
    for name in dict.fromkeys(name for event in judged for name in event.get("labels", {})):
        lower.plot(at, _values(event["labels"].get(name) for event in judged), marker=".", linewidth=1, label=name)
    lower.plot(at, _values(event["dice"] for event in judged), color="black", marker="o", markersize=3, label="mean")
    lower.set_xlabel("epoch")
    lower.set_ylabel("Dice")
    lower.set_ylim(-0.02, 1.02)
    lower.grid(alpha=0.3)
    lower.legend(fontsize="small", loc="lower right")
    return _png(figure)


class Overlays:
    """Draws the first validation cases each time they are judged, as ``pictures/CASE.png``.

    Args:
        folder: of the run.
        labels: for the colours.
        cases: names of the cases to draw.
    """

    def __init__(self, folder: Path, labels: Labels, cases: Sequence[str]) -> None:
        self.folder = folder / "pictures"
        self.labels = labels
        self.cases = frozenset(cases)

    def __call__(self, outcome: Mapping[str, Any]) -> None:
        """Draw, if the case is one of them."""
        if outcome["case"] not in self.cases:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        name = printable(str(outcome["case"])).replace("/", "__")
        image = outcome["image"].numpy()[0]
        picture = overlay(image, outcome["truth"], outcome["prediction"], self.labels, dice=outcome["dice"])
        write_bytes(self.folder / f"{name}.png", picture)


def overlay(
    image: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    prediction: npt.NDArray[Any],
    labels: Labels,
    *,
    dice: Mapping[str, float],
) -> bytes:
    """The slice with the most truth: the image, and beside it truth and prediction as outlines, as PNG.

    Args:
        image: one channel, on the network's grid.
        truth: class numbers on the image's own grid, the same field of view.
        prediction: likewise.
        labels: the structures, in the order of the class numbers.
        dice: by structure.
    """
    if truth.ndim == 3:
        depth = int(((truth > 0) & (truth <= len(labels))).sum(axis=(0, 1)).argmax())
        image = image[..., min(image.shape[2] - 1, round(depth * image.shape[2] / truth.shape[2]))]
        truth, prediction = truth[..., depth], prediction[..., depth]
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    # rows of the picture run along the second axis, backwards: anterior is up, as on a viewer's screen
    extent = (-0.5, truth.shape[0] - 0.5, -0.5, truth.shape[1] - 0.5)
    low, high = np.percentile(image, [0.5, 99.5])
    colours = ListedColormap([structure.colour for structure in labels.structures])
    for axes, (title, mask) in zip(
        figure.subplots(1, 3), (("image", None), ("truth", truth), ("prediction", prediction)), strict=True
    ):
        axes.imshow(image.T, cmap="gray", origin="lower", extent=extent, vmin=low, vmax=max(high, low + 1e-6))
        if mask is not None:
            shown = np.ma.masked_where((mask == 0) | (mask > len(labels)), mask)
            axes.imshow(
                shown.T,
                cmap=colours,
                origin="lower",
                extent=extent,
                alpha=0.5,
                vmin=0.5,
                vmax=len(labels) + 0.5,
                interpolation="nearest",
            )
        axes.set_title(title, fontsize="small")
        axes.set_axis_off()
    told = ", ".join(f"{name} {dice[name]:.3f}" for name in labels.names if name in dice)
    figure.suptitle(f"Dice: {told}", fontsize="small")
    return _png(figure)


def _values(values: Any) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
