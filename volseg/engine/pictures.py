"""Pictures of a run: curves of loss and Dice, and the first validation cases with truth and prediction on them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from volseg.engine.log import Event, RunLog
from volseg.errors import printable
from volseg.io.atomic import write_bytes
from volseg.labels import Labels

_SIDE, _LINE = 320, 14  # pixels of a panel's longer side, and of a line of text


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
    figure = Figure(figsize=(8, 6))
    figure.subplots_adjust(0.09, 0.08, 0.88, 0.97, hspace=0.08)  # a layout worked out anew takes longer than the rest
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
    """The slice with the most truth: the image, and beside it truth and prediction in colour, as PNG.

    Args:
        image: one channel, on the network's grid.
        truth: class numbers on the image's own grid, the same field of view.
        prediction: likewise.
        labels: the structures, in the order of the class numbers.
        dice: by structure.
    """
    volume = truth.ndim == 3
    if volume:
        depth = int(((truth > 0) & (truth <= len(labels))).sum(axis=(0, 1)).argmax())
        image = image[..., min(image.shape[2] - 1, round(depth * image.shape[2] / truth.shape[2]))]
        truth, prediction = truth[..., depth], prediction[..., depth]
    low, high = np.percentile(image, [0.5, 99.5])
    grey = (np.clip((image - low) / max(float(high - low), 1e-6), 0, 1) * 255).astype(np.uint8)
    size = _shown(truth.shape if volume else truth.shape[::-1])
    plain = np.asarray(Image.fromarray(_upright(grey, volume)).resize(size, Image.Resampling.BILINEAR))
    panels = [plain[..., None].repeat(3, axis=2)]
    for mask in (truth, prediction):
        known = np.where(mask <= len(labels), mask, 0).astype(np.int32)
        large = np.asarray(Image.fromarray(_upright(known, volume)).resize(size, Image.Resampling.NEAREST))
        panels.append(np.where(large[..., None] > 0, (panels[0] + _palette(labels)[large]) / 2, panels[0]))
    gap = np.full((size[1], 6, 3), 255)
    body = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], axis=1).astype(np.uint8)
    picture = Image.new("RGB", (body.shape[1], body.shape[0] + 2 * _LINE), "white")
    picture.paste(Image.fromarray(body), (0, 2 * _LINE))
    pen = ImageDraw.Draw(picture)
    pen.text((2, 2), ", ".join(f"{name} {dice[name]:.3f}" for name in labels.names if name in dice), fill="black")
    for number, title in enumerate(("image", "truth", "prediction")):
        pen.text((2 + number * (size[0] + 6), 2 + _LINE), title, fill="black")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def _shown(shape: Sequence[int]) -> tuple[int, int]:
    """The size of a panel: the longer side about 320 pixels."""
    factor = _SIDE / max(shape)
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def _upright(plane: npt.NDArray[Any], volume: bool) -> npt.NDArray[Any]:
    """A slice as viewers show it, anterior up and the patient's right on the left; a picture as its file has it."""
    return np.ascontiguousarray(plane.T[::-1, ::-1] if volume else plane)


def _palette(labels: Labels) -> npt.NDArray[np.float64]:
    colours = ["#000000", *(structure.colour for structure in labels.structures)]
    return np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours], dtype=np.float64)


def _values(values: Any) -> list[float]:
    return [float("nan") if value is None else float(value) for value in values]


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
