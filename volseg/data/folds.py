"""Dividing cases into training and validation so that nobody is on both sides."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from volseg.data.cohort import Case
from volseg.errors import CohortError
from volseg.io.atomic import write_text


@dataclass(frozen=True)
class Split:
    """Names of the cases to learn from, to judge by while learning, and to score once at the end."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        both = set(self.train) & set(self.validation) | set(self.train) & set(self.test)
        both |= set(self.validation) & set(self.test)
        if both:
            raise CohortError(f"case {sorted(both)[0]!r} is on two sides of the split")


def make_folds(
    cases: Sequence[Case], *, number: int = 5, seed: int = 0, group_by: str = "patient", stratify: bool = True
) -> tuple[Split, ...]:
    """Divide cases into folds: whole patients, groups spread evenly, the same for any order of ``cases``.

    Where the cases name their own split (a CSV's column), that one split is returned and nothing is drawn.
    """
    if any(case.split for case in cases):
        return (_named_split(cases),)
    together: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        together[case.patient if group_by == "patient" else case.name].append(case)
    if len(together) < number:
        raise CohortError(
            f"{len(together)} {group_by}s cannot be divided into {number} folds", mend="set folds.number lower"
        )
    strata: dict[str, list[str]] = defaultdict(list)
    for key in sorted(together):
        strata[_group(together[key]) if stratify else ""].append(key)
    parts: list[list[str]] = [[] for _ in range(number)]
    dealt = 0
    for stratum in sorted(strata):
        keys = strata[stratum]
        order = np.random.default_rng([seed, *stratum.encode()]).permutation(len(keys))
        for index in order:
            # dealt in turn, on from where the last group stopped, so that no fold collects the remainders
            parts[dealt % number].append(keys[index])
            dealt += 1
    members = [{case.name for key in part for case in together[key]} for part in parts]
    names = [case.name for case in sorted(cases, key=lambda case: case.name)]
    splits = tuple(
        Split(tuple(n for n in names if n not in held_out), tuple(n for n in names if n in held_out))
        for held_out in members
    )
    for split in splits:
        check_leaks(split, cases)
    return splits


def check_leaks(split: Split, cases: Iterable[Case]) -> None:
    """Raise unless every patient's cases are on one side of the split."""
    patients = {case.name: case.patient for case in cases}
    sides: dict[str, set[str]] = defaultdict(set)
    for side, names in asdict(split).items():
        for name in names:
            if name not in patients:
                raise CohortError(f"the split names case {name!r}, which is not in the data", mend="divide it anew")
            sides[patients[name]].add(side)
    torn = sorted(patient for patient, on in sides.items() if len(on) > 1)
    if torn:
        first = torn[0]
        raise CohortError(
            f"{len(torn)} patient{'s are' if len(torn) > 1 else ' is'} on both sides of the split, {first!r} in "
            + " and ".join(sorted(sides[first])),
            mend="keep each patient's cases together",
        )


def write_folds(path: Path, splits: Sequence[Split]) -> None:
    """Write folds as JSON, whole or not at all."""
    write_text(path, json.dumps({"folds": [asdict(split) for split in splits]}, indent=1) + "\n")


def read_folds(path: Path, cases: Iterable[Case]) -> tuple[Split, ...]:
    """Read folds back and hold them against the cases: a patient on both sides is refused, whoever wrote the file."""
    try:
        stored = json.loads(path.read_text())["folds"]
        splits = tuple(Split(**{side: tuple(names) for side, names in fold.items()}) for fold in stored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CohortError(
            "is no file of folds", where=path, mend='{"folds": [{"train": […], "validation": […]}]}'
        ) from error
    known = list(cases)
    for split in splits:
        check_leaks(split, known)
    return splits


def _group(cases: Sequence[Case]) -> str:
    found: Mapping[str, None] = {case.group or "": None for case in cases}
    return " ".join(found)


def _named_split(cases: Sequence[Case]) -> Split:
    sides: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for case in sorted(cases, key=lambda case: case.name):
        if case.split not in sides:
            raise CohortError(
                f"case {case.name!r} has the split {case.split!r}", mend="every case needs train, validation or test"
            )
        sides[case.split].append(case.name)
    split = Split(**{side: tuple(names) for side, names in sides.items()})
    check_leaks(split, cases)
    return split
