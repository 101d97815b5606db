"""The documentation's figures of exact tiles: what a tile reads and keeps, and what blended windows do to logits.

``python docs/figures/tiles.py [FOLDER]`` writes ``tiles.png`` and ``windows.png`` (beside this file by default). The
image is a phantom's, the network has random weights: exactness does not depend on what a network has learnt.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from monai.inferers import SlidingWindowInferer
from saving import save

from volseg.data.phantom import cells
from volseg.inference import OverlapTileInferer
from volseg.inference.tiling import Box, TilePlan, mirror, plan
from volseg.networks import UNet

SIZE, MARGIN, STRIDE = 192, 40, 16
ORANGE, BLUE = "#E69F00", "#56B4E9"


def phantom() -> np.ndarray:
    """Cells under a microscope, 0 to 1."""
    image = cells(5, size=SIZE).image.astype(np.float32)
    scaled: np.ndarray = (image - image.min()) / (image.max() - image.min())
    return scaled


def draw_tiles(path: Path) -> None:
    """Four tiles of a padded and of an unpadded network; one of them with what it reads and what it keeps."""
    image = phantom()
    figure, axes = plt.subplots(1, 2, figsize=(8.2, 4.2), layout="constrained")
    border = [mirror(-MARGIN, SIZE + MARGIN, SIZE)] * 2
    for ax, shown, offset, laid, title in (
        (axes[0], image, 0, plan(image.shape, 96, MARGIN, STRIDE), "padded: reads up to the border"),
        (axes[1], image[np.ix_(*border)], MARGIN, plan(image.shape, 96, MARGIN, STRIDE, "valid"), "unpadded: mirrored"),
    ):
        ax.imshow(shown, cmap="gray", extent=(-offset, SIZE + offset, SIZE + offset, -offset))
        _boxes(ax, laid)
        ax.set_title(title)
        ax.set_axis_off()
    save(figure, path)


def _boxes(ax: Axes, laid: TilePlan) -> None:
    tiles = list(laid)
    for tile in tiles:
        ax.add_patch(_frame(tile.keep, edgecolor="white", linewidth=0.8, linestyle=":"))
    ax.add_patch(_frame(tiles[1].read, edgecolor=BLUE, linewidth=2))
    ax.add_patch(_frame(tiles[1].keep, edgecolor=ORANGE, linewidth=2.4))
    for box, text, colour in ((tiles[1].read, "reads", BLUE), (tiles[1].keep, "keeps", ORANGE)):
        ax.text(box.start[1] + 3, box.stop[0] - 4, text, color=colour, fontsize=11, weight="bold")


def _frame(box: Box, **style: Any) -> Rectangle:
    (top, left), (height, width) = box.start, box.shape
    return Rectangle((left, top), width, height, fill=False, **style)


def draw_windows(path: Path) -> None:
    """How far logits lie from those of one pass over the whole image: blended windows, and exact pieces."""
    image = torch.as_tensor(phantom())[None, None]
    torch.manual_seed(0)
    network = UNet(2, 1, 2, channels=(8, 16, 32, 64)).eval()
    with torch.no_grad():
        whole = network(image)
        blended = SlidingWindowInferer((96, 96), overlap=0.5, mode="gaussian")(image, network)
        ours = OverlapTileInferer(tile=64)(image, network)
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.5), layout="constrained")
    axes[0].imshow(image[0, 0], cmap="gray")
    axes[0].set_title("the image")
    scale = float(whole.abs().max())
    for ax, logits, title in ((axes[1], blended, "windows of 96, overlap 0.5"), (axes[2], ours, "exact pieces")):
        off = ((logits - whole).abs().amax(1)[0] / scale).clamp(min=1e-9).log10()
        drawn = ax.imshow(off, cmap="magma", vmin=-8, vmax=0)
        ax.set_title(title)
    bar = figure.colorbar(drawn, ax=axes[1:], shrink=0.85)
    bar.set_ticks([-8, -6, -4, -2, 0], labels=["1e-8", "1e-6", "1e-4", "0.01", "1"])
    bar.set_label("difference / largest logit")
    for ax in axes:
        ax.set_axis_off()
    save(figure, path)


def main(folder: Path) -> None:
    draw_tiles(folder / "tiles.png")
    draw_windows(folder / "windows.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
