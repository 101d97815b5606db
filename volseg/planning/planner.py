"""From a fingerprint to a recipe in which every choice has its reason."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Literal

from volseg.data.fingerprint import Fingerprint
from volseg.errors import UsageError
from volseg.planning.augmenting import augmentation_choices
from volseg.planning.choice import Choice, Choices
from volseg.planning.intensity import intensity_choices
from volseg.planning.learning import (
    learning_choices,
    object_diameter,
    postprocessing_choices,
)
from volseg.planning.measured import Measure, Measured
from volseg.planning.naming import label_choices, structure_names
from volseg.planning.plannable import require_plannable
from volseg.planning.schedule import UNHURRIED, affordable_steps, make_schedule, schedule_choices
from volseg.planning.sizing import VOXELS, Size, Sized, choose_size
from volseg.planning.space import Space, make_space, seen_choices, space_choices
from volseg.planning.symmetry import symmetry_choices
from volseg.planning.topology import Topology, shrunk, topology_choices, wanted_patch
from volseg.recipe import Recipe, dump_recipe
from volseg.recipe.units import format_bytes

# a patch that shows less of the image than this is given coarser voxels, as long as the smallest structure bears it
_SHOWN, _COARSEST, _FINEST_STRUCTURE = 1 / 24, 3.0, 6.0
_FOLDS = 5
_BATCH = {2: (4, 16), 3: (2, 4)}


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

    def to_yaml(self) -> str:
        """The recipe as a file, each choice under its reason."""
        text = dump_recipe(self.recipe, defaults=False)
        told = {choice.key: _named(choice, text) for choice in self.choices}
        return dump_recipe(self.recipe, defaults=False, comments=told)


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
    labels = Choices().plus(label_choices(found))
    names = structure_names(labels["labels.values"])
    space, coarser = _space(found, means, dims)
    fixed = _fixed(found, space, labels, names, dims, coarser, name)
    patch, reason = wanted_patch(space, object_diameter(found))
    held_out = max(1, len(found.labelled) // _folds(found))
    steps = None
    if means.budget is not None:
        steps = partial(_steps, means.budget, len(found.labelled) - held_out, held_out)
    sized = choose_size(
        partial(_draft, fixed, found, space, patch, reason, means),
        measure,
        memory=means.memory,
        device=means.device,
        steps=steps,
    )
    total = UNHURRIED[space.dims] if steps is None else max(8, steps(sized.cost))
    schedule = make_schedule(total, means.budget, sized.cost, held_out)
    made = _sized(fixed, found, space, patch, reason, means, sized.size, sized)
    made = made.plus(schedule_choices(schedule, means.budget, sized.cost))
    made = made.plus(_cache(found, sized.cost, means))
    return Plan(Recipe.from_dict(made.data, where="plan"), made, sized.cost, sized.predicted)


def _named(choice: Choice, text: str) -> str:
    """A reason, with its key's name where that has no line of its own to stand above."""
    last = choice.key.rpartition(".")[2]
    alone = re.search(rf"^ *{re.escape(last)}:", text, re.MULTILINE) is not None
    return choice.reason if alone else f"{last}: {choice.reason}"


def _steps(budget: float, training: int, held_out: int, cost: Measured) -> int:
    return affordable_steps(budget, cost, training, held_out)


def _folds(found: Fingerprint) -> int:
    return min(_FOLDS, len({case.patient for case in found.labelled}))


def _space(found: Fingerprint, means: Means, dims: int | None) -> tuple[Space, float]:
    """The space, coarser where a patch would show too little of the image."""
    space = make_space(found, dims)
    if space.spacing == "native":
        return space, 1.0
    wanted, _ = wanted_patch(space, object_diameter(found))
    affordable = VOXELS[means.device] / _BATCH[space.dims][0]
    shown = min(1.0, affordable / prod(wanted))
    if shown >= _SHOWN:
        return space, 1.0
    resampled = 2 if space.thick else space.dims
    needed = (_SHOWN / shown) ** (1 / resampled)
    thinnest = min(
        min(s.extent[axis] / mm for axis, mm in zip(space.order[:resampled], space.voxel, strict=False))
        for case in found.labelled
        for s in case.structures
    )
    coarser = min(needed, _COARSEST, max(1.0, thinnest / _FINEST_STRUCTURE))
    return (make_space(found, dims, coarser), coarser) if coarser > 1.05 else (space, 1.0)


