"""The U-Net's weight map, against its definition: one distance transform of the whole image for each cell."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.elastic import alternate, ratios, show, timed
from benchmarks.frame import child, record

CONTENDERS = {"volseg": "ours", "brute force": "brute_force"}


def run(argv: list[str]) -> int:
    """Check that both agree, time both, record the ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks weightmap", description=__doc__)
    parser.add_argument("--size", type=int, default=512, help="pixels along each axis (default 512)")
    parser.add_argument("--cells", type=int, default=200, help="cells (default 200)")
    parser.add_argument("-n", "--repeats", type=int, default=3, help="maps in a turn (default 3)")
    parser.add_argument("--turns", type=int, default=3, help="turns of both (default 3)")
    options = parser.parse_args(argv)
    work = {"size": options.size, "cells": options.cells}
    difference = child("benchmarks.weightmap", "difference", **work)
    seconds = alternate("benchmarks.weightmap", CONTENDERS, options.turns, repeats=options.repeats, **work)
    show(seconds)
    print(f"largest difference: {difference:.2g}")
    if difference > 1e-6:
        raise SystemExit("the two maps differ by more than 1e-6")
    record(
        "weightmap",
        work=f"second term of the weight map (w0 10, sigma 5), {options.cells} cells, {options.size}x{options.size}, "
        "median seconds; brute force is scipy's distance transform of the image once for each cell",
        ours=seconds["volseg"],
        peer={"brute force": seconds["brute force"]},
        ratio=ratios(seconds),
        packages=("scipy",),
        difference=difference,
    )
    return 0


def ours(size: int, cells: int, repeats: int) -> list[float]:
    from volseg.transforms import border_weights

    instances = _instances(size, cells)
    return timed(lambda: border_weights(instances, 10.0, 5.0), repeats)


def brute_force(size: int, cells: int, repeats: int) -> list[float]:
    instances = _instances(size, cells)
    return timed(lambda: _by_definition(instances), repeats)


def difference(size: int, cells: int) -> float:
    import numpy as np

    from volseg.transforms import border_weights

    instances = _instances(size, cells)
    return float(np.abs(border_weights(instances, 10.0, 5.0) - _by_definition(instances)).max())


def _by_definition(instances: Any) -> Any:
    import numpy as np
    from scipy.ndimage import distance_transform_edt

    first = np.full(instances.shape, np.inf)
    second = first.copy()
    for number in range(1, instances.max() + 1):
        distance = distance_transform_edt(instances != number)
        np.minimum(second, np.maximum(first, distance), out=second)
        np.minimum(first, distance, out=first)
    return np.where(instances == 0, 10.0 * np.exp(-((first + second) ** 2) / 50.0), 0.0)


def _instances(size: int, cells: int) -> Any:
    """Round cells at random places, none hidden entirely."""
    import numpy as np

    random = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    instances = np.zeros((size, size), dtype=np.int32)
    made = 0
    while made < cells:
        radius = random.uniform(0.018, 0.032) * size
        inside = (y - random.uniform(0, size)) ** 2 + (x - random.uniform(0, size)) ** 2 < radius**2
        free = inside & (instances == 0)
        if free.sum() > inside.sum() / 2:
            made += 1
            instances[free] = made
    return instances
