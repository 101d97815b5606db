"""Flip, rotation, scaling and elastic deformation in one resampling, against the chain of MONAI transforms."""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from benchmarks.elastic import alternate, case, ratios, show, timed
from benchmarks.frame import child, record

CONTENDERS = {"volseg": "ours", "MONAI chain": "monai"}


def run(argv: list[str]) -> int:
    """Time both, then move labels there and back, and record the ratio and the overlaps."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks spatial", description=__doc__)
    parser.add_argument("--size", type=int, default=128, help="voxels along each axis (default 128)")
    parser.add_argument("-n", "--repeats", type=int, default=7, help="motions in a turn (default 7)")
    parser.add_argument("--turns", type=int, default=3, help="turns of both (default 3)")
    parser.add_argument("--labels", type=int, default=10, help="labels moved there and back (default 10)")
    options = parser.parse_args(argv)
    seconds = alternate("benchmarks.spatial", CONTENDERS, options.turns, size=options.size, repeats=options.repeats)
    show(seconds)
    dice = {
        name: child("benchmarks.spatial", function, labels=options.labels)
        for name, function in (
            ("volseg", "our_dice"),
            ("MONAI chain", "monai_dice"),
            ("volseg, elastic too", "our_elastic_dice"),
        )
    }
    print("label's Dice, there and back: " + ", ".join(f"{name} {value:.4f}" for name, value in dice.items()))
    record(
        "spatial",
        work="flip + rotation + scaling + elastic deformation of a float32 image (linear) and a uint8 label (nearest), "
        f"{options.size}^3, median seconds; Dice: mean of the classes of {options.labels} labels, 64^3, flipped, "
        "rotated and scaled there and back by each one's own inverse",
        ours={"seconds": seconds["volseg"], "dice": dice["volseg"], "dice with elastic": dice["volseg, elastic too"]},
        peer={"seconds": seconds["MONAI chain"], "dice": dice["MONAI chain"]},
        ratio=ratios(seconds),
    )
    return 0


def our_transform(elastic: bool) -> Any:
    from volseg.transforms import RandSpatiald

    return RandSpatiald(
        ["image", "label"],
        flip_prob=0.5,
        rotation=15,
        scale=(0.9, 1.1),
        elastic={"grid": (3, 3, 3), "std": 5.0} if elastic else None,
        padding="border",
    )


def monai_transform(elastic: bool) -> Any:
    from monai.transforms import Compose, Rand3DElasticd, RandFlipd, RandRotated, RandZoomd

    keys = ["image", "label"]
    angle = 15 * 3.141592653589793 / 180
    mode = ("bilinear", "nearest")
    chain = [
        *(RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(3)),
        RandRotated(keys, angle, angle, angle, prob=1.0, mode=mode, padding_mode="border"),
        RandZoomd(keys, prob=1.0, min_zoom=0.9, max_zoom=1.1, mode=("trilinear", "nearest-exact"), padding_mode="edge"),
    ]
    if elastic:
        chain.append(Rand3DElasticd(keys, (5, 8), (100, 200), prob=1.0, mode=mode, padding_mode="border"))
    return Compose(chain)


def ours(size: int, repeats: int) -> list[float]:
    return _timed(our_transform(elastic=True), size, repeats)


def monai(size: int, repeats: int) -> list[float]:
    return _timed(monai_transform(elastic=True), size, repeats)


def our_dice(labels: int) -> float:
    return _there_and_back(our_transform(elastic=False), labels)


def our_elastic_dice(labels: int) -> float:
    return _there_and_back(our_transform(elastic=True), labels)


def monai_dice(labels: int) -> float:
    return _there_and_back(monai_transform(elastic=False), labels)


def _timed(transform: Any, size: int, repeats: int) -> list[float]:
    transform.set_random_state(seed=0)
    given = case(size)
    return timed(lambda: transform(given), repeats)


def _there_and_back(transform: Any, labels: int) -> float:
    """The mean Dice of a label's classes with itself, moved and moved back by the transform's inverse."""
    import numpy as np
    import torch
    from monai.data import MetaTensor

    places = np.stack(np.meshgrid(*(np.arange(64),) * 3, indexing="ij"))
    found = []
    for seed in range(labels):
        random = np.random.default_rng(seed)
        label = np.zeros(places.shape[1:], dtype=np.uint8)
        for value in (1, 2, 3):  # ellipsoids well inside, so that nothing leaves the image
            centre, radii = random.uniform(24, 40, 3), random.uniform(4, 10, 3)
            inside = sum(((x - c) / r) ** 2 for x, c, r in zip(places, centre, radii, strict=True)) < 1
            label[inside] = value
        tensor = MetaTensor(torch.as_tensor(label[None]))
        transform.set_random_state(seed=seed)
        back = transform.inverse(transform({"image": tensor.float(), "label": tensor}))["label"].numpy()
        for value in np.unique(label)[1:]:
            ours, truth = back[0] == value, label == value
            found.append(float(2 * (ours & truth).sum() / (ours.sum() + truth.sum())))
    return statistics.mean(found)