def _fixed(
    found: Fingerprint,
    space: Space,
    labels: Choices,
    names: Mapping[int, str],
    dims: int | None,
    coarser: float,
    name: str,
) -> Choices:
    """Everything that does not depend on how large the network is."""
    if dims == 3 and len(space.shape) == 2:
        raise UsageError("the images are 2-D, and a 3-D network was asked for", mend="--dims 2")
    made = labels.plus(space_choices(found, space, asked=dims, coarser=coarser))
    made = made.plus(seen_choices(found, space, dict(names)))
    made = made.plus(intensity_choices(found))
    made = made.plus(symmetry_choices(found, space, names))
    made = made.plus(learning_choices(found, space, names))
    if made["augmentation.flips"]:
        made = made.plus([Choice("inference.tta", "flips", "mirrored copies are averaged at prediction as well")])
    made = made.plus(postprocessing_choices(found, names))
    number = _folds(found)
    patients = len({case.patient for case in found.labelled})
    if number != _FOLDS:
        made = made.plus([Choice("folds.number", number, f"there are {patients} patients")])
    return made.plus(_card(found, names, name))


def _card(found: Fingerprint, names: Mapping[int, str], name: str) -> list[Choice]:
    modality = found.modality.modality
    listed = ", ".join(names.values())
    patients = len({case.patient for case in found.labelled})
    of = f"{len(found.labelled)} cases of {patients} patients"
    return [
        Choice("bundle.name", name, "of the file"),
        Choice(
            "bundle.description", f"Segments {listed} in {'images' if modality == 'other' else modality}.", "as known"
        ),
        Choice("bundle.limits", f"Planned on {of}; what is unlike them was never seen.", "complete what you know"),
    ]


def _draft(
    fixed: Choices, found: Fingerprint, space: Space, patch: tuple[int, ...], reason: str, means: Means, size: Size
) -> Recipe:
    """The recipe of a size, with a schedule that only rehearsals see."""
    made = _sized(fixed, found, space, patch, reason, means, size, None)
    extra = [
        Choice("training.epochs", 4, ""),
        Choice("training.steps_per_epoch", 100, ""),
        Choice("optimiser.ema", 0.99, ""),
    ]
    made = made.plus([*extra, Choice("training.validate_every", 1, "")])
    return Recipe.from_dict(made.data, where="plan")


def _sized(
    fixed: Choices,
    found: Fingerprint,
    space: Space,
    wanted: tuple[int, ...],
    reason: str,
    means: Means,
    size: Size,
    sized: Sized | None,
) -> Choices:
    """What follows from the size: patch, levels, widths, batch, deformations."""
    voxels = VOXELS[means.device] * size.share
    fewest, most = _BATCH[space.dims]
    keep = 2 if space.thick and space.dims == 3 else None
    patch = shrunk(wanted, max(64, int(voxels / fewest)), keep=keep)
    square = bool(fixed.by_key.get("augmentation.right_angles"))
    if square:
        patch = (min(patch),) * len(patch)
    topology = Topology.of(patch, space.voxel[: space.dims])
    batch = max(fewest, min(most, int(voxels / topology.voxels)))
    if means.device == "cuda":
        batch = max(fewest, min(4 * most, int(voxels / topology.voxels)))
    less = (
        f"; made smaller, to {'x'.join(map(str, topology.patch))}, for the time and memory there are"
        if patch != wanted and not square
        else ""
    )
    memory = ""
    if sized is not None:
        memory = (
            f"; a step is predicted to take {format_mib(sized.predicted)} and took {format_mib(sized.cost.peak)}"
            f" of {format_mib(means.memory)}"
        )
    made = fixed.plus(topology_choices(topology, space))
    made = made.plus(
        [
            Choice(
                "network.channels",
                list(topology.channels(size.width)),
                _levels(topology) + (f"; {sized.why}" if sized else ""),
            ),
            Choice("training.patch", list(topology.patch), reason + less),
            Choice("training.batch", batch, f"about {batch * topology.voxels:,} voxels in a step" + memory),
        ]
    )
    return made.plus(augmentation_choices(space, topology, fixed["augmentation.flips"]))


def _levels(topology: Topology) -> str:
    bottom = [n // prod(s[a] for s in topology.strides) for a, n in enumerate(topology.patch)]
    return f"{topology.levels} levels leave {'x'.join(map(str, bottom))} positions at the bottom"


def _cache(found: Fingerprint, cost: Measured, means: Means) -> list[Choice]:
    kept = cost.kept * len(found.labelled)
    if kept > means.memory / 2:
        return [Choice("training.cache", "disk", f"{format_mib(kept)} of prepared cases are too many for the memory")]
    return []


def format_mib(size: int) -> str:
    """Bytes as a person reads them.

    >>> format_mib(3 << 30), format_mib(5 << 20)
    ('3.0 GiB', '5 MiB')
    """
    return (
        f"{size / 2**30:.1f} GiB"
        if size >= 2**30
        else format_bytes(max(1, round(size / 2**20)) << 20).replace("MiB", " MiB")
    )
