"""Elastic deformation of an image and its label, against MONAI, TorchIO and the bare grid_sample of the two."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.frame import child, record

CONTENDERS = {
    "volseg": "ours",
    "grid_sample alone": "bare",
    "MONAI Rand3DElasticd": "monai",
    "TorchIO": "torchio",
}


def run(argv: list[str]) -> int:
    """Time each contender in a process of its own, in turns, and record the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks elastic", description=__doc__)
    parser.add_argument("--size", type=int, default=128, help="voxels along each axis (default 128)")
    parser.add_argument("-n", "--repeats", type=int, default=9, help="deformations in a turn (default 9)")
    parser.add_argument("--turns", type=int, default=3, help="turns of every contender (default 3)")
    options = parser.parse_args(argv)
    seconds = alternate("benchmarks.elastic", CONTENDERS, options.turns, size=options.size, repeats=options.repeats)
    show(seconds)
    record(
        "elastic",
        work=f"one elastic deformation of an image (float32, linear) and its label (uint8, nearest), {options.size}^3,"
        " median seconds; grid_sample alone is given its field, for float32 tensors, mirrored borders",
        ours=seconds["volseg"],
        peer={name: value for name, value in seconds.items() if name != "volseg"},
        ratio=ratios(seconds),
        packages=("torchio",),
    )
    return 0


def alternate(module: str, contenders: dict[str, str], turns: int, **arguments: Any) -> dict[str, float]:
    """Each contender's median of all turns' seconds, the turns taken one after the other."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, function in contenders.items():
            found[name] += child(module, function, **arguments)
    return {name: statistics.median(values) for name, values in found.items()}


def ratios(seconds: dict[str, float]) -> dict[str, float]:
    """How many times our seconds each of the others takes."""
    return {name: round(value / seconds["volseg"], 2) for name, value in seconds.items() if name != "volseg"}


def show(seconds: dict[str, float]) -> None:
    """Print milliseconds, and the factor to ours."""
    for name, value in seconds.items():
        print(f"{name:28} {value * 1e3:9.1f} ms {value / seconds['volseg']:7.2f} x")


def timed(work: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each repetition, after two that warm up."""
    for _ in range(2):
        work()
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return found


def case(size: int) -> dict[str, Any]:
    """An image and a label, as loaders give them."""
    import torch
    from monai.data import MetaTensor

    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, size, size, size, generator=generator)
    label = (torch.rand(1, size, size, size, generator=generator) * 4).to(torch.uint8)
    return {"image": MetaTensor(image), "label": MetaTensor(label)}


def ours(size: int, repeats: int) -> list[float]:
    from volseg.transforms import RandGridElasticd

    elastic = RandGridElasticd(["image", "label"], grid=(3, 3, 3), std=10.0).set_random_state(seed=0)
    given = case(size)
    return timed(lambda: elastic(given), repeats)


def bare(size: int, repeats: int) -> list[float]:
    import numpy as np
    import torch
    import torch.nn.functional as F

    from volseg.transforms import GridElastic

    drawn = GridElastic(grid=3, std=10.0).draw(np.random.default_rng(0), (size,) * 3)
    positions = drawn.coordinate_map().dense((size,) * 3)
    grid = (positions.movedim(0, -1).flip(-1) * (2 / (size - 1)) - 1).contiguous()[None]
    image, label = (tensor.as_tensor()[None].float() for tensor in case(size).values())

    def sample() -> list[torch.Tensor]:
        return [
            F.grid_sample(tensor, grid, mode=mode, padding_mode="reflection", align_corners=True)
            for tensor, mode in ((image, "bilinear"), (label, "nearest"))
        ]

    return timed(sample, repeats)


def monai(size: int, repeats: int) -> list[float]:
    from monai.transforms import Rand3DElasticd

    elastic = Rand3DElasticd(
        ["image", "label"],
        sigma_range=(5, 8),  # as in MONAI's own documentation: a finer field than ours, and cheaper than one as smooth
        magnitude_range=(100, 200),
        prob=1.0,
        mode=("bilinear", "nearest"),
        padding_mode="reflection",
    ).set_random_state(seed=0)
    given = case(size)
    return timed(lambda: elastic(given), repeats)


def torchio(size: int, repeats: int) -> list[float]:
    import torchio as tio

    subject = tio.Subject(
        {
            "image": tio.ScalarImage(tensor=case(size)["image"].as_tensor()),
            "label": tio.LabelMap(tensor=case(size)["label"].as_tensor()),
        }
    )
    elastic = tio.RandomElasticDeformation()  # 7x7x7 control points, at most 7.5 voxels
    return timed(lambda: elastic(subject), repeats)
