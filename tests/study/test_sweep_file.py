"""Sweep files: what they combine, and one line for every mistake before anything is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volseg.errors import RecipeError
from volseg.recipe import Recipe
from volseg.study.arms import base_recipe, make_arms
from volseg.study.sweep_file import SweepFile, load_sweep

_ROOT = Path(__file__).parents[2]


def written(folder: Path, text: str) -> Path:
    (folder / "sweep.yaml").write_text(text)
    return folder / "sweep.yaml"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("gird: {optimiser.lr: [1]}", "gird: unknown key; did you mean 'grid'?"),
        ("grid: {optimiser.lr: 3}", "expected a list of values, not 3"),
        ("seeds: [1, 1]", "seeds: expected a list of different whole numbers"),
        ("random: {number: 2, draws: {a: {log_unifrom: [1, 2]}}}", "did you mean 'log_uniform'?"),
        ("random: {number: 2, draws: {a: {choice: [1], uniform: [1, 2]}}}", "one of choice, uniform, log_uniform"),
        ("random: {number: 0, draws: {a: {choice: [1]}}}", "random.number"),
        ("halving: {at: [0.5, 0.2]}", "rising shares"),
        ("halving: {keep: 1}", "halving.keep"),
        ("variants: {a: 3}", "variants.a: expected a mapping"),
        ("- 3", "expected a mapping of keys"),
        ("grid: {a: [1]}\nrandom: {number: 1, draws: {a: {choice: [2]}}}", "a stands in grid and in random"),
        ("grid: {a: [1, 2]}\nrandom: {number: 9000, draws: {b: {choice: [2]}}}", "18000 trainings"),
        ("grid: [", "not valid YAML"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, text: str, line: str) -> None:
    """With the file, the key, and how to mend it."""
    path = written(tmp_path, text)
    with pytest.raises(RecipeError) as caught:
        load_sweep(path)
    assert line in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """As everywhere."""
    with pytest.raises(RecipeError, match=r"none\.yaml: cannot be read \(no such file"):
        load_sweep(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("sweep", "line"),
    [
        (
            SweepFile(grid={"optimiser.lrr": (1.0,)}),
            "sweep.yaml: lrr=1.0: optimiser.lrr: unknown key; did you mean 'lr'?",
        ),
        (SweepFile(grid={"optimiser.kind": ("sgdd",)}), "did you mean 'sgd'?"),
        (SweepFile(variants={"deep": {"network.depth": 3}}), "sweep.yaml: variants.deep: network.depth: unknown key"),
    ],
)
def test_every_recipe_is_checked_first(tiny: Recipe, sweep: SweepFile, line: str) -> None:
    """A key that no recipe has is told with the place in the sweep where it stands."""
    with pytest.raises(RecipeError) as caught:
        make_arms(sweep, tiny, Path("sweep.yaml"))
    assert line in str(caught.value)


def test_all_are_combined(tiny: Recipe) -> None:
    """Variants, grid and draws, each with each; every recipe once, named by what is different about it."""
    sweep = SweepFile(
        variants={"slim": {}, "wide": {"network.channels": (8, 16)}},
        grid={"optimiser.kind": ("sgd", "adamw"), "training.batch": (1, 4)},
    )
    arms = make_arms(sweep, tiny, Path("sweep.yaml"))
    assert len(arms) == 8
    assert arms[0].name == "slim kind=sgd batch=1"
    assert len({arm.folder for arm in arms}) == 8
    assert arms[-1].recipe.network.channels == (8, 16)
    assert arms[0].recipe.optimiser.momentum == 0.99  # a change of kind brings that kind's defaults
    twice = SweepFile(grid={"training.batch": (1, 1)})
    assert len(make_arms(twice, tiny, Path("sweep.yaml"))) == 1


def test_draws_are_the_same_each_time(tiny: Recipe) -> None:
    """A random search is a function of its seed, and stays within its bounds."""
    draws = {"optimiser.lr": {"log_uniform": (1e-5, 1e-1)}, "training.batch": {"choice": (1, 2)}}
    sweep = SweepFile.model_validate({"random": {"number": 40, "seed": 3, "draws": draws}})
    assert sweep.combinations() == sweep.combinations()
    rates = np.array([changes["optimiser.lr"] for _, changes in sweep.combinations()])
    assert rates.min() >= 1e-5
    assert rates.max() <= 1e-1
    assert 10 < (rates < 1e-3).sum() < 30
    assert {changes["training.batch"] for _, changes in sweep.combinations()} == {1, 2}


def test_the_recipe_is_found_beside_the_file(tmp_path: Path) -> None:
    """Then what is always so, then the command line's word over all."""
    (tmp_path / "base.yaml").write_text("labels.values: {cell: 1}\nimage.spatial_dims: 2\ntraining.patch: [32, 32]\n")
    path = written(tmp_path, "recipe: base.yaml\nalways: {training.epochs: 7, training.batch: 3}\n")
    found = base_recipe(load_sweep(path), path, sets=["training.batch=5"])
    assert (found.training.epochs, found.training.batch) == (7, 5)
    with pytest.raises(RecipeError, match="names no recipe"):
        base_recipe(SweepFile(), path)


@pytest.mark.parametrize(("name", "count"), [("optimizers_2d", 24), ("architectures", 6)])
def test_the_committed_sweeps_hold_together(name: str, count: int) -> None:
    """Every recipe of them validates."""
    path = _ROOT / "configs" / "sweeps" / f"{name}.yaml"
    sweep = load_sweep(path)
    arms = make_arms(sweep, base_recipe(sweep, path), path)
    assert len(arms) == count
    assert all(arm.recipe.weight_map is None for arm in arms) == (name == "optimizers_2d")
