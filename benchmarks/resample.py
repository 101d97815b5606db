"""Logits of many classes to the image's own grid and there to labels: ours, MONAI's Invertd, scikit-image per class."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.frame import child, record
from benchmarks.inference import peak, reset_peak

PEERS = ("monai", "monai, allocator set", "scikit-image")


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks resample", description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=[160, 160, 80], help="the network's grid")
    parser.add_argument("--onto", type=int, nargs=3, default=[256, 256, 128], help="the image's grid")
    parser.add_argument("--classes", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many")
    options = parser.parse_args(argv)
    work = {"shape": options.shape, "onto": options.onto, "classes": options.classes}
    table: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("volseg", "whole, then argmax", *PEERS):
            way, keep = name.split(",")[0], "allocator" in name
            repeats = options.repeats if way == "volseg" else 1
            saved = str(Path(folder, f"{name}.npy"))
            table[name] = child(
                "benchmarks.resample", "measure", way=way, keep=keep, repeats=repeats, saved=saved, **work
            )
            row = table[name]
            row["agreement"] = _agreement(saved, str(Path(folder, "volseg.npy")))
            print(
                f"{name:22} {row['seconds']:8.3f} s {row['cpu_seconds']:8.3f} s cpu {row['peak'] / 2**20:8.0f} MiB, "
                f"{row['agreement']:.6%} of labels as ours"
            )
    ours = table.pop("volseg")
    exact = table["whole, then argmax"]["agreement"] == 1
    ratio = {name: round(row["seconds"] / ours["seconds"], 2) for name, row in table.items()}
    print(f"times as fast: {ratio}; slab by slab as at once: {exact}")
    record(
        "resample",
        work=f"{options.classes} classes of logits, {options.shape} to {options.onto} voxels, linear, then argmax",
        ours=ours,
        peer=table,
        ratio=ratio,
        packages=("scikit-image",),
        as_at_once=exact,
    )
    return 0 if exact else 1


def measure(
    way: str, shape: list[int], onto: list[int], classes: int, repeats: int, keep: bool, saved: str
) -> dict[str, Any]:
    """Best time and peak resident memory above the logits, of one contender in this process."""
    import numpy as np

    from volseg.inference import allocator

    if keep or way == "volseg":
        allocator.keep_large_blocks()
    logits = make_logits(tuple(shape), classes)
    work = _WAYS[way](logits, tuple(onto))
    allocator.give_back()
    base = reset_peak()
    seconds, processor = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        labels = work()
        seconds.append(time.perf_counter() - wall)
        processor.append(time.process_time() - cpu)
    most = peak() - base
    np.save(saved, np.asarray(labels).astype(np.uint8))
    return {"seconds": round(min(seconds), 4), "cpu_seconds": round(min(processor), 4), "peak": most}


def make_logits(shape: tuple[int, ...], classes: int) -> Any:
    """Smooth fields, so that classes make regions as a network's do."""
    import torch

    from volseg.transforms.regrid import regrid

    torch.manual_seed(0)
    coarse = torch.randn(classes, *(max(2, n // 10) for n in shape))
    return regrid(coarse, shape, "cubic").contiguous()


def _agreement(first: str, second: str) -> float:
    import numpy as np

    return float((np.load(first) == np.load(second)).mean())


def _ours(logits: Any, onto: tuple[int, ...]) -> Callable[[], Any]:
    from volseg.inference.stream import Decision, decide
    from volseg.inference.tiling import Box

    shape, decision, rows = tuple(logits.shape[1:]), Decision(tuple(range(len(logits)))), 16

    def pieces() -> Any:
        for start in range(0, shape[0], rows):
            stop = min(start + rows, shape[0])
            yield Box((start, 0, 0), (stop, *shape[1:])), logits[:, start:stop]

    return lambda: decide(pieces(), shape, decision, onto=onto).labels


def _at_once(logits: Any, onto: tuple[int, ...]) -> Callable[[], Any]:
    from volseg.inference.stream import Decision, decide
    from volseg.inference.tiling import Box

    shape, decision = tuple(logits.shape[1:]), Decision(tuple(range(len(logits))))

    def work() -> Any:
        import volseg.inference.stream as stream

        stream._CHUNK = 1 << 60  # all of the interpolated logits exist, as elsewhere
        return decide([(Box.whole(shape), logits)], shape, decision, onto=onto).labels

    return work


def _monai(logits: Any, onto: tuple[int, ...]) -> Callable[[], Any]:
    """As a bundle does it: the image was brought to the network's spacing, its prediction is brought back."""
    import torch
    from monai.data import MetaTensor
    from monai.transforms import Invertd, Spacingd

    there = Spacingd(
        "image",
        pixdim=[n / m for n, m in zip(onto, logits.shape[1:], strict=True)],
        align_corners=False,
        mode="bilinear",
    )
    data = there({"image": MetaTensor(torch.zeros(1, *onto), affine=torch.eye(4))})
    back = Invertd("pred", there, "image", nearest_interp=False, to_tensor=True)
    image = data["image"]
    given = logits[(slice(None), *(slice(0, n) for n in image.shape[1:]))]

    def work() -> Any:
        pred = MetaTensor(given, meta=dict(image.meta))
        return back({"image": image, "pred": pred})["pred"].argmax(0)

    return work


def _skimage(logits: Any, onto: tuple[int, ...]) -> Callable[[], Any]:
    """As nnU-Net does it: each class is resized, then the largest wins."""
    import numpy as np
    from skimage.transform import resize

    arrays = logits.numpy()

    def work() -> Any:
        resized = [resize(a, onto, order=1, mode="edge", anti_aliasing=False) for a in arrays]
        return np.stack(resized).argmax(0)

    return work


_WAYS = {"volseg": _ours, "whole": _at_once, "monai": _monai, "scikit-image": _skimage}
