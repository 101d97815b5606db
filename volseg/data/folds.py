"""Dividing cases into training and validation so that nobody is on both sides."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
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

    @property
    def sides(self) -> dict[str, str]:
        """Each case's side: ``train``, ``validation`` or ``test``."""
        return {name: side for side, names in asdict(self).items() for name in names}


def make_folds(
    cases: Sequence[Case], *, number: int = 5, seed: int = 0, group_by: str = "patient", stratify: bool = True
) -> tuple[Split, ...]:
    """Divide cases into folds: whole patients, groups spread evenly, the same for any order of ``cases``.

    Where the cases name their own split (a CSV's column), that one split is returned and nothing is drawn.

    >>> cases = [Case(f"{who}_{scan}", (Path("x"),), patient=who) for who in ("p1", "p2", "p3", "p4") for scan in "ab"]
    >>> make_folds(cases, number=2)[0].validation
    ('p2_a', 'p2_b', 'p3_a', 'p3_b')
    """
    if any(case.split for case in cases):
        return (_named_split(cases, group_by),)
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
        check_leaks(split, cases, group_by=group_by)
    return splits


def check_leaks(split: Split, cases: Iterable[Case], *, group_by: str = "patient") -> None:
    """Raise unless the split names cases that there are, and every patient's are on one side of it.

    With ``group_by="case"`` a patient may be on both sides: somebody asked for it in so many words.
    """
    patients = {case.name: case.patient if group_by == "patient" else case.name for case in cases}
    sides: dict[str, set[str]] = defaultdict(set)
    for name, side in split.sides.items():
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


def read_folds(path: Path, cases: Iterable[Case], *, group_by: str = "patient") -> tuple[Split, ...]:
    """Read folds back and hold them against the cases: a patient on both sides is refused, whoever wrote the file."""
    try:
        stored = json.loads(path.read_text())["folds"]
        splits = tuple(Split(**{side: tuple(map(str, names)) for side, names in fold.items()}) for fold in stored)
    except CohortError as error:
        raise CohortError(error.what, where=path, mend=error.mend) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CohortError(
            "is no file of folds", where=path, mend='{"folds": [{"train": […], "validation": […]}]}'
        ) from error
    known = list(cases)
    for split in splits:
        check_leaks(split, known, group_by=group_by)
    return splits


def _group(cases: Sequence[Case]) -> str:
    return " ".join(sorted({case.group or "" for case in cases}))


def _named_split(cases: Sequence[Case], group_by: str) -> Split:
    sides: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for case in sorted(cases, key=lambda case: case.name):
        if case.split is None:
            raise CohortError(f"case {case.name!r} names no split", mend="every case needs train, validation or test")
        sides[case.split].append(case.name)
    split = Split(**{side: tuple(names) for side, names in sides.items()})
    check_leaks(split, cases, group_by=group_by)
    return split
