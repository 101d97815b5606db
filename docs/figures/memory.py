"""The documentation's figure of the memory contract: what the planner foretells for longer and longer volumes.

``python docs/figures/memory.py [FOLDER]`` writes ``memory.png`` (beside this file by default). Nothing is run: the
bytes are the package's own arithmetic on the network's layers. What a process really takes is measured by
``python -m benchmarks memory`` and ``growth``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from saving import save

from volseg.inference.layers import Levels
from volseg.inference.planner import plan_rows
from volseg.networks import UNet

CLASSES, ACROSS, GiB = 24, (512, 512), 1 << 30
LENGTHS = list(range(64, 833, 32))
BUDGETS = ((2, "#E69F00"), (4, "#0072B2"))


def draw_memory(path: Path) -> None:
    """Peak memory against the number of slices, beside the logits that windows would gather."""
    with torch.device("meta"):
        network = UNet(3, 1, CLASSES, channels=(16, 32, 64, 128)).eval()
    layers = Levels.of(network)
    figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    logits = [CLASSES * 4 * ACROSS[0] * ACROSS[1] * length / GiB for length in LENGTHS]
    ax.plot(LENGTHS, logits, color="0.4", linestyle="--", label=f"full-size logits of {CLASSES} classes, float32")
    for budget, colour in BUDGETS:
        foretold = [plan_rows(layers, (*ACROSS, length), budget=budget * GiB, axis=2).bytes / GiB for length in LENGTHS]
        ax.plot(LENGTHS, foretold, color=colour, linewidth=2, label=f"volseg, {budget} GiB allowed")
        ax.axhline(budget, color=colour, linestyle=":", linewidth=1)
    ax.set(xlabel="slices of 512 x 512", ylabel="GiB above model and input", ylim=(0, 10), xlim=(64, 832))
    ax.legend(loc="center right", bbox_to_anchor=(1.0, 0.7), frameon=False)
    save(figure, path)


def main(folder: Path) -> None:
    draw_memory(folder / "memory.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
