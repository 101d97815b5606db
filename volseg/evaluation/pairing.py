"""Which prediction is held against which truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from volseg.data.cohort import Case
from volseg.data.cohort.naming import counted, listed
from volseg.errors import CohortError
from volseg.evaluation.masks import Mask, StrPath, find_masks


class Named(Protocol):
    """What goes by the name of a case."""

    @property
    def name(self) -> str: ...


_Made = TypeVar("_Made", bound=Named)


@dataclass(frozen=True)
class Pair:
    """A prediction and the truth it is held against."""

    prediction: Mask
    truth: Mask

    @property
    def name(self) -> str:
        """The case, as the truth names it."""
        return self.truth.name


@dataclass(frozen=True)
class Pairs:
    """Predictions and truths by case, in natural order."""

    predictions: Path
    truths: Path
    found: tuple[Pair, ...]
    #: truths without a prediction
    missing: tuple[Mask, ...] = ()
    #: predictions without a truth, by name
    extra: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def as_instances(self) -> Pairs:
        """The same pairs, each truth with a value of its own for every object."""
        found = tuple(replace(pair, truth=replace(pair.truth, instances=True)) for pair in self.found)
        return replace(self, found=found, missing=tuple(replace(mask, instances=True) for mask in self.missing))


def pair_masks(predictions: StrPath, truths: StrPath) -> Pairs:
    """Pair the predictions of a folder with truths by the case's name.

    A case's name is the path below the folder. Where either side is flat, the file's own name is enough if no other
    case has it. Two files that are named themselves are a pair whatever they are called.

    Raises:
        CohortError: if there is no pair at all.
    """
    made, true = find_masks(predictions), find_masks(truths)
    if made.root.is_file() and true.root.is_file() and len(made.masks) == len(true.masks) == 1:
        return Pairs(made.root, true.root, (Pair(made.masks[0], true.masks[0]),))
    found_for = partners(made.masks, true.masks)
    found = tuple(Pair(found_for[truth.name], truth) for truth in true.masks if truth.name in found_for)
    if not found:
        raise CohortError(
            f"no prediction has the name of a truth: {listed((m.name for m in made.masks), 3)} here, "
            f"{listed((m.name for m in true.masks), 3)} in {true.root}",
            where=made.root,
            mend="name the predictions as the cases are named",
        )
    taken = {pair.prediction.name for pair in found}
    missing = tuple(truth for truth in true.masks if truth.name not in found_for)
    extra = tuple(mask.name for mask in made.masks if mask.name not in taken)
    notes = [f"predictions: {note}" for note in made.notes] + [f"truths: {note}" for note in true.notes]
    if missing:
        notes.append(f"{counted(len(missing), 'truth')} without a prediction: {listed(m.name for m in missing)}")
    if extra:
        notes.append(f"{counted(len(extra), 'prediction')} without a truth: {listed(extra)}")
    return Pairs(made.root, true.root, found, missing, extra, tuple(notes))


def pair_cases(cases: Sequence[Case], made: Mapping[str, Path], predictions: Path, truths: Path) -> Pairs:
    """Predictions whose cases are known; cases without either side are left out.

    Args:
        cases: with their label maps.
        made: the prediction of each case, by its name.
        predictions: the folder that they lie in.
        truths: the folder of the label maps.
    """
    pairs = [
        Pair(
            Mask(case.name, made[case.name], case.patient),
            Mask(case.name, case.label, case.patient, case.group, instances=case.instances),
        )
        for case in cases
        if case.name in made and case.label is not None
    ]
    return Pairs(predictions, truths, tuple(pairs))


def partners(made: Sequence[_Made], true: Sequence[Named]) -> dict[str, _Made]:
    """The prediction (or whatever else goes by a case's name) for each truth's name that has one."""
    by_name = {mask.name: mask for mask in made}
    found = {truth.name: by_name[truth.name] for truth in true if truth.name in by_name}
    taken = {mask.name for mask in found.values()}
    bases = [Counter(_base(named.name) for named in side) for side in (made, true)]
    by_base = {_base(mask.name): mask for mask in made if mask.name not in taken}
    for truth in true:
        base = _base(truth.name)
        other = by_base.get(base)
        if truth.name in found or other is None or any(count[base] > 1 for count in bases):
            continue
        if "/" not in truth.name or "/" not in other.name:  # p1/ct is never held against p2/ct
            found[truth.name] = other
    return found


def _base(name: str) -> str:
    return name.rsplit("/", 1)[-1]
