"""A few steps of a training, to learn what it will cost: time by the clock, memory by what the process really took.

The steps are the training's own: cases read and prepared, patches drawn and moved, the network, its loss, the
optimiser, the average of the weights. They run in a process of their own, so that the peak is theirs alone, and so that
one that asks for too much memory takes nothing with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch

from volseg.data.apart import each_apart
from volseg.data.caching import NoCache
from volseg.data.cohort import Case
from volseg.data.content import contents_of
from volseg.engine import compose
from volseg.engine.averaging import Average
from volseg.engine.batches import EpochBatches, PatchLoader
from volseg.engine.cases import LearningCase
from volseg.engine.compose import build
from volseg.engine.device import device_named
from volseg.engine.probe import candidates, choose, in_layout
from volseg.engine.step import TrainingStep
from volseg.engine.validation import CaseByCase, JudgeCase, JudgedCases
from volseg.errors import MemoryLimitError
from volseg.inference.allocator import keep_large_blocks
from volseg.inference.memory import resident
from volseg.planning.measured import Measured
from volseg.recipe import Recipe

_STEPS, _SECONDS = 8, 8.0  # as many steps as fit into this time, but no more


def measure_apart(
    cases: Sequence[Case], device: str = "auto", reading: Mapping[str, Any] | None = None
) -> Callable[[Recipe], Measured | None]:
    """A function that rehearses a recipe on these cases, in a process of its own."""

    def measure(recipe: Recipe) -> Measured | None:
        work = partial(_attempt, cases=tuple(cases), device=device, reading=reading)
        (found,) = each_apart(work, [recipe], processes=1, lost=_lost)
        return found

    return measure


def rehearse(
    recipe: Recipe, cases: Sequence[Case], device: str = "auto", reading: Mapping[str, Any] | None = None
) -> Measured:
    """Train for a few steps, and validate one case; ``reading`` is what headers are to be taken for.

    Raises:
        MemoryLimitError: if the device has not enough memory.
    """
    place = device_named(device)
    if place.type == "cpu":
        keep_large_blocks()
    reader = build(compose.cases_part(recipe), reading=reading)
    contents = {case.name: contents_of(case) for case in cases}
    began = time.perf_counter()
    arrays = [reader.learning(case, contents[case.name], NoCache()) for case in cases]
    preparation = (time.perf_counter() - began) / len(cases)
    learning = [LearningCase.of(case.name, found, "cpu") for case, found in zip(cases, arrays, strict=True)]
    kept = max(sum(array.nbytes for array in found.values()) for found in arrays)

    peak = Peak(place)
    torch.manual_seed(recipe.training.seed)
    network: torch.nn.Module = build(compose.network_part(recipe)).to(place)
    loss = build(compose.loss_part(recipe)).to(place)
    shape = (recipe.training.batch, recipe.in_channels, *recipe.training.patch)
    choices = candidates(recipe.training.precision, recipe.training.channels_last, place)
    choice, _ = choose(network, loss, shape, choices, place, repeats=1)
    network = in_layout(network, choice.channels_last)
    dataset = build(compose.patches_part(recipe), cases=learning)
    loader = PatchLoader(dataset, EpochBatches(len(learning), recipe.training.batch, _STEPS + 1, 1))
    trainer = SimpleNamespace(
        state=SimpleNamespace(iteration=0, epoch=1, epoch_length=_STEPS + 1, rank=0, device=place),
        network=network,
        optimizer=build(compose.optimiser_part(recipe), network=network),
        loss_function=loss,
        prepare_batch=build(compose.batch_part(recipe), channels_last=choice.channels_last),
        inferer=lambda images, net: net(images),
        non_blocking=False,
    )
    step = TrainingStep(
        precision=choice.precision,
        gradient_clip=recipe.optimiser.gradient_clip,
        average=None if recipe.optimiser.ema is None else Average(network, recipe.optimiser.ema),
    )
    seconds = _timed(step, trainer, loader, place)
    taken = peak.bytes()
    judge = JudgeCase(build(compose.decision_part(recipe)), recipe.labels, max_memory=recipe.inference.max_memory)
    began = time.perf_counter()
    for batch in CaseByCase(JudgedCases(cases[:1], reader, NoCache(), contents)):
        judge(trainer, batch)
    return Measured(seconds, taken, time.perf_counter() - began, preparation, kept, str(choice))


class Peak:
    """The most memory that was taken since it was made: of the device, or of this process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self.before = torch.cuda.memory_allocated(device)
        else:
            _reset_high_water()
            self.before = resident()

    def bytes(self) -> int:
        """How many."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) - self.before
        return max(0, _high_water() - self.before)


def _attempt(
    recipe: Recipe, cases: Sequence[Case], device: str, reading: Mapping[str, Any] | None = None
) -> Measured | None:
    try:
        return rehearse(recipe, cases, device, reading)
    except MemoryLimitError:
        return None
    except MemoryError:
        return None


def _lost(_: Recipe) -> None:
    """The system ended the process: it asked for more memory than there is."""


def _timed(step: TrainingStep, trainer: Any, loader: PatchLoader, device: torch.device) -> float:
    """Seconds of a step, the first one left out: it builds kernels."""
    took: list[float] = []
    began = last = time.perf_counter()
    for batch in loader:
        trainer.state.iteration += 1
        step(trainer, batch)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.perf_counter()
        took.append(now - last)
        last = now
        if len(took) > 2 and now - began > _SECONDS:
            break
    return median(took[1:])


def _high_water() -> int:
    """The largest resident size of this process; what it is now where the system does not tell."""
    known = Path("/proc/self/status")
    if not known.exists():
        return resident()
    line = next(x for x in known.read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _reset_high_water() -> None:
    """Begin the high-water mark anew, where the system lets a process do so for itself."""
    with suppress(OSError):  # then the mark is that of all so far: what is found is too large rather than too small
        Path("/proc/self/clear_refs").write_text("5")
