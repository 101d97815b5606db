"""The prediction of a step's memory: it grows with what takes memory, and counts layers as torch does."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from volseg.engine import compose
from volseg.engine.compose import build
from volseg.engine.step import TrainingStep
from volseg.inference.memory import _Alive
from volseg.planning.layers import parameters, products
from volseg.planning.memory import step_memory
from volseg.recipe import Recipe


def recipe(**changes: Any) -> Recipe:
    """Two structures in 3-D, with changes of dotted keys (a dot as two underscores)."""
    training = {"patch": [32, 32, 32], "batch": 2, "precision": "float32"}
    data: dict[str, Any] = {
        "labels.values": {"a": 1, "b": 2},
        "image.spatial_dims": 3,
        "network.channels": [16, 32, 64],
        "optimiser.ema": 0.99,
    }
    given = {key.replace("__", "."): value for key, value in changes.items()}
    training |= {key.removeprefix("training."): given.pop(key) for key in list(given) if key.startswith("training.")}
    return Recipe.from_dict({**data, **given, "training": training})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"network__kernel_sizes": [[3, 3, 1], 3, 3], "network__strides": [[2, 2, 1], 2]},
        {"network__norm": None},
        {"network__upsample": "linear"},
        {"network__deep_supervision": True},
        {"network__padding": "valid", "training__patch": [44, 44, 44]},
        {"image__spatial_dims": 2, "training__patch": [64, 64], "image__channels": ["t1", "t2"]},
    ],
)
def test_weights_are_counted_to_within_the_norms(changes: dict[str, Any]) -> None:
    """The number of learned numbers is the network's own, but for what a network without norm lacks."""
    made = recipe(**changes)
    network = build(compose.network_part(made))
    assert parameters(made) == pytest.approx(sum(p.numel() for p in network.parameters()), rel=0.02)


def counted(made: Recipe) -> int:
    """The most bytes of tensors alive during two real steps."""
    from types import SimpleNamespace

    training = made.training
    alive = _Alive()
    with alive:
        torch.manual_seed(0)
        network = build(compose.network_part(made))
        images = torch.randn(training.batch, made.in_channels, *training.patch)
        target = torch.randint(0, made.out_channels, (training.batch, 1, *training.patch), dtype=torch.uint8)
        trainer = SimpleNamespace(
            state=SimpleNamespace(iteration=0, epoch=1, epoch_length=2, rank=0, device=torch.device("cpu")),
            network=network,
            optimizer=build(compose.optimiser_part(made), network=network),
            loss_function=build(compose.loss_part(made)),
            prepare_batch=lambda *_: (images, target, None),
            inferer=lambda x, net: net(x),
            non_blocking=False,
        )
        step = TrainingStep(gradient_clip=12.0)
        for _ in range(2):
            trainer.state.iteration += 1
            step(trainer, {"case": ["random"] * training.batch})
    return alive.peak


@pytest.mark.parametrize(
    ("channels", "patch", "batch", "classes"),
    [([16, 32, 64], [32, 32, 32], 2, 2), ([24, 48, 96, 192], [64, 64], 8, 1), ([8, 16, 32], [64, 64], 4, 5)],
)
def test_tensors_are_what_autograd_keeps(channels: Any, patch: Any, batch: int, classes: int) -> None:
    """Weights, batch and activations, before room for the allocator, are within a sixth of a real step's tensors."""
    data = {
        "labels": {"values": {f"l{k}": k for k in range(1, classes + 1)}},
        "image": {"spatial_dims": len(patch)},
        "network": {"channels": channels},
        "training": {"patch": patch, "batch": batch, "precision": "float32"},
    }
    made = Recipe.from_dict(data)
    found = step_memory(made)
    predicted = found.weights + found.batch + found.tensors / 1.47
    assert predicted == pytest.approx(counted(made), rel=1 / 6)


def test_more_of_anything_takes_more() -> None:
    """Patch, batch, width, classes and precision each raise the peak."""
    base = step_memory(recipe()).peak
    assert step_memory(recipe(training__patch=[48, 32, 32])).peak > base
    assert step_memory(recipe(training__batch=4)).peak > base
    assert step_memory(recipe(network__channels=[24, 48, 96])).peak > base
    assert step_memory(recipe(labels__values={f"l{k}": k for k in range(1, 9)})).peak > base
    assert step_memory(recipe(training__precision="bf16")).peak < base


def test_products_are_those_of_the_convolutions() -> None:
    """A 1x1-stride count by hand: the finest level of a two-level network."""
    made = Recipe.from_dict(
        {
            "labels.values": {"a": 1},
            "image.spatial_dims": 2,
            "network": {"channels": [4, 8]},
            "training": {"patch": [8, 8], "batch": 2},
        }
    )
    fine, coarse = 64, 16
    encoder = (1 * 4 + 4 * 4) * 9 * fine
    bottom = (4 * 8 + 8 * 8) * 9 * coarse
    up = 8 * 4 * 4 * coarse
    decoder = (8 * 4 + 4 * 4) * 9 * fine
    head = 4 * 2 * fine
    assert products(made) == 2 * (encoder + bottom + up + decoder + head)


def test_the_peak_of_a_process_is_what_it_took() -> None:
    """Touching 64 MiB and letting go of them leaves a peak of as much, where no earlier block lies ready."""
    program = """
import torch
from volseg.engine.rehearsal import Peak
peak = Peak(torch.device("cpu"))
block = torch.ones(16 << 20)
del block
print(peak.bytes())
"""
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=300)
    assert 60 << 20 < int(said.stdout) < 200 << 20
