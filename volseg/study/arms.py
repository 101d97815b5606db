"""The recipes of a sweep: each a change of the same one, with a name that tells what is different about it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volseg.errors import RecipeError
from volseg.recipe import Recipe, load_recipe
from volseg.recipe.load import change_recipe
from volseg.recipe.spelling import spell
from volseg.study.sweep_file import SweepFile


@dataclass(frozen=True)
class Arm:
    """One recipe of a sweep.

    Attributes:
        name: what is different about it, in words.
        variant: the named change that it has, if the sweep has any.
        changes: the keys that the sweep varies.
        recipe: the whole.
        seeds: of its trainings.
    """

    name: str
    variant: str | None
    changes: Mapping[str, Any]
    recipe: Recipe
    seeds: tuple[int, ...] = (0,)

    @property
    def folder(self) -> str:
        """A name for files: the same for the same recipe, whatever else the sweep holds."""
        plain = re.sub("[^A-Za-z0-9.]+", "-", self.name).strip("-.")[:60] or "recipe"
        return f"{plain}-{self.recipe.digest()[:8]}"

    def seeded(self, seed: int) -> Recipe:
        """The recipe with another seed."""
        return self.recipe.changed({"training.seed": seed}, where=f"seeds: {seed}")


def base_recipe(
    sweep: SweepFile,
    path: Path,
    recipe: Path | None = None,
    overlays: Sequence[Path] = (),
    sets: Sequence[str] = (),
) -> Recipe:
    """The recipe that a sweep changes.

    Args:
        sweep: the sweep.
        path: its file, beside which its recipe and overlays are looked for.
        recipe: another recipe than the file's.
        overlays: further overlays.
        sets: single keys, as on the command line.
    """
    if recipe is None and sweep.recipe is None:
        raise RecipeError("names no recipe", where=path, mend="add a key recipe, or -r RECIPE.yaml")
    chosen = recipe or path.parent / str(sweep.recipe)
    base = load_recipe(chosen, [path.parent / overlay for overlay in sweep.overlays])
    if sweep.always:
        base = base.changed(sweep.always, where=f"{path}: always")
    return change_recipe(base, overlays, sets) if overlays or sets else base


def make_arms(sweep: SweepFile, base: Recipe, path: Path) -> tuple[Arm, ...]:
    """Every recipe of a sweep once; all of them are checked before anything is trained.

    Raises:
        RecipeError: naming the key and the value that make a recipe which does not hold together.
    """
    short = _short_names([*sweep.grid, *(sweep.random.draws if sweep.random else ())])
    arms: dict[str, Arm] = {}
    for variant, changes in sweep.combinations():
        words = [variant] if variant is not None else []
        words += [f"{short[key]}={_value(value)}" for key, value in changes.items()]
        recipe = base
        if variant is not None and sweep.variants[variant]:
            recipe = recipe.changed(sweep.variants[variant], where=f"{path}: variants.{variant}")
        if changes:
            recipe = recipe.changed(changes, where=f"{path}: {', '.join(words)}")
        if sweep.seeds and recipe.training.seed != base.training.seed:
            raise RecipeError(
                "training.seed varies, and seeds are named too", where=f"{path}: {' '.join(words)}", mend="keep one"
            )
        seeds = sweep.seeds or (recipe.training.seed,)
        arm = Arm(" ".join(words) or "recipe", variant, changes, recipe, seeds)
        arms.setdefault(recipe.digest(), arm)
    return tuple(arms.values())


def _short_names(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key, or more of it where two would be alike.

    >>> _short_names(["optimiser.lr", "optimiser.kind", "network.kind"])
    {'optimiser.lr': 'lr', 'optimiser.kind': 'optimiser.kind', 'network.kind': 'network.kind'}
    """
    last = [key.rpartition(".")[2] for key in keys]
    return {key: name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)}


def _value(value: Any) -> str:
    return value if isinstance(value, str) else spell(value)
