"""The planner's prediction of a training step's peak memory, against what the process really took."""

from __future__ import annotations

import argparse
from statistics import median
from typing import Any

import numpy as np

from benchmarks.frame import child, record

MiB = 1 << 20


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks plan_memory", description=__doc__)
    parser.add_argument("-n", type=int, default=20, help="how many random recipes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--largest", type=int, default=3000, help="recipes predicted above this are left out, in MiB")
    parser.add_argument("--smallest", type=int, default=300, help="and below this")
    parser.add_argument("--no-record", action="store_true", help="print only")
    options = parser.parse_args(argv)
    rows = []
    for number, (recipe, predicted) in enumerate(_recipes(options)):
        measured = child("benchmarks.plan_memory", "measure", recipe=recipe)
        ratio = predicted / measured["peak"]
        told = _told(recipe)
        rows.append({**told, "predicted_MiB": round(predicted / MiB), "measured_MiB": round(measured["peak"] / MiB)})
        rows[-1]["ratio"] = round(ratio, 3)
        print(
            f"{number:2} {predicted / MiB:6.0f} of {measured['peak'] / MiB:6.0f} MiB  {ratio:5.2f}  {told}", flush=True
        )
    off = sorted(abs(row["ratio"] - 1) for row in rows)
    print(f"off by {median(off):.1%} in the middle, {off[-1]:.1%} at worst; {sum(o <= 0.15 for o in off)} within 15 %")
    if not options.no_record:
        record(
            "plan_memory",
            work="peak resident memory of three training steps above the process before them, predicted and measured",
            ours=rows,
            peer=None,
            ratio={"median": round(median(off), 3), "worst": round(off[-1], 3)},
        )
    return 0 if off[-1] <= 0.15 else 1


def measure(recipe: dict[str, Any]) -> dict[str, Any]:
    """Three steps of a recipe on random patches: the training's own step, nothing of the data."""
    from types import SimpleNamespace

    import torch

    from volseg.engine import compose
    from volseg.engine.averaging import Average
    from volseg.engine.compose import build
    from volseg.engine.preparing import laid_out
    from volseg.engine.probe import in_layout
    from volseg.engine.rehearsal import Peak
    from volseg.engine.step import TrainingStep
    from volseg.inference.allocator import keep_large_blocks
    from volseg.recipe import Recipe

    keep_large_blocks()
    chosen = Recipe.from_dict(recipe)
    device = torch.device("cpu")
    torch.zeros(1 << 16).sum()  # the thread pool is no part of it
    peak = Peak(device)
    network = in_layout(build(compose.network_part(chosen)), bool(chosen.training.channels_last))
    batch, patch = chosen.training.batch, chosen.training.patch

    def prepare(*_: Any) -> tuple[torch.Tensor, torch.Tensor, None]:
        images = torch.randn(batch, chosen.in_channels, *patch)
        inner = tuple(n - 2 * lost for n, lost in zip(patch, chosen.shape.lost, strict=True))
        target = torch.randint(0, chosen.out_channels, (batch, 1, *inner), dtype=torch.uint8)
        return laid_out(images, bool(chosen.training.channels_last)), target, None

    trainer = SimpleNamespace(
        state=SimpleNamespace(iteration=0, epoch=1, epoch_length=3, rank=0, device=device),
        network=network,
        optimizer=build(compose.optimiser_part(chosen), network=network),
        loss_function=build(compose.loss_part(chosen)),
        prepare_batch=prepare,
        inferer=lambda images, net: net(images),
        non_blocking=False,
    )
    precision: Any = chosen.training.precision
    ema = chosen.optimiser.ema
    step = TrainingStep(precision=precision, gradient_clip=12.0, average=None if ema is None else Average(network, ema))
    for _ in range(3):
        trainer.state.iteration += 1
        step(trainer, {"case": ["random"] * batch})
    return {"peak": peak.bytes(), "threads": torch.get_num_threads()}


def _recipes(options: Any) -> list[tuple[dict[str, Any], int]]:
    """Random recipes, by the seed and what this CPU computes, whose prediction lies between the bounds."""
    import torch

    from volseg.engine.compose import build, network_part
    from volseg.engine.thin_maps import thin_maps
    from volseg.inference.arithmetic import possible
    from volseg.planning.memory import step_memory
    from volseg.recipe import Recipe

    rng = np.random.default_rng(options.seed)
    found: list[tuple[dict[str, Any], int]] = []
    while len(found) < options.n:
        drawn = _draw(rng)
        drawn["training"]["precision"] = possible(drawn["training"]["precision"], torch.device("cpu"))
        recipe = Recipe.from_dict(drawn)
        predicted = step_memory(recipe).peak
        if not options.smallest * MiB <= predicted <= options.largest * MiB:
            continue
        shape = (recipe.training.batch, recipe.in_channels, *recipe.training.patch)
        if recipe.training.precision == "bf16" and thin_maps(build(network_part(recipe)), shape):
            continue  # no training would take it
        found.append((drawn, predicted))
    return found


def _draw(rng: np.random.Generator) -> dict[str, Any]:
    dims = int(rng.integers(2, 4))
    levels = int(rng.integers(3, 6))
    width = int(rng.choice([8, 12, 16, 24, 32, 48]))
    total = 2 ** (levels - 1)
    top = 384 if dims == 2 else 112
    patch = [int(rng.integers(1, max(2, top // total) + 1)) * total for _ in range(dims)]
    thick = dims == 3 and rng.uniform() < 0.3
    drawn: dict[str, Any] = {
        "labels": {"values": {f"label {k}": k for k in range(1, int(rng.integers(2, 7)))}},
        "image": {"spatial_dims": dims, "channels": [f"channel {k}" for k in range(int(rng.integers(1, 4)))]},
        "network": {"channels": [min(320, width * 2**level) for level in range(levels)]},
        "training": {
            "patch": patch,
            "batch": int(rng.integers(2, 9 if dims == 3 else 25)),
            "precision": str(rng.choice(["float32", "bf16"])),
            "channels_last": bool(rng.uniform() < 0.5),
        },
        "optimiser": {"ema": 0.99 if rng.uniform() < 0.7 else None},
    }
    if thick:
        drawn["network"] |= {
            "kernel_sizes": [[3, 3, 1], *[3] * (levels - 1)],
            "strides": [[2, 2, 1], *[2] * (levels - 2)],
        }
    return drawn


def _told(recipe: dict[str, Any]) -> dict[str, Any]:
    network, training = recipe["network"], recipe["training"]
    return {
        "patch": "x".join(map(str, training["patch"])),
        "batch": training["batch"],
        "channels": network["channels"],
        "precision": training["precision"],
        "channels_last": training["channels_last"],
    }
