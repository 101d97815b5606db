"""Post-processing is chosen on predictions of strangers, only where it helps for sure, and fold by fold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from volseg.evaluation import Mask, Pair
from volseg.geometry import Grid
from volseg.inference.postprocessing import postprocess
from volseg.io import write_labels
from volseg.recipe import Recipe
from volseg.recipe.postprocessing import Postprocessing
from volseg.study.clean_up import Trials, candidates, steps_of, try_all

GRID = Grid.from_spacing((24, 24), (1.0, 1.0))


def square(low: int, high: int) -> np.ndarray:
    mask = np.zeros(GRID.shape, np.uint8)
    mask[low:high, low:high] = 1
    return mask


def pairs(folder: Path, recipe: Recipe, crumbs: bool, holes: bool, count: int = 6) -> list[Pair]:
    """Squares; predicted with a crumb beside and a hole inside, in every second case without."""
    found = []
    for number in range(count):
        true, made = square(4, 14), square(4, 14)
        if crumbs:
            made[18 : 20 + number % 2, 20] = 1
        if holes:
            made[8, 8 : 9 + number % 2] = 0
        paths = {"truth": true, "made": made}
        for name, mask in paths.items():
            (folder / name).mkdir(parents=True, exist_ok=True)
            write_labels(folder / name / f"{number}.png", mask, GRID, recipe.labels)
        sides = [Mask(str(number), folder / name / f"{number}.png", f"p{number}") for name in ("made", "truth")]
        found.append(Pair(*sides))
    return found


@pytest.mark.parametrize(
    ("crumbs", "holes"), [(True, False), (False, True), (True, True), (False, False)], ids=lambda flag: str(flag)
)
def test_what_helps_is_chosen_and_nothing_else(crumbs: bool, holes: bool, tiny: Recipe, tmp_path: Path) -> None:
    """Crumbs call for their removal, holes for filling; a good mask is left alone."""
    found = try_all(pairs(tmp_path, tiny, crumbs, holes), tiny)
    chosen = found.choose()["cell"]
    removes = chosen.steps.largest_component or chosen.steps.minimum_size > 0
    assert (removes, chosen.steps.fill_holes) == (crumbs, holes)
    assert (chosen.gain > 0) == (crumbs or holes)
    assert chosen.low <= chosen.gain
    for pair in pairs(tmp_path, tiny, crumbs, holes):
        stored = square(4, 14)
        made = np.asarray(Image.open(pair.prediction.path))
        np.testing.assert_array_equal(postprocess(made, steps_of({"cell": chosen}), tiny.labels, GRID), stored)


def test_a_chance_gain_is_no_gain(tiny: Recipe) -> None:
    """Better in one patient of six is not better for sure, and the recipe's own steps stay."""
    own = Postprocessing(largest_component=True)
    dice = np.array([[0.9, 0.9]] * 5 + [[0.5, 0.9]])
    trials = Trials({"cell": (own, Postprocessing())}, {"cell": dice}, tuple("abcdef"), tuple("abcdef"))
    assert trials.choose()["cell"].steps == own
    dice = np.array([[0.9, 0.95]] * 5 + [[0.5, 0.9]])
    better = Trials({"cell": (own, Postprocessing())}, {"cell": dice}, tuple("abcdef"), tuple("abcdef"))
    assert better.choose()["cell"].steps == Postprocessing()


def test_a_case_has_no_say_in_its_own_fold() -> None:
    """What is done to a fold's masks is what the others would do."""
    fill = Postprocessing(fill_holes=True)
    dice = np.array([[0.5, 0.9]] * 4 + [[0.9, 0.88]] * 4)
    cases = tuple("abcdefgh")
    trials = Trials({"cell": (Postprocessing(), fill)}, {"cell": dice}, cases, cases)
    assert trials.choose(without="abcd")["cell"].steps == Postprocessing()
    assert trials.choose(without="efgh")["cell"].steps == fill


def test_one_patient_decides_nothing() -> None:
    """There is no interval over one patient."""
    trials = Trials(
        {"cell": (Postprocessing(), Postprocessing(fill_holes=True))},
        {"cell": np.array([[0.1, 0.9]] * 3)},
        tuple("abc"),
        ("anna",) * 3,
    )
    assert trials.choose()["cell"].gain == 0


def test_candidates_begin_with_the_recipes_own() -> None:
    """Each once; sizes are shares of the structure's; a structure that is nowhere has none."""
    own = Postprocessing(fill_holes=True)
    found = candidates(own, [100.0, 200.0, 300.0])
    assert found[0] == own
    assert len(set(found)) == len(found) == 10
    assert {steps.minimum_size for steps in found} == {0.0, 0.2, 2.0, 10.0}
    assert len(candidates(own, [])) == 4
