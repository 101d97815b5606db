"""Random masks of every awkward kind."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

MaskPair = tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], tuple[float, ...]]


def one(random: np.random.Generator, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    kind = random.integers(7)
    mask = np.zeros(shape, dtype=bool)
    if kind == 1:  # one voxel, often in a corner
        mask[tuple(random.choice([0, n - 1, n // 2]) for n in shape)] = True
    elif kind == 2:  # everything
        mask[...] = True
    elif kind == 3:  # scattered voxels
        mask = random.random(shape) < 0.1
    elif kind == 4:  # a box that touches the border
        mask[tuple(slice(0, random.integers(1, n + 1)) for n in shape)] = True
    elif kind > 4:  # blobs, cut by the border
        mask = ndimage.gaussian_filter(random.standard_normal(shape), 1.5) > 0.08
    return mask


@pytest.fixture(scope="session")
def mask_pairs() -> list[MaskPair]:
    """200 pairs of masks, 2-D and 3-D, empty and full ones, some touching the border, with a spacing."""

    def draw() -> Iterator[MaskPair]:
        random = np.random.default_rng(7)
        for number in range(200):
            shape = tuple(int(n) for n in random.integers(1, 12, size=2 + number % 2))
            spacing = tuple(float(s) for s in random.uniform(0.3, 6, size=len(shape)))
            yield one(random, shape), one(random, shape), spacing

    return list(draw())
