"""The made-up series of the tests: its voxels, and one with an element of its headers changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pydicom.dataset import Dataset


def made_up(slices: int = 5) -> np.ndarray:
    """The voxels, in the reader's axis order."""
    i, j, k = np.mgrid[:10, :12, :slices]
    return 1000 * k + 20 * j + i


def spoilt(keyword: str, value: Any) -> Callable[[Dataset, int], None]:
    """An element of every file set, or left out."""
    return lambda ds, k: delattr(ds, keyword) if value is None else setattr(ds, keyword, value)
