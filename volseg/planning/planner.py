"""From a fingerprint to a recipe in which every choice has its reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from volseg.data.fingerprint import Fingerprint
from volseg.planning.choice import Choice, Choices
from volseg.planning.draft import Draft
from volseg.planning.measured import Measure, Measured
from volseg.planning.plannable import require_plannable
from volseg.planning.schedule import UNHURRIED, affordable_steps, make_schedule, schedule_choices
from volseg.planning.sizing import Sized, choose_size
from volseg.recipe import Recipe, dump_recipe
from volseg.recipe.units import readable_bytes


@dataclass(frozen=True)
class Means:
    """What there is to train with.

    Attributes:
        memory: bytes.
        budget: seconds; none where there is no hurry.
        device: ``cpu`` or ``cuda``.
    """

    memory: int
    budget: float | None = None
    device: Literal["cpu", "cuda"] = "cpu"


@dataclass(frozen=True)
class Plan:
    """A recipe, and the reason of every choice in it.

    Attributes:
        recipe: the recipe.
        choices: its keys, values and reasons.
        cost: what a step of it took.
        predicted: bytes that a step was predicted to take.
    """

    recipe: Recipe
    choices: Choices
    cost: Measured
    predicted: int

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.recipe.training.epochs * (self.recipe.training.steps_per_epoch or 1)

    def to_yaml(self) -> str:
        """The recipe as a file, each choice under its reason."""
        text = dump_recipe(self.recipe, given=True)
        told = {choice.key: _named(choice, text) for choice in self.choices}
        return dump_recipe(self.recipe, given=True, comments=told)


def plan(
    found: Fingerprint,
    means: Means,
    measure: Measure,
    *,
    dims: Literal[2, 3] | None = None,
    name: str = "planned",
    where: object = None,
) -> Plan:
    """Plan a training.

    Args:
        found: what the cohort is like.
        means: memory, time and device.
        measure: rehearses a recipe on that device.
        dims: of the network; none leaves it to the planner.
        name: of the bundle.
        where: what errors call the data.

    Raises:
        CohortError: if the data cannot be planned for.
        UsageError: if a 3-D network is asked for 2-D images.
        MemoryLimitError: if nothing fits the memory.
    """
    require_plannable(found, where)
    draft = Draft(found, means.device, dims, name)
    held_out = max(1, len(found.labelled) // draft.folds)
    steps = None
    if means.budget is not None:
        learnt = len(found.labelled) - held_out
        steps = partial(affordable_steps, means.budget, training=learnt, validation=held_out)
    sized = choose_size(draft.recipe, measure, memory=means.memory, device=means.device, steps=steps)
    total = UNHURRIED[sized.recipe.spatial_dims] if steps is None else max(8, steps(sized.cost))
    schedule = make_schedule(total, means.budget, sized.cost, held_out)
    made = draft.choices(sized.size)
    made = made.plus(_sized(made, sized, means))
    made = made.plus(schedule_choices(schedule, means.budget, sized.cost))
    made = made.plus(_cache(found, sized.cost, means))
    return Plan(Recipe.from_dict(made.data, where="plan"), made, sized.cost, sized.predicted)


def _named(choice: Choice, text: str) -> str:
    """A reason, with its key's name where that has no line of its own to stand above."""
    last = choice.key.rpartition(".")[2]
    alone = re.search(rf"^ *{re.escape(last)}:", text, re.MULTILINE) is not None
    return choice.reason if alone else f"{last}: {choice.reason}"


def _sized(made: Choices, sized: Sized, means: Means) -> Iterator[Choice]:
    """The size's choices again, with what was measured."""
    width, batch = made.by_key["network.channels"], made.by_key["training.batch"]
    yield Choice(width.key, width.value, f"{width.reason}; {sized.why}")
    yield Choice(
        batch.key,
        batch.value,
        f"{batch.reason}, which is predicted to take {readable_bytes(sized.predicted)} and took"
        f" {readable_bytes(sized.cost.peak)} of {readable_bytes(means.memory)}",
    )


def _cache(found: Fingerprint, cost: Measured, means: Means) -> list[Choice]:
    kept = cost.kept * len(found.labelled)
    if kept > means.memory / 2:
        why = f"{readable_bytes(kept)} of prepared cases are too many for the memory"
        return [Choice("training.cache", "disk", why)]
    return []
