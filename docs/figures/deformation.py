"""The documentation's figures of the paper's training: the weight map, and a grid before and after deformation.

``python docs/figures/deformation.py [FOLDER]`` writes ``weight_map.png`` and ``deformation.png`` (beside this file by
default). Everything is drawn from cells made up here; the functions are the package's own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from saving import save
from scipy.ndimage import gaussian_filter

from volseg.transforms import CoordinateMap, GridElastic, separate, warp
from volseg.transforms.weight_map import weight_map

SIZE = 192


def cells(seed: int = 3, count: int = 34) -> tuple[np.ndarray, np.ndarray]:
    """A picture of round cells that touch, and their instance map."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    instances = np.zeros((SIZE, SIZE), dtype=np.int32)
    for number in range(1, count + 1):
        centre, radii, angle = random.uniform(8, SIZE - 8, 2), random.uniform(11, 18, 2), random.uniform(0, np.pi)
        along = np.cos(angle) * (y - centre[0]) + np.sin(angle) * (x - centre[1])
        across = -np.sin(angle) * (y - centre[0]) + np.cos(angle) * (x - centre[1])
        inside = (along / radii[0]) ** 2 + (across / radii[1]) ** 2 < 1
        free = inside & (instances == 0)
        if free.sum() > 0.7 * inside.sum():
            instances[free] = number
    apart = separate(instances)
    texture = gaussian_filter(random.normal(size=apart.shape), 1.5)
    return gaussian_filter((apart > 0) * 1.0, 1.2) + 0.5 * texture, apart


def draw_weight_map(path: Path) -> None:
    """Image, instances and weight map, side by side."""
    image, instances = cells()
    shuffled = np.random.default_rng(0).permutation(instances.max() + 1) + 1
    coloured = np.ma.masked_equal(np.where(instances > 0, shuffled[instances], 0), 0)
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
    axes[0].imshow(image, cmap="gray")
    axes[1].imshow(coloured, cmap="tab20", interpolation="nearest")
    weights = axes[2].imshow(weight_map(instances, w0=10.0, sigma=5.0), cmap="magma")
    figure.colorbar(weights, ax=axes[2], shrink=0.8)
    for ax, title in zip(axes, ("image", "instances", "weight map"), strict=True):
        ax.set_title(title)
        ax.set_axis_off()
    save(figure, path)


def draw_deformation(path: Path) -> None:
    """A grid over the cells, before and after one deformation from a 3x3 grid with a standard deviation of 10."""
    image, instances = cells()
    elastic = GridElastic(grid=(3, 3), std=10.0).draw(np.random.default_rng(2), image.shape)
    mapping = elastic.coordinate_map()
    still = CoordinateMap.affine(np.eye(3), image.shape)
    figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.3), layout="constrained")
    for ax, shown, title in zip(axes, (still, mapping), ("before", "after"), strict=True):
        picture, inside = (torch.as_tensor(v[None]).float() for v in (image, instances > 0))
        ax.imshow(warp(picture, shown)[0], cmap="gray")
        ax.contour(warp(inside, shown)[0], levels=[0.5], colors="#E69F00", linewidths=0.9)
        for position in shown.dense(image.shape):  # a line runs where a position is a multiple of 16
            ax.contour(position, levels=np.arange(0, SIZE, 16), colors="#56B4E9", linewidths=0.7)
        ax.set_title(title)
        ax.set_axis_off()
    save(figure, path)


def main(folder: Path) -> None:
    draw_weight_map(folder / "weight_map.png")
    draw_deformation(folder / "deformation.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
