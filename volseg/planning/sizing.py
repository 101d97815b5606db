"""How large a network, a patch and a batch: the largest of a ladder that fits the memory and leaves steps enough."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import numpy as np
from scipy.optimize import nnls

from volseg.errors import MemoryLimitError
from volseg.planning.layers import products
from volseg.planning.measured import Measure, Measured
from volseg.planning.memory import step_memory
from volseg.recipe import Recipe
from volseg.recipe.units import readable_bytes

#: voxels that a step sees at most, over all patches of its batch
VOXELS = {"cpu": 420_000, "cuda": 4_000_000}
# the widths of the finest level, with the share of the voxels that a step sees, from the best to the quickest: what a
# patch shows is worth more than how many channels look at it
_LADDER = (
    *((32, 1.0), (24, 1.0), (24, 0.5), (16, 0.5), (16, 0.25), (12, 0.25), (8, 0.25), (8, 0.125), (8, 0.0625)),
    *((8, 0.03), (4, 0.03), (4, 0.01)),
)
#: a network learns little in fewer steps
FEWEST = 300
# a wider network is worth having only if it gets so many steps, and in 2-D so many times that, for slices differ more
# than volumes do
_ENOUGH = {32: 2400, 24: 1600, 16: 1000, 12: 700, 8: 300, 4: 0}
_MORE = {2: 3, 3: 1}
# of the memory given, what a step may be predicted to take: predictions are off by a few hundredths
_PRUDENT = 0.87
_MOST_TRIALS = 3
# multiplications of a pass that a step does a second, before any was measured: a laptop's core or two, or a GPU
_GUESSED = {"cpu": 1.3e10, "cuda": 2e12}


@dataclass(frozen=True)
class Size:
    """One rung of the ladder."""

    width: int
    share: float


@dataclass(frozen=True)
class Sized:
    """The rung that was taken, its recipe, its cost, and why not a larger one."""

    size: Size
    recipe: Recipe
    cost: Measured
    predicted: int
    why: str


def choose_size(
    draft: Callable[[Size], Recipe],
    measure: Measure,
    *,
    memory: int,
    device: str,
    steps: Callable[[Measured], int] | None,
) -> Sized:
    """The best size that fits.

    The first guess of a step's time is replaced by a measured one at the first trial, and that of other sizes follows
    from their multiplications; the size that is taken was always measured itself.

    Args:
        draft: the recipe of a size.
        measure: measures a recipe.
        memory: bytes that a training may take.
        device: ``cpu`` or ``cuda``.
        steps: how many steps the time allows at a cost; none where there is time for all.

    Raises:
        MemoryLimitError: if even the smallest does not fit.
    """
    rungs = [Size(width, share) for width, share in _LADDER]
    recipes = {size: draft(size) for size in rungs}
    peaks = {size: step_memory(recipe, device=device).peak for size, recipe in recipes.items()}
    enough = {size: _enough(size, recipe.network.spatial_dims) for size, recipe in recipes.items()}
    fitting = [size for size in rungs if peaks[size] <= _PRUDENT * memory]
    if not fitting:
        raise MemoryLimitError(
            f"the smallest network takes {readable_bytes(peaks[rungs[-1]])}, and {readable_bytes(memory)} are there",
            mend="give more with --memory",
        )
    tried: dict[Size, Measured] = {}
    while fitting:
        seconds = _clock({recipes[s]: cost.step for s, cost in tried.items()}, device)
        size = _best(fitting, {s: tried.get(s) or Measured(seconds(recipes[s]), 0) for s in fitting}, enough, steps)
        if len(tried) == _MOST_TRIALS:
            size = _best([s for s in fitting if s in tried], tried, enough, steps)
        if size in tried:
            break
        cost = measure(recipes[size])
        if cost is None or cost.peak > memory:
            fitting = [s for s in fitting if peaks[s] < peaks[size]]
            continue
        tried[size] = cost
    else:
        raise MemoryLimitError(f"no network fits {readable_bytes(memory)}", mend="give more with --memory")
    return Sized(size, recipes[size], tried[size], peaks[size], _why(size, rungs, fitting, steps, tried[size]))


def _enough(size: Size, dims: int) -> int:
    return max(FEWEST, _ENOUGH[size.width] * _MORE[dims])


def _best(
    sizes: list[Size],
    costs: Mapping[Size, Measured],
    enough: Mapping[Size, int],
    steps: Callable[[Measured], int] | None,
) -> Size:
    """The first that gets steps enough; if none does, that with the most."""
    if steps is None:
        return sizes[0]
    found = {size: steps(costs[size]) for size in sizes}
    return next((size for size in sizes if found[size] >= enough[size]), max(sizes, key=lambda size: found[size]))


def _clock(tried: Mapping[Recipe, float], device: str) -> Callable[[Recipe], float]:
    """Predicts a step's seconds: so much for each voxel (patches are drawn, losses taken) and each multiplication."""
    if not tried:
        return lambda recipe: products(recipe) / _GUESSED[device]
    voxels, product = 0.0, max(seconds / products(recipe) for recipe, seconds in tried.items())
    if len(tried) > 1:
        matrix = np.array([[_voxels(recipe), products(recipe)] for recipe in tried], dtype=np.float64)
        voxels, product = nnls(matrix / matrix.max(axis=0), np.array(list(tried.values())))[0] / matrix.max(axis=0)
    return lambda recipe: max(1e-6, float(voxels * _voxels(recipe) + product * products(recipe)))


def _voxels(recipe: Recipe) -> int:
    return recipe.training.batch * prod(recipe.training.patch)


def _why(
    size: Size, rungs: list[Size], fitting: list[Size], steps: Callable[[Measured], int] | None, cost: Measured
) -> str:
    larger = rungs[: rungs.index(size)]
    if not larger:
        return "the widest that is worth its time"
    if steps is not None and any(s in fitting for s in larger):
        return f"with a larger one too few steps would fit the time: with this it is {steps(cost)}"
    return "a larger one would not fit the memory"
