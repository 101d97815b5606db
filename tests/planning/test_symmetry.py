"""Flips: forbidden where structures that look alike are told apart by their side, allowed elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from volseg.planning.pose import pose_of
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
        {"value": 1, "at": (0.5, 0.5, 0.2), "neighbours": {0: 0.7, 2: 0.3}},
        {"value": 2, "at": (0.5, 0.5, 0.6), "mean": 40.0, "neighbours": {0: 0.5, 1: 0.1, 3: 0.4}},
        {"value": 3, "at": (0.5, 0.5, 0.8), "neighbours": {2: 1.0}},
    ]
    names = {"right ventricle": 1, "myocardium": 2, "left ventricle": 3}
    cases = [case(n, (60, 60, 60), (1.5, 1.5, 1.5), heart) for n in "abc"]
    assert flips(cohort_of(cases, labels=names))[0] == [0, 1, 2]


def short_axis(case: Any, name: str, degrees: float, distance: float = 0.3) -> Any:
    """A stack of thick slices, with one ventricle in a direction from the other."""
    turn = np.radians(degrees)
    beside = (0.5 + distance * np.cos(turn), 0.5 + distance * np.sin(turn), 0.5)
    heart = [{"value": 1, "at": beside, "mean": 300.0}, {"value": 2, "at": (0.5, 0.5, 0.5)}]
    return case(name, (100, 100, 10), (1.5, 1.5, 8.0), heart)


def test_hearts_that_lie_one_way_are_not_mirrored(case: Any, cohort_of: Any) -> None:
    """Intensities tell the ventricles apart, and yet no heart is met with them on swapped sides."""
    found = cohort_of([short_axis(case, f"h{n}", 170 + n) for n in range(10)], labels={"rv": 1, "lv": 2})
    allowed, why = flips(found)
    assert allowed == [1]
    assert "rv and lv lie along it in one order" in why


@pytest.mark.parametrize(("degrees", "spread"), [((160, 170, 180, 190, 200), 20), ((-10, 0, 10, 0, 0), 10)])
def test_the_pose_is_the_direction_and_how_far_cases_stray(
    case: Any, cohort_of: Any, degrees: tuple[int, ...], spread: int
) -> None:
    """Also where angles pass from 180 to -180 degrees."""
    found = cohort_of([short_axis(case, f"h{n}", angle) for n, angle in enumerate(degrees)])
    pose = pose_of(found, make_space(found), {1: "rv", 2: "lv"})
    assert pose is not None
    assert (pose.first, pose.second) == ("rv", "lv")
    assert pose.spread == pytest.approx(spread, abs=2)


@pytest.mark.parametrize(("degrees", "distance"), [((0, 90, 180, 270), 0.3), ((0, 0, 0, 0), 0.02)])
def test_what_lies_any_way_has_no_pose(case: Any, cohort_of: Any, degrees: tuple[int, ...], distance: float) -> None:
    """Directions all round, and structures one in the other."""
    found = cohort_of([short_axis(case, f"h{n}", angle, distance) for n, angle in enumerate(degrees)])
    assert pose_of(found, make_space(found), {1: "rv", 2: "lv"}) is None


def test_volumes_with_fine_voxels_have_no_pose(case: Any, cohort_of: Any) -> None:
    """They are turned about every axis, and a pose is a plane's."""
    found = cohort_of([case(n, structures=pair(mean=300.0)) for n in "abc"])
    assert pose_of(found, make_space(found), {1: "a", 2: "b"}) is None


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
