"""Changing grids: against torch's own resizing, against exact polynomials, in whole and in rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from volseg.errors import UsageError
from volseg.geometry import Grid
from volseg.transforms.regrid import axis_weights, regrid, regrid_axis

sizes = st.integers(1, 40)


@given(old=st.tuples(*[st.integers(1, 12)] * 3), more=st.tuples(*[st.integers(0, 12)] * 3), seed=st.integers(0, 99))
def test_linear_enlarging_is_torchs_trilinear(old: tuple[int, ...], more: tuple[int, ...], seed: int) -> None:
    """Where no axis shrinks, linear is F.interpolate's trilinear without aligned corners."""
    x = torch.randn(1, 2, *old, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    new = tuple(n + m for n, m in zip(old, more, strict=True))
    expected = F.interpolate(x, new, mode="trilinear", align_corners=False)
    torch.testing.assert_close(regrid(x, new), expected, atol=1e-12, rtol=0)


# of an image of one column torch's antialiased resize makes the first row twice
wide = st.integers(2, 40)


@given(old=st.tuples(wide, wide), new=st.tuples(wide, wide), mode=st.sampled_from(["bilinear", "bicubic"]))
def test_shrinking_is_torchs_antialiased_resize(old: tuple[int, int], new: tuple[int, int], mode: str) -> None:
    """In 2-D, with its widened kernel, the result is torch's antialiased bilinear and bicubic."""
    if mode == "bilinear" and any(b > a for a, b in zip(old, new, strict=True)):
        new = tuple(min(a, b) for a, b in zip(old, new, strict=True))
    x = torch.randn(1, 1, *old, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = F.interpolate(x, new, mode=mode, antialias=True, align_corners=False)
    order = "linear" if mode == "bilinear" else "cubic"
    torch.testing.assert_close(regrid(x, new, order), expected, atol=1e-9, rtol=0)


@given(old=sizes, new=sizes, order=st.sampled_from(["nearest", "linear", "cubic"]))
def test_weights_sum_to_one_and_the_same_size_changes_nothing(old: int, new: int, order: str) -> None:
    """A constant stays constant at every size, and an axis kept as it is keeps its very bits."""
    weights = axis_weights(old, new, order)
    np.testing.assert_allclose(weights.weights.sum(axis=1), 1, atol=1e-12)
    x = torch.randn(3, old)
    assert torch.equal(regrid(x, (old,), order), x)


@given(old=st.integers(4, 40), new=st.integers(8, 80), order=st.sampled_from(["linear", "cubic"]))
def test_polynomials_are_reproduced_where_the_world_says(old: int, new: int, order: str) -> None:
    """A straight line (a parabola for cubic) over the field of view is the same line on the finer grid, inside."""
    grid = Grid.from_spacing((old,), (1.0,))
    finer = grid.reshaped((max(old, new),))
    degree = 1 if order == "linear" else 2
    before = grid.to_world(np.arange(old)[:, None])[:, 0] ** degree
    where = finer.to_world(np.arange(finer.shape[0])[:, None])[:, 0]
    inside = (where >= 1) & (where <= old - 2)
    after = regrid(torch.from_numpy(before), finer.shape, order).numpy()
    np.testing.assert_allclose(after[inside], where[inside] ** degree, rtol=1e-9, atol=1e-9)


@given(old=sizes, new=sizes, place=st.floats(0, 1), order=st.sampled_from(["nearest", "linear", "cubic"]))
def test_a_row_alone_is_that_of_the_whole(old: int, new: int, place: float, order: str) -> None:
    """A new row, mixed from only the old ones that it needs, equals that of the whole to the bit."""
    x = torch.randn(2, old, 3)
    weights = axis_weights(old, new, order)
    which = min(int(place * new), new - 1)
    low = int(weights.indices[which].min())
    rows = x[:, low : int(weights.indices[which].max()) + 1].split(1, dim=1)
    assert torch.equal(weights.row(which, rows, low), regrid_axis(x, 1, weights)[:, which : which + 1])


def test_an_unknown_order_or_an_empty_axis_is_refused() -> None:
    """Nonsense raises with what would be right."""
    with pytest.raises(UsageError, match="nearest, linear or cubic, not 'quintic'"):
        axis_weights(4, 4, "quintic")
    with pytest.raises(UsageError, match="from 4 to 0 voxels"):
        axis_weights(4, 0)
