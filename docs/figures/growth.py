"""Draw ``growth.png`` from ``benchmarks/results/growth.json``: time and memory against the volume's size."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

HERE = Path(__file__).parent
RESULT = HERE.parent.parent / "benchmarks" / "results" / "growth.json"


def main() -> None:
    result = json.loads(RESULT.read_text())
    figure, (time_axes, memory_axes) = pyplot.subplots(1, 2, figsize=(9, 3.6))
    exponent = result["exponent"]
    rows = (
        (result["ours"], f"volseg (exponent {exponent:.3f})"),
        (result["peer"], "MONAI, windows of 96, overlap 0.5"),
    )
    for measured, name in rows:
        voxels = [row["size"] ** 3 / 1e6 for row in measured]
        time_axes.loglog(voxels, [row["seconds"] for row in measured], marker="o", label=name)
        memory_axes.loglog(voxels, [row["peak"] / 2**20 for row in measured], marker="o", label=name)
    budget = result["budget_MiB"]
    memory_axes.axhline(budget, linestyle=":", color="grey", label=f"allowed: {budget} MiB")
    time_axes.set(xlabel="million voxels", ylabel="seconds")
    memory_axes.set(xlabel="million voxels", ylabel="peak MiB above model and input")
    time_axes.legend()
    memory_axes.legend()
    figure.tight_layout()
    figure.savefig(HERE / "growth.png", dpi=120)
    print(f"written: {HERE / 'growth.png'}; time grows with voxels to the power {exponent}")


if __name__ == "__main__":
    main()
