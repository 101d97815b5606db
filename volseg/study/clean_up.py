"""Choosing what is done to predicted masks: on cases that their networks never saw, and only where it helps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from volseg.evaluation import Pair
from volseg.geometry import Grid
from volseg.inference.postprocessing import postprocess
from volseg.io import read_labels
from volseg.metrics import bootstrap_mean
from volseg.recipe import Recipe
from volseg.recipe.postprocessing import Postprocessing

# parts that are smaller than these shares of a structure's median size may be noise
_SHARES = (0.001, 0.01, 0.05)
_RESAMPLES = 2000


@dataclass(frozen=True)
class CleanUp:
    """What was chosen for a structure.

    Attributes:
        steps: that are done to it.
        gain: of Dice over the recipe's own steps, mean over cases; 0 where these were kept.
        low: the lower end of the gain's interval over patients.
    """

    steps: Postprocessing
    gain: float = 0.0
    low: float = 0.0


@dataclass(frozen=True)
class Trials:
    """The Dice of each case after each way of cleaning up a structure.

    Attributes:
        ways: by structure, the recipe's own first.
        dice: by structure: (cases, ways).
        cases: names, in the order of the rows.
        patients: whose each case is.
    """

    ways: Mapping[str, tuple[Postprocessing, ...]]
    dice: Mapping[str, npt.NDArray[np.float64]]
    cases: tuple[str, ...]
    patients: tuple[str, ...]

    def choose(self, without: Iterable[str] = ()) -> dict[str, CleanUp]:
        """The best way of each structure, where its gain is above 0 for sure; the recipe's own elsewhere.

        Args:
            without: cases that have no say.
        """
        silent = set(without)
        rows = [row for row, case in enumerate(self.cases) if case not in silent]
        patients = [self.patients[row] for row in rows]
        return {name: _chosen(ways, self.dice[name][rows], patients) for name, ways in self.ways.items()}


def try_all(pairs: Sequence[Pair], recipe: Recipe) -> Trials:
    """Clean up each mask in every way, and hold it against its truth."""
    labels = recipe.labels
    instances = recipe.labelling.instances
    sizes: dict[str, list[float]] = {name: [] for name in labels.names}
    for pair in pairs:
        truth, grid = _read(pair.truth.path, recipe, pair.truth.instances or instances)
        for name in labels.names:
            count = int(labels.mask(truth, name).sum())
            if count:
                sizes[name].append(count * grid.voxel_volume)
    ways = {name: candidates(recipe.postprocessing.get(name, Postprocessing()), sizes[name]) for name in labels.names}
    dice = {name: np.empty((len(pairs), len(ways[name]))) for name in labels.names}
    for row, pair in enumerate(pairs):
        truth, grid = _read(pair.truth.path, recipe, pair.truth.instances or instances)
        mask, _ = _read(pair.prediction.path, recipe, False)
        if labels.ignore is not None:
            mask = np.where(truth == labels.ignore, 0, mask)
        for name in labels.names:
            true = labels.mask(truth, name)
            for column, steps in enumerate(ways[name]):
                made = labels.mask(postprocess(mask, {name: steps}, labels, grid), name)
                dice[name][row, column] = _dice(made, true)
    return Trials(ways, dice, tuple(p.name for p in pairs), tuple(p.truth.patient for p in pairs))


def candidates(own: Postprocessing, sizes: Sequence[float]) -> tuple[Postprocessing, ...]:
    """Ways of cleaning up a structure: the recipe's own, none, and each of the steps alone and with holes filled.

    Args:
        own: the recipe's.
        sizes: true volumes in cubic (2-D: square) millimetres.
    """
    plain = [Postprocessing(), Postprocessing(largest_component=True)]
    median = float(np.median(sizes)) if len(sizes) else 0.0
    smallest = [float(f"{share * median:.2g}") for share in _SHARES if share * median > 0]
    plain += [Postprocessing(minimum_size=size, unit="mm") for size in smallest]
    filled = [steps.model_copy(update={"fill_holes": True}) for steps in plain]
    return tuple(dict.fromkeys([own, *plain, *filled]))


def steps_of(chosen: Mapping[str, CleanUp]) -> dict[str, Postprocessing]:
    """The steps alone."""
    return {name: one.steps for name, one in chosen.items()}


def _chosen(ways: Sequence[Postprocessing], dice: npt.NDArray[np.float64], patients: Sequence[str]) -> CleanUp:
    best = CleanUp(ways[0])
    for column in range(1, len(ways)):
        gain = dice[:, column] - dice[:, 0]
        if not gain.size or gain.mean() <= best.gain + 1e-6:
            continue
        interval = bootstrap_mean(gain.tolist(), patients, resamples=_RESAMPLES)
        if not math.isnan(interval.low) and interval.low > 0:
            best = CleanUp(ways[column], interval.mean, interval.low)
    return best


def _read(path: Path, recipe: Recipe, instances: bool) -> tuple[npt.NDArray[np.integer], Grid]:
    labels = recipe.labels
    volume = read_labels(path, None if instances else labels, spacing_range=recipe.image.spacing_range)
    return labels.united(volume.array) if instances else volume.array, volume.grid


def _dice(made: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> float:
    """Dice; a structure that is rightly not there is worth 1, so that removing what is not there is a gain."""
    total = int(made.sum()) + int(true.sum())
    return 2 * int((made & true).sum()) / total if total else 1.0
