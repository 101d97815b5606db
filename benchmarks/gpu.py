"""What a GPU makes of it: a large volume through a U-Net, and training steps of recipes; time, memory, utilisation.

``python -m benchmarks gpu`` needs a CUDA device. ``--device cpu --shape 48 48 40 --steps 2`` tries the script where
there is none, and records nothing. ``--only inference`` and ``--only training`` measure one of the two.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from benchmarks.frame import attempt, computes, record
from benchmarks.inference import make_network

# recipe -> the phantoms it is trained on
RECIPES = {
    "configs/acdc_unet2d.yaml": "heart",
    "configs/acdc_unet3d.yaml": "heart",
    "configs/nuclei_unet2d.yaml": "cells",
}
WINDOW, BATCH = 96, 4
# name -> way, precision, compiled
PASSES: dict[str, dict[str, Any]] = {
    "volseg": {"way": "ours", "precision": "float32"},
    "volseg, fp16": {"way": "ours", "precision": "fp16"},
    "volseg, bf16": {"way": "ours", "precision": "bf16"},
    "one pass": {"way": "whole", "precision": "float32"},
    "one pass, compiled": {"way": "whole", "precision": "float32", "compiled": True},
    "one pass, fp16": {"way": "whole", "precision": "fp16"},
    "one pass, fp16, compiled": {"way": "whole", "precision": "fp16", "compiled": True},
    "monai": {"way": "monai", "precision": "float32"},
    "monai, fp16": {"way": "monai", "precision": "fp16"},
}

# name -> precision, compiled
PRECISIONS = {
    "float32": ("float32", False),
    "bf16": ("bf16", False),
    "fp16": ("fp16", False),
    "bf16, compiled": ("bf16", True),
}


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", choices=["inference", "training"])
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 400])
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many, after one to warm up")
    parser.add_argument("--recipes", nargs="*", default=list(RECIPES), help="trained for a few steps on phantoms")
    parser.add_argument("--data", action="append", nargs=2, default=[], help="a further recipe, and the cohort for it")
    parser.add_argument("--compiled", nargs="*", help="the recipes to be measured compiled as well; all by default")
    parser.add_argument("--steps", type=int, default=30)
    options = parser.parse_args(argv)
    import torch

    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("there is no CUDA device here; --device cpu with a small --shape tries the script")
        return 1
    if options.only != "training":
        _inference(options.device, options.shape, options.repeats)
    if options.only != "inference":
        recipes = {**dict.fromkeys(options.recipes), **dict(options.data)}
        _training(options.device, recipes, options.steps, recipes if options.compiled is None else options.compiled)
    return 0


def _inference(device: str, shape: list[int], repeats: int) -> None:
    passes: dict[str, dict[str, Any]] = {}
    for name, way in PASSES.items():
        if computes(way["precision"], device):
            _tell(passes, name, "measure_pass", device=device, shape=shape, repeats=repeats, **way)
    if device.startswith("cuda"):
        record(
            "gpu_inference",
            work=f"3-D U-Net (16, 32, 64, 128), batch norm, three classes, {' x '.join(map(str, shape))} voxels in"
            " memory to labels in memory",
            ours={name: row for name, row in passes.items() if name.startswith("volseg")},
            peer={name: row for name, row in passes.items() if not name.startswith("volseg")},
            ratio=_ratios(passes),
        )


def _training(device: str, recipes: Mapping[str, str | None], steps: int, compiled: Collection[str]) -> None:
    """Each recipe in single and in half precision, and compiled; recorded as far as it came."""
    measured: dict[str, dict[str, Any]] = {}
    for recipe, data in recipes.items():
        for name, (precision, compile_it) in PRECISIONS.items():
            if not computes(precision, device) or (compile_it and recipe not in compiled):
                continue
            way = {"recipe": recipe, "data": data, "precision": precision, "compiled": compile_it}
            _tell(measured, f"{Path(recipe).stem}, {name}", "measure_steps", device=device, steps=steps, **way)
        if device.startswith("cuda"):
            record(
                "gpu_training",
                work=f"training steps, {steps} of each; utilisation is the share of a step's time that the same step"
                " takes on one constant batch",
                ours=measured,
                peer=None,
                ratio=None,
            )


def _tell(table: dict[str, dict[str, Any]], name: str, function: str, **way: Any) -> None:
    """Measure a contender, and print what came of it."""
    if attempt(table, name, "benchmarks.gpu", function, **way):
        print(f"{name}: {table[name]}", flush=True)


def _ratios(passes: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Each peer's seconds over ours, in the same precision where it has one."""
    return {
        ours: {
            name: round(row["seconds"] / passes[ours]["seconds"], 2)
            for name, row in passes.items()
            if not name.startswith("volseg")
        }
        for ours in passes
        if ours.startswith("volseg")
    }


