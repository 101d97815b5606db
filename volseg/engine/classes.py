"""Values of a mask, which mean what a person says, and the class numbers 0, 1, 2, … that a network learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from volseg.errors import LabelError
from volseg.labels import smallest_unsigned


class Classes:
    """How values become class numbers: the background is 0, structures count from 1 in the order of ``values``.

    >>> classes = Classes([10, 20], ignore=99)
    >>> classes.numbers(np.array([0, 20, 99])).tolist()
    [0, 2, 3]
    """

    def __init__(self, values: Sequence[int], ignore: int | None = None, instances: bool = False) -> None:
        """Name the structures' values.

        Args:
            values: of the structures, background left out.
            ignore: of voxels without truth.
            instances: every other value is an object of the only structure.
        """
        self.values = tuple(int(v) for v in values)
        self.ignore = ignore
        self.instances = instances

    @property
    def count(self) -> int:
        """How many classes there are, background included."""
        return len(self.values) + 1

    @property
    def ignored(self) -> int:
        """The class number that stands for no truth: the first that is none."""
        return self.count

    @property
    def dtype(self) -> np.dtype[Any]:
        """A type that torch computes with as well."""
        smallest = smallest_unsigned(self.ignored)
        return np.dtype(np.uint8) if smallest == np.uint8 else np.dtype(np.int32)

    def number_of(self, value: int) -> int:
        """The class of a structure's value."""
        if value == 0:
            return 0
        if value not in self.values:
            raise LabelError(f"{value} is the value of no structure")
        return self.values.index(value) + 1

    def numbers(self, mask: npt.NDArray[Any], *, where: object = None) -> npt.NDArray[Any]:
        """The class number of each voxel.

        Raises:
            LabelError: if a value is not declared.
        """
        result = np.zeros(mask.shape, dtype=self.dtype)
        if self.instances:
            result[mask != 0] = 1
        else:
            known = mask == 0
            for number, value in enumerate(self.values, start=1):
                here = mask == value
                result[here] = number
                known |= here
            if self.ignore is not None:
                known |= mask == self.ignore
            if not known.all():
                foreign = sorted({int(v) for v in np.unique(mask[~known])})
                raise LabelError(f"holds the undeclared label value {', '.join(map(str, foreign[:8]))}", where=where)
        if self.ignore is not None:
            result[mask == self.ignore] = self.ignored
        return result
