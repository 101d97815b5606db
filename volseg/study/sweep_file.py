"""The sweep file: which recipes are trained and held against each other, checked as strictly as a recipe."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, ValidationError

from volseg.errors import RecipeError
from volseg.recipe.kinds import Count, Line, PositiveRange, Range, Says, Seed, must
from volseg.recipe.layers import Layer, merge
from volseg.recipe.mistakes import recipe_error
from volseg.recipe.section import Section
from volseg.recipe.spelling import spell
from volseg.recipe.yaml_text import LARGEST, read_yaml

Changes = Annotated[dict[str, Any], Says("a mapping of recipe keys to values")]
Values = Annotated[tuple[Any, ...], Field(min_length=1), Says("a list of values")]
_MOST = 10_000


class Draw(Section):
    """Where a random search takes a key's values from: one of the three."""

    choice: Values | None = Field(None, description="values, each as likely")
    uniform: Range | None = Field(None, description="numbers between two, each as likely")
    log_uniform: PositiveRange | None = Field(None, description="numbers between two, each magnitude as likely")

    @property
    def ways(self) -> int:
        """How many of the three are given."""
        return sum(way is not None for way in (self.choice, self.uniform, self.log_uniform))

    def value(self, random: np.random.Generator) -> Any:
        """One value."""
        if self.choice is not None:
            return self.choice[int(random.integers(len(self.choice)))]
        if self.uniform is not None:
            return round(float(random.uniform(self.uniform[0], self.uniform[1])), 12)
        assert self.log_uniform is not None
        low, high = (math.log(end) for end in self.log_uniform)
        return float(f"{math.exp(random.uniform(low, high)):.4g}")


class Random(Section):
    """A random search."""

    number: Annotated[int, Field(ge=1, le=_MOST)] = Field(description="how many recipes are drawn")
    seed: Seed = Field(0, description="of the drawing")
    draws: Annotated[
        dict[str, Annotated[Draw, must(lambda d: d.ways == 1), Says("one of choice, uniform, log_uniform")]],
        Field(min_length=1),
        Says("a mapping of recipe keys to choice, uniform or log_uniform"),
    ] = Field(description="recipe keys, and where their values come from")


class Halving(Section):
    """Successive halving: hopeless recipes are stopped before their end."""

    at: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], ...],
        must(lambda at: len(at) > 0 and list(at) == sorted(set(at))),
        Says("a list of rising shares of the epochs, each above 0 and below 1"),
    ] = Field((0.25, 0.5), description="shares of the epochs after which recipes are compared")
    keep: Annotated[float, Field(gt=0, lt=1)] = Field(0.5, description="share of the recipes that goes on each time")


class SweepFile(Section):
    """What is swept over. Variants, grid and random draws are combined, each with each."""

    recipe: Line | None = Field(None, description="the recipe that is changed, its path as seen from this file")
    overlays: Annotated[tuple[Line, ...], Says("a list of paths")] = Field((), description="overlays over it")
    always: Changes = Field(default_factory=dict, description="recipe keys that are the same in every training")
    variants: Annotated[
        dict[str, Changes],
        Says("a mapping of names to changes of recipe keys"),
    ] = Field(default_factory=dict, description="named changes, one of which is made at a time")
    grid: Annotated[dict[str, Values], Says("a mapping of recipe keys to lists of values")] = Field(
        default_factory=dict, description="recipe keys and their values, each with each"
    )
    random: Random | None = Field(None, description="a random search, beside or instead of a grid")
    seeds: Annotated[
        tuple[Seed, ...],
        must(lambda s: len(set(s)) == len(s)),
        Says("a list of different whole numbers"),
    ] = Field((), description="training.seed of the trainings of each recipe; without any one training with its own")
    fold: Annotated[int, Field(ge=0)] = Field(0, description="the fold that is validated")
    halving: Halving | None = Field(None, description="stops hopeless recipes; none trains all to their end")
    shown: Count = Field(12, description="recipes that have a name in the figure of the curves")

    def combinations(self) -> list[tuple[str | None, dict[str, Any]]]:
        """The variant and the other changes of each recipe.

        >>> file = SweepFile(grid={"optimiser.lr": (0.1, 0.01)}, variants={"slim": {"network.channels": (4, 8)}})
        >>> file.combinations()
        [('slim', {'optimiser.lr': 0.1}), ('slim', {'optimiser.lr': 0.01})]
        """
        names: list[str | None] = list(self.variants) or [None]
        grid = [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]
        draws: list[dict[str, Any]] = [{}]
        if self.random is not None:
            generator = np.random.default_rng(self.random.seed)
            draws = [
                {key: draw.value(generator) for key, draw in self.random.draws.items()}
                for _ in range(self.random.number)
            ]
        return [(name, {**chosen, **drawn}) for name, chosen, drawn in product(names, grid, draws)]


def load_sweep(path: Path) -> SweepFile:
    """The sweep in a file.

    Raises:
        RecipeError: one line per mistake.
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST + 1)
    except OSError as error:
        raise RecipeError(f"cannot be read ({(error.strerror or str(error)).lower()})", where=where) from None
    data = read_yaml(raw, where)
    if not isinstance(data, Mapping):
        raise RecipeError(f"expected a mapping of keys, not {spell(data)}", where=where)
    merged = merge([Layer(where, data)], SweepFile)
    try:
        sweep = SweepFile.model_validate(merged.data)
    except ValidationError as error:
        raise recipe_error(error, SweepFile, merged) from None
    if both := sorted(set(sweep.grid) & set(sweep.random.draws if sweep.random else ())):
        raise RecipeError(f"{both[0]} stands in grid and in random", where=where, mend="keep one of them")
    if (count := len(sweep.combinations()) * max(1, len(sweep.seeds))) > _MOST:
        raise RecipeError(f"these are {count} trainings", where=where, mend=f"at most {_MOST} are one sweep")
    return sweep