def measure_pass(
    way: str, precision: str, device: str, shape: list[int], repeats: int, compiled: bool = False
) -> dict[str, Any]:
    """Best time of a volume to its labels, and the peak memory on the device above the loaded network."""
    import torch

    where, half = torch.device(device), {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision)
    network = make_network(3).to(where)
    volume = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(1))
    call = torch.compile(network) if compiled else network
    work = {"ours": _ours, "whole": _whole, "monai": _monai}[way](call, volume, where, precision)
    base = _allocated(where, reset=True)
    seconds = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        with torch.inference_mode(), torch.autocast(where.type, half, enabled=half is not None and way != "ours"):
            work()
        _finish(where)
        seconds.append(time.perf_counter() - began)
    return {"seconds": round(min(seconds[1:]), 3), "peak": _allocated(where) - base}


def _ours(network: Any, volume: Any, _where: Any, precision: str) -> Callable[[], Any]:
    from volseg.inference.pieces import stream_logits
    from volseg.inference.stream import Decision, decide

    def work() -> Any:
        pieces = stream_logits(volume[0], network, precision=precision)  # type: ignore[arg-type]
        return decide(pieces, volume.shape[2:], Decision((0, 1, 2))).labels

    return work


def _whole(network: Any, volume: Any, where: Any, _precision: str) -> Callable[[], Any]:
    import torch

    return lambda: network(volume.to(where)).argmax(1).to(torch.uint8).cpu()


def _monai(network: Any, volume: Any, where: Any, _precision: str) -> Callable[[], Any]:
    import torch
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(
        (WINDOW,) * 3, sw_batch_size=BATCH, overlap=0.5, mode="gaussian", sw_device=where, device=where
    )
    return lambda: inferer(volume, network).argmax(1).to(torch.uint8).cpu()


def measure_steps(
    recipe: str, data: str | None, precision: str, compiled: bool, device: str, steps: int
) -> dict[str, Any]:
    """Training steps a second with real data, and how busy the device is with them."""
    from benchmarks.train_step import measure
    from volseg.data.phantom import write_cohort

    with tempfile.TemporaryDirectory() as folder:
        cohort = data or str(write_cohort(Path(folder, "data"), RECIPES[recipe], 4, seed=0))
        found = measure(recipe, cohort, device, steps, changes=[f"training.precision={precision}"], compiled=compiled)
    return {
        "steps_per_second": round(1 / found["data_s"], 2),
        "utilisation": round(min(1.0, found["constant_s"] / found["data_s"]), 3),
    }


def _finish(where: Any) -> None:
    import torch

    if where.type == "cuda":
        torch.cuda.synchronize(where)


def _allocated(where: Any, reset: bool = False) -> int:
    """The most bytes of tensors on the device so far; on the CPU the process's peak."""
    import torch

    from benchmarks.frame import peak_rss

    if where.type != "cuda":
        return peak_rss()
    if reset:
        torch.cuda.reset_peak_memory_stats(where)
    return torch.cuda.max_memory_allocated(where)
