"""Time and memory against the volume's size at a fixed budget; time must stay linear in voxels."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.frame import child, record


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks growth", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96, 128, 192, 256, 320, 384])
    parser.add_argument("--budget", type=int, default=2048, help="in MiB")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--peer-up-to", type=int, default=256, help="MONAI is measured up to this size")
    options = parser.parse_args(argv)
    ours, peer = [], []
    for size in options.sizes:
        row = _measured("ours", size, options.repeats, max_memory=options.budget << 20)
        ours.append({"size": size, **row})
        print(f"volseg {size}^3: {row['seconds']:.2f} s, {row['peak'] / 2**20:.0f} MiB")
        if size <= options.peer_up_to:
            row = _measured("monai", size, 1)
            peer.append({"size": size, **row})
            print(f"monai  {size}^3: {row['seconds']:.2f} s, {row['peak'] / 2**20:.0f} MiB")
    exponent = fitted_exponent([r["size"] ** 3 for r in ours], [r["seconds"] for r in ours])
    print(f"time grows with voxels to the power {exponent:.3f}")
    last = peer[-1] if peer else None
    same = next((r for r in ours if last and r["size"] == last["size"]), None)
    ratio = round(last["seconds"] / same["seconds"], 2) if last and same else None
    record(
        "growth",
        work=f"3-D U-Net over cubes of {options.sizes} voxels a side, {options.budget} MiB allowed",
        ours=ours,
        peer=peer,
        ratio=ratio,
        exponent=round(exponent, 4),
        budget_MiB=options.budget,
    )
    return 0 if exponent <= 1.05 else 1


def fitted_exponent(voxels: list[int], seconds: list[float]) -> float:
    """The slope of a straight line through the logarithms."""
    import numpy as np

    return float(np.polyfit(np.log(voxels), np.log(seconds), 1)[0])


def _measured(way: str, size: int, repeats: int, **more: Any) -> dict[str, Any]:
    result: dict[str, Any] = child("benchmarks.inference", "measure", way=way, size=size, repeats=repeats, **more)
    return result
