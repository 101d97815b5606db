"""Time and memory against the volume's size, from the record of ``python -m benchmarks growth``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt


def draw_growth(record: Mapping[str, Any], colours: tuple[str, str]) -> plt.Figure:
    """Two plots on logarithmic axes; the budget is a dotted line."""
    figure, (time_axes, memory_axes) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for measured, name, colour in zip(
        (record["ours"], record["peer"]),
        (f"volseg (exponent {record['exponent']:.3f})", "MONAI, windows of 96, overlap 0.5"),
        colours,
        strict=True,
    ):
        voxels = [row["size"] ** 3 / 1e6 for row in measured]
        time_axes.loglog(voxels, [row["seconds"] for row in measured], marker="o", label=name, color=colour)
        memory_axes.loglog(voxels, [row["peak"] / 2**20 for row in measured], marker="o", label=name, color=colour)
    budget = record["budget_MiB"]
    memory_axes.axhline(budget, linestyle=":", color="grey", label=f"allowed: {budget} MiB")
    time_axes.set(xlabel="million voxels", ylabel="seconds")
    memory_axes.set(xlabel="million voxels", ylabel="peak MiB above model and input")
    time_axes.legend()
    memory_axes.legend()
    return figure
