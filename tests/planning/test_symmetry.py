"""Flips: forbidden where structures that look alike are told apart by their side, allowed elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from volseg.planning.space import make_space
from volseg.planning.symmetry import symmetry_choices


def flips(found: Any) -> tuple[list[int], str]:
    names = {value: name for name, value in found.declared.labels.items()}
    names = names or {value: f"label {value}" for value in found.values}
    chosen = next(iter(symmetry_choices(found, make_space(found), names)))
    return chosen.value, chosen.reason


def pair(swapped: bool = False, **more: Any) -> list[dict[str, Any]]:
    left, right = ((0.2, 0.5, 0.5), (0.8, 0.5, 0.5))
    first, second = (right, left) if swapped else (left, right)
    return [{"value": 1, "at": first}, {"value": 2, "at": second, **more}]


def test_kidneys_forbid_the_mirror(case: Any, cohort_of: Any) -> None:
    """Two structures of the same intensity and surroundings, always in the same order along axis 0."""
    allowed, why = flips(cohort_of([case(n, structures=pair()) for n in "abc"], labels={"left": 1, "right": 2}))
    assert allowed == [1, 2]
    assert "left and right look alike" in why


def test_crops_of_both_sides_allow_it(case: Any, cohort_of: Any) -> None:
    """If their order changes from case to case, a mirror shows nothing new."""
    cases = [case(n, structures=pair(swapped=n in "ac")) for n in "abcd"]
    assert flips(cohort_of(cases))[0] == [0, 1, 2]


def test_intensity_tells_them_apart(case: Any, cohort_of: Any) -> None:
    """An artery and a vein of another grey may change sides: a network sees which is which."""
    assert flips(cohort_of([case(n, structures=pair(mean=300.0)) for n in "abc"]))[0] == [0, 1, 2]


def test_surroundings_tell_them_apart(case: Any, cohort_of: Any) -> None:
    """The left ventricle lies in myocardium, the right one beside it: names of sides forbid nothing then."""
    heart = [
        {"value": 1, "at": (0.2, 0.5, 0.5), "neighbours": {0: 0.7, 2: 0.3}},
        {"value": 2, "at": (0.6, 0.5, 0.5), "mean": 40.0, "neighbours": {0: 0.5, 1: 0.1, 3: 0.4}},
        {"value": 3, "at": (0.8, 0.5, 0.5), "neighbours": {2: 1.0}},
    ]
    names = {"right ventricle": 1, "myocardium": 2, "left ventricle": 3}
    cases = [case(n, (100, 100, 10), (1.5, 1.5, 8.0), heart) for n in "abc"]
    assert flips(cohort_of(cases, labels=names))[0] == [0, 1]


@pytest.mark.parametrize("name", ["left kidney", "lung_left", "atrium, right"])
def test_a_side_without_its_counterpart_forbids_the_mirror(case: Any, cohort_of: Any, name: str) -> None:
    """The other side is in the image, unlabelled, and a mirror would make it the one that is."""
    allowed, why = flips(cohort_of([case(n) for n in "ab"], labels={name.replace("_", " "): 1}))
    assert 0 not in allowed
    assert "names a side" in why


def test_bodies_do_not_lie_upside_down(case: Any, cohort_of: Any) -> None:
    """Of a field of view as large as a body only the mirror of left and right is plausible."""
    cases = [case(n, (128, 128, 100), (3.0, 3.0, 3.0)) for n in "ab"]
    assert flips(cohort_of(cases))[0] == [0]


def test_under_a_microscope_everything_turns(case: Any, cohort_of: Any) -> None:
    """Both axes, and right angles."""
    found = cohort_of([case(n, (64, 64), (1, 1), picture=True) for n in "ab"], "microscopy")
    chosen = {c.key: c.value for c in symmetry_choices(found, make_space(found), {1: "cell"})}
    assert chosen == {"augmentation.flips": [0, 1], "augmentation.right_angles": [[0, 1]]}
