from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from volseg.bundle.exporting import components

masks = arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=7))


@given(mask=masks, full=st.booleans())
def test_parts_are_those_of_scipy(mask: np.ndarray, full: bool) -> None:
    """The same numbers for the same parts, connected through faces or through everything."""
    structure = np.ones((3,) * mask.ndim, dtype=bool) if full else None
    ours, count = components.label(mask, structure)
    theirs, there = ndimage.label(mask, structure)
    assert count == there
    assert np.array_equal(ours, theirs)


@given(mask=masks)
def test_holes_and_boxes_are_those_of_scipy(mask: np.ndarray) -> None:
    """What a mask encloses is filled alike, and the box around it is the same."""
    assert np.array_equal(components.binary_fill_holes(mask), ndimage.binary_fill_holes(mask))
    if mask.any():
        assert components.find_objects(mask.astype(np.uint8)) == ndimage.find_objects(mask.astype(np.uint8))


def test_a_long_way_is_one_part() -> None:
    """A spiral through a large image is found as one part, whatever way leads through it."""
    mask = np.zeros((61, 61), dtype=bool)
    row, column, step = 0, 0, 60
    turn = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    for number in range(40):
        down, right = turn[number % 4]
        for _ in range(step):
            mask[row, column] = True
            row, column = row + down, column + right
        if (number % 2 and number > 1) or number == 2:
            step -= 2
        if step < 2:
            break
    assert components.label(mask)[1] == ndimage.label(mask)[1]
    assert np.array_equal(components.label(mask)[0], ndimage.label(mask)[0])
