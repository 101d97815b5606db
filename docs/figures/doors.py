"""The documentation's figure of a bundle: what a recipe becomes, and what each of the two doors reads and runs.

``python docs/figures/doors.py [FOLDER]`` writes ``doors.png`` (beside this file by default).
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch
from saving import save

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#444444"


def draw_doors(path: Path) -> None:
    figure, ax = plt.subplots(figsize=(8.6, 3.7), layout="constrained")
    ax.set(xlim=(0, 100), ylim=(0, 43))
    ax.set_axis_off()
    _box(ax, (1, 16, 15, 11), "recipe.yaml", "what a person\nwrites", GREY)
    _box(ax, (30, 1, 31, 41), "", "", GREY)
    ax.text(45.5, 38.6, "a bundle", ha="center", weight="bold", fontsize=11)
    _box(ax, (32, 25, 27, 11), "configs/recipe.yaml", "models/*.safetensors", BLUE)
    _box(ax, (32, 11.5, 27, 11), "configs/*.json", "models/model.pt", ORANGE)
    ax.text(45.5, 6.3, "card, licences, manifest,\nacceptance case", ha="center", va="center", fontsize=9, color=GREY)
    _box(ax, (73, 25, 26, 11), "volseg", "runs its own code;\nnothing the bundle names", BLUE)
    _box(ax, (73, 11.5, 26, 11), "python -m monai.bundle", "runs every expression\nand target in the JSON", ORANGE)
    _arrow(ax, (16.5, 21.5), (29.5, 21.5), GREY)
    ax.text(23, 23, "build, train", ha="center", fontsize=9, color=GREY)
    _arrow(ax, (59.5, 30.5), (72.5, 30.5), BLUE)
    _arrow(ax, (59.5, 17), (72.5, 17), ORANGE)
    ax.text(86, 6.3, "the same masks", ha="center", va="center", fontsize=9, color=GREY)
    save(figure, path)


def _box(ax: Axes, place: tuple[float, float, float, float], name: str, more: str, colour: str) -> None:
    left, bottom, width, height = place
    ax.add_patch(
        FancyBboxPatch(
            (left, bottom), width, height, boxstyle="round,pad=0,rounding_size=1", fill=False, ec=colour, lw=1.6
        )
    )
    lines = more.count("\n") + 1
    ax.text(
        left + width / 2, bottom + height / 2 + 1.4 * lines, name, ha="center", va="center", fontsize=10, weight="bold"
    )
    ax.text(left + width / 2, bottom + height / 2 - 2.2, more, ha="center", va="center", fontsize=9)


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str) -> None:
    ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.8})


def main(folder: Path) -> None:
    draw_doors(folder / "doors.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
