"""The average of the members' weights: one network instead of several, where it does what they do together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from volseg.bundle.state_dict import read_weights
from volseg.data.cohort import Case
from volseg.inference.predictor import Predictor
from volseg.io import read_labels, read_volume
from volseg.metrics import Interval, bootstrap_mean
from volseg.metrics.overlap import count_overlaps
from volseg.recipe import Recipe
from volseg.study.out_of_fold import member_bundle

# cases that the two are compared on, and how many of them end it where the average is hopeless
_ASKED, _FIRST = 12, 3
_HOPELESS, _LOSS, _WORST = -0.02, -0.001, -0.005


@dataclass(frozen=True)
class Comparison:
    """The average of weights beside the ensemble.

    Attributes:
        difference: Dice of the average less that of the ensemble, over cases that both know alike.
        as_good: whether it may stand in for the ensemble.
    """

    difference: Interval
    as_good: bool


def average(weights: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of each weight; a counter is the first network's.

    >>> average([{"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}])["w"]
    tensor([2.])
    """
    return {
        name: torch.stack([one[name].float() for one in weights]).mean(dim=0)
        if value.dtype.is_floating_point
        else value.clone()
        for name, value in weights[0].items()
    }


def average_of_files(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The average of the weights in several files."""
    return average([read_weights(path) for path in paths])


def compare_average(
    averaged: Path, members: Sequence[Path], recipe: Recipe, cases: Sequence[Case], *, device: str = "auto"
) -> Comparison:
    """Hold the average against the ensemble.

    Every case was seen by some of the networks that both are made of, and by the same ones: the Dice of either alone
    means nothing here, their difference does.

    Args:
        averaged: the average's weights.
        members: those that it is of.
        recipe: that they were trained with.
        cases: with their truths; some of them are asked, from all over the list.
        device: where.
    """
    step = max(1, len(cases) // _ASKED)
    asked = list(cases[::step])[:_ASKED]
    pair = [member_bundle(recipe, paths).predictor(device=device) for paths in ([averaged], list(members))]
    differences: list[float] = []
    for number, case in enumerate(asked, start=1):
        one, other = (_dice(predictor, case, recipe) for predictor in pair)
        differences.append(one - other)
        if number == _FIRST and float(np.mean(differences)) < _HOPELESS:
            break
    interval = bootstrap_mean(differences, [case.patient for case in asked[: len(differences)]])
    sure = interval.low >= _WORST  # one patient has no interval, and convinces nobody
    return Comparison(interval, len(differences) == len(asked) and interval.mean >= _LOSS and sure)


def _dice(predictor: Predictor, case: Case, recipe: Recipe) -> float:
    """The mean Dice of a case over the structures that are there; 1 where none is, rightly."""
    allowed = recipe.image.spacing_range
    volumes = [read_volume(path, frame=case.frame, spacing_range=allowed) for path in case.images]
    made = predictor(volumes).labels
    assert case.label is not None
    labels = recipe.labels
    instances = case.instances or recipe.labelling.instances
    truth = read_labels(case.label, None if instances else labels, spacing_range=allowed).array
    if instances:
        truth = labels.united(truth)
    counted = count_overlaps(made.astype(np.int32), truth.astype(np.int32), labels, where=case.name)
    dice = [counted[name].dice for name in labels.names if not np.isnan(counted[name].dice)]
    return float(np.mean(dice)) if dice else 1.0
