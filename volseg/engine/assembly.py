"""The parts of a training, put together from the recipe for the place where it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from volseg.engine import compose
from volseg.engine.averaging import Average
from volseg.engine.batches import EpochBatches, PatchLoader
from volseg.engine.cases import LearningCase
from volseg.engine.compose import build
from volseg.engine.log import Listener
from volseg.engine.patches import PatchDataset
from volseg.engine.probe import Choice, candidates, choose, in_layout
from volseg.engine.session import Session
from volseg.engine.starting import Start
from volseg.engine.step import TrainingStep
from volseg.engine.stopping import Stop
from volseg.engine.together import Place
from volseg.inference.arithmetic import native
from volseg.recipe import Recipe


@dataclass(frozen=True)
class Assembly:
    """What a trainer needs.

    Attributes:
        session: the parts whose state survives.
        loader: of batches of patches.
        loss: of logits and targets.
        prepare: brings a batch to the device and augments it there.
        choice: the arithmetic.
        timings: seconds of a step with each arithmetic that was tried.
    """

    session: Session
    loader: PatchLoader
    loss: nn.Module
    prepare: Callable[..., Any]
    choice: Choice
    timings: Mapping[str, float]


def assemble(
    recipe: Recipe,
    place: Place,
    learning: Sequence[LearningCase],
    *,
    chosen: tuple[Choice, Mapping[str, float]] | None,
    start: Start | None,
    stop: Stop,
    tell: Listener,
) -> Assembly:
    """Put a training together.

    Args:
        recipe: of the run.
        place: the device, and which of how many processes this is.
        learning: the prepared cases.
        chosen: the arithmetic that a resumed run was begun with; without it a probe chooses.
        start: what the network starts from; none is random weights.
        stop: asked while it is probed.
        tell: told what a user should know.
    """
    torch.manual_seed(recipe.training.seed)
    network: nn.Module = build(compose.network_part(recipe)).to(place.device)
    if start is not None:
        start.load_into(network)
    loss: nn.Module = build(compose.loss_part(recipe)).to(place.device)
    choice, timings = chosen or _probed(recipe, place, network, loss, stop)
    if choice.precision not in native(place.device):
        why = f"{place.device.type} here has no instructions for it, and it takes more time and memory than float32"
        tell({"event": "note", "text": f"training.precision is {choice.precision}: {why}"})
    network = in_layout(network, choice.channels_last)
    steps = compose.steps_per_epoch(recipe, len(learning), place.world)
    if recipe.optimiser.accumulate > steps:
        tell({"event": "note", "text": f"optimiser.accumulate: an epoch has only {steps} batches"})
    optimizer = build(compose.optimiser_part(recipe), network=network)
    step = TrainingStep(
        precision=choice.precision,
        gradient_clip=recipe.optimiser.gradient_clip,
        accumulate=recipe.optimiser.accumulate,
        seed=recipe.training.seed,
        scheduler=build(compose.schedule_part(recipe, steps), optimizer=optimizer),
        average=None if recipe.optimiser.ema is None else Average(network, recipe.optimiser.ema),
    )
    deep = recipe.deep_supervision_weights
    spread = place.spread(
        network, synchronise_norms=recipe.training.sync_batch_norm, all_used=deep is None or all(deep)
    )
    return Assembly(
        session=Session(spread, optimizer, step),
        loader=_loader(recipe, place, learning, steps),
        loss=loss,
        prepare=build(compose.batch_part(recipe), channels_last=choice.channels_last),
        choice=choice,
        timings=timings,
    )


def _probed(
    recipe: Recipe, place: Place, network: nn.Module, loss: nn.Module, stop: Stop
) -> tuple[Choice, Mapping[str, float]]:
    """The fastest arithmetic that the recipe leaves open, the same for all processes."""
    training = recipe.training
    choices = candidates(training.precision, training.channels_last, place.device)
    shape = (training.batch, recipe.in_channels, *training.patch)
    found: tuple[Choice, Mapping[str, float]] = place.shared(
        choose(network, loss, shape, choices, place.device, between=stop.check) if place.first else None
    )
    return found


def _loader(recipe: Recipe, place: Place, learning: Sequence[LearningCase], steps: int) -> PatchLoader:
    dataset: PatchDataset = build(compose.patches_part(recipe), cases=learning)
    batches = EpochBatches(
        len(learning),
        recipe.training.batch,
        steps,
        recipe.training.epochs,
        seed=recipe.training.seed,
        rank=place.rank,
        world=place.world,
    )
    cuda = place.device.type == "cuda"
    workers = 0 if recipe.training.cache == "device" else recipe.training.workers
    if workers is None:  # beside a CPU that computes there is no core to spare
        workers = min(8, max(1, (os.cpu_count() or 1) // (2 * place.world))) if cuda else 0
    return PatchLoader(dataset, batches, workers=workers, ahead=cuda and recipe.training.cache != "device")
