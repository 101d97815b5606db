"""The training step with real data against the same step on one constant batch: what the data pipeline costs.

``python -m benchmarks train_step [--recipe R] [--data D] [--device cpu|cuda] [--steps N]``
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.frame import child, record


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="train_step", description=__doc__)
    parser.add_argument("--recipe", default="configs/heart_unet3d.yaml")
    parser.add_argument("--data", help="a cohort; without one, phantoms")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=20)
    chosen = parser.parse_args(argv)
    found = child("benchmarks.train_step", "measure", **vars(chosen))
    ratio = found["data_s"] / found["constant_s"]
    print(f"with data {found['data_s']:.4f} s, constant batch {found['constant_s']:.4f} s, ratio {ratio:.3f}")
    record(
        f"train_step_{Path(chosen.recipe).stem}_{chosen.device.replace(':', '')}",
        work=f"one training step of {Path(chosen.recipe).stem}, median of {chosen.steps} pairs",
        ours={"with_data_s": found["data_s"], "arithmetic": found["arithmetic"]},
        peer={"constant_batch_s": found["constant_s"]},
        ratio=round(ratio, 4),
        limit=1.10,
    )
    return int(ratio > 1.10)


def measure(
    recipe: str, data: str | None, device: str, steps: int, changes: Sequence[str] = (), compiled: bool = False
) -> dict[str, Any]:
    """Seconds of a step either way, taken in turn so that a busy machine hits both alike.

    Args:
        recipe: what is trained.
        data: a cohort; phantoms without one.
        device: where.
        steps: how many pairs.
        changes: of the recipe, as ``training.precision=bf16``.
        compiled: whether the network is compiled first.
    """
    import torch

    from volseg.data.caching import NoCache
    from volseg.data.cohort import find_cases
    from volseg.data.content import contents_of
    from volseg.data.phantom import write_cohort
    from volseg.engine import compose
    from volseg.engine.batches import EpochBatches, PatchLoader
    from volseg.engine.cases import LearningCase
    from volseg.engine.compose import build
    from volseg.engine.probe import candidates, choose, in_layout
    from volseg.engine.step import TrainingStep
    from volseg.inference.allocator import keep_large_blocks
    from volseg.recipe import load_recipe

    keep_large_blocks()
    chosen, where = load_recipe(recipe, (), changes), torch.device(device)
    with tempfile.TemporaryDirectory() as folder:
        cohort = Path(data) if data else write_cohort(Path(folder, "data"), "heart", 4, seed=0)
        reader = build(compose.cases_part(chosen))
        cases = find_cases(cohort).labelled[:16]
        kept = torch.device("cpu") if where.type == "cpu" or chosen.training.cache != "device" else where
        learning = [LearningCase.of(c.name, reader.learning(c, contents_of(c), NoCache()), kept) for c in cases]
    network = build(compose.network_part(chosen)).to(where)
    loss = build(compose.loss_part(chosen)).to(where)
    shape = (chosen.training.batch, chosen.in_channels, *chosen.training.patch)
    options = candidates(chosen.training.precision, chosen.training.channels_last, where)
    arithmetic, _ = choose(network, loss, shape, options, where)
    network = in_layout(network, arithmetic.channels_last)
    network = torch.compile(network) if compiled else network
    optimizer = build(compose.optimiser_part(chosen), network=network)
    dataset = build(compose.patches_part(chosen), cases=learning)
    batches = EpochBatches(len(learning), chosen.training.batch, 2 * steps + 16, 1)
    cuda = where.type == "cuda"
    workers = chosen.training.workers if chosen.training.workers is not None else (8 if cuda else 0)
    loader = iter(PatchLoader(dataset, batches, workers=workers, ahead=cuda))
    prepare = build(compose.batch_part(chosen), channels_last=arithmetic.channels_last)
    constant = next(loader)
    ready = prepare(constant, where)

    def engine(preparing: Any) -> Any:
        state = SimpleNamespace(iteration=0, epoch=1, epoch_length=10**6, device=where, rank=0)
        return SimpleNamespace(
            state=state, network=network, optimizer=optimizer, loss_function=loss, prepare_batch=preparing,
            inferer=lambda images, net: net(images), non_blocking=cuda,
        )  # fmt: skip

    step = TrainingStep(precision=arithmetic.precision, gradient_clip=chosen.optimiser.gradient_clip)
    real, still = engine(prepare), engine(lambda *_: ready)

    def once(which: Any, source: Iterator[Any] | None) -> float:
        began = time.perf_counter()
        batch = constant if source is None else next(source)
        which.state.iteration += 1
        step(which, batch)
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    for _ in range(3):
        once(real, loader)
        once(still, None)
    pairs = [(once(real, loader), once(still, None)) for _ in range(steps)]
    return {
        "data_s": statistics.median(a for a, _ in pairs),
        "constant_s": statistics.median(b for _, b in pairs),
        "arithmetic": str(arithmetic),
    }
