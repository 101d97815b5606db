"""Grids: what they tell, when two are one, and turning axes without touching a voxel."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from volseg.errors import GridMismatch, UsageError
from volseg.geometry import Grid, orientations


def random_grid(seed: int, ndim: int = 3) -> Grid:
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(ndim, ndim)))
    affine = np.eye(ndim + 1)
    affine[:-1, :-1] = rotation * rng.uniform(0.3, 9, ndim)
    affine[:-1, -1] = rng.uniform(-200, 200, ndim)
    return Grid(tuple(int(n) for n in rng.integers(1, 9, ndim)), affine)


@given(st.integers(0, 2**32 - 1))
def test_axis_codes_spacing_and_world_agree_with_nibabel(seed: int) -> None:
    """nibabel, independently, sees the same axis codes, spacing and world coordinates."""
    grid = random_grid(seed)
    assert grid.axcodes == "".join(nib.aff2axcodes(grid.affine))
    np.testing.assert_allclose(grid.spacing, nib.affines.voxel_sizes(grid.affine), rtol=1e-12)
    index = np.random.default_rng(seed).uniform(-5, 5, (7, 3))
    np.testing.assert_allclose(grid.to_world(index), nib.affines.apply_affine(grid.affine, index))
    np.testing.assert_allclose(grid.to_index(grid.to_world(index)), index, atol=1e-9)


@pytest.mark.parametrize("codes", list(orientations()))
@given(seed=st.integers(0, 2**32 - 1))
def test_reorientation_moves_every_voxel_to_the_same_place(codes: str, seed: int) -> None:
    """After a turn each value stands at the same world coordinates, and the way back is exact to the bit."""
    grid = random_grid(seed)
    values = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    turn = grid.reoriented(codes)
    turned = turn.apply(values)
    assert turn.target.axcodes == codes
    assert turned.shape == turn.target.shape
    where = {
        value: grid.to_world(np.argwhere(values == value)[0]) for value in (0, int(values.max()), values.size // 2)
    }
    for value, place in where.items():
        np.testing.assert_allclose(turn.target.to_world(np.argwhere(turned == value)[0]), place, atol=1e-9)
    back = turn.inverse()
    assert back.target == grid
    np.testing.assert_array_equal(back.apply(turned), values)


@given(hnp.arrays(np.int16, (2, 3, 4, 5)), st.sampled_from(list(orientations())))
def test_leading_axes_stay_where_they_are(array: np.ndarray, codes: str) -> None:
    """Channels before the spatial axes are not turned."""
    turn = Grid.from_spacing((3, 4, 5), (1, 2, 3)).reoriented(codes)
    np.testing.assert_array_equal(turn.apply(array)[1], turn.apply(array[1]))


def test_two_dimensions_have_eight_orientations() -> None:
    """A 2-D grid turns in eight ways, each exactly invertible."""
    grid = Grid.from_spacing((2, 3), (0.5, 0.7))
    codes = list(orientations(2))
    assert len(codes) == 8
    for code in codes:
        assert grid.reoriented(code).inverse().target == grid


def test_distance_is_the_farthest_corner_in_millimetres() -> None:
    """A shift of 3 mm along one axis and 4 along another is 5 mm; another shape is infinitely far."""
    grid = Grid.from_spacing((10, 10, 10), (1, 1, 1))
    moved = grid.affine.copy()
    moved[:3, 3] = (3, 4, 0)
    assert grid.distance(Grid(grid.shape, moved)) == pytest.approx(5)
    assert grid.distance(Grid.from_spacing((10, 10, 9), (1, 1, 1))) == float("inf")


def test_a_single_slice_has_a_thickness() -> None:
    """Its centre is where it was, its outer faces are not: such a mask would give an eighth of the volume."""
    thin, thick = Grid.from_spacing((10, 10, 1), (1, 1, 1)), Grid.from_spacing((10, 10, 1), (1, 1, 8))
    assert thin.distance(thick) == pytest.approx(3.5)
    assert not thin.same_as(thick)


def test_one_percent_of_the_smallest_spacing_is_the_same_place() -> None:
    """Float32 noise is no difference, a hundredth of a voxel and more is."""
    grid = Grid.from_spacing((64, 64, 12), (1.5, 1.5, 10))
    noisy = grid.affine.copy()
    noisy[:3] *= 1 + 1e-7
    assert grid.same_as(Grid(grid.shape, noisy))
    near, far = grid.affine.copy(), grid.affine.copy()
    near[0, 3], far[0, 3] = 0.014, 0.016
    assert grid.same_as(Grid(grid.shape, near))
    assert not grid.same_as(Grid(grid.shape, far))
    with pytest.raises(GridMismatch, match=r"a and b: image and label lie 0\.016 mm apart"):
        grid.require_same(Grid(grid.shape, far), where="a and b", what="image and label")
    with pytest.raises(GridMismatch, match=r"differ in shape: \(64, 64, 12\) and \(1, 1, 1\)"):
        grid.require_same(Grid.from_spacing((1, 1, 1), (1, 1, 1)), where="x")


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.floats(0.2, 12)] * 3))
def test_resampling_keeps_the_field_of_view(seed: int, spacing: tuple[float, float, float]) -> None:
    """The outer faces of the first and last voxel stay where they were, and going back gives the old shape."""
    grid = random_grid(seed)
    other = grid.resampled(spacing)
    for low_or_high in (lambda g: np.full(3, -0.5), lambda g: np.asarray(g.shape) - 0.5):
        np.testing.assert_allclose(grid.to_world(low_or_high(grid)), other.to_world(low_or_high(other)), atol=1e-6)
    assert other.reshaped(grid.shape).distance(grid) < 1e-6


def test_shear_and_obliquity_are_told_apart() -> None:
    """A rotated grid is oblique but not sheared; a sheared one is."""
    turn = np.deg2rad(20)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    rotated = Grid((4, 4, 4), affine)
    assert rotated.obliquity == pytest.approx(20)
    assert rotated.shear == pytest.approx(0, abs=1e-12)
    affine = np.eye(4)
    affine[0, 1] = 0.5
    assert Grid((4, 4, 4), affine).shear == pytest.approx(0.5 / np.sqrt(1.25))


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((0, 3, 3), np.eye(4), "positive sizes"),
        ((), np.eye(1), "positive sizes"),
        ((3, 3), np.eye(4), "needs a 3x3 affine"),
        ((3, 3, 3), np.diag([1, 1, 0, 1]), "singular"),
        ((3, 3, 3), np.diag([1, np.nan, 1, 1]), "finite"),
        ((3, 3, 3), np.diag([1, 1, 1, 2]), "0 … 0 1"),
    ],
)
def test_an_impossible_grid_is_never_born(shape: tuple[int, ...], affine: np.ndarray, message: str) -> None:
    """A grid that means nothing raises when it is made."""
    with pytest.raises(UsageError, match=message):
        Grid(shape, affine)


def test_a_grid_is_frozen_and_its_affine_its_own() -> None:
    """Changing the array a grid was made from, or the grid's own, is impossible or without effect."""
    affine = np.eye(4)
    grid = Grid((2, 2, 2), affine)
    affine[0, 0] = 7
    assert grid.affine[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 7
    assert Grid.from_dict(grid.to_dict()) == grid
    assert len({grid, Grid.from_dict(grid.to_dict())}) == 1


@pytest.mark.parametrize("codes", ["RAX", "RR", "RAR", "RASP", ""])
def test_a_wrong_orientation_says_what_is_right(codes: str) -> None:
    """An axis code that names no orientation is refused with an example."""
    with pytest.raises(UsageError, match="for example RAS or LPI"):
        Grid.from_spacing((2, 2, 2), (1, 1, 1)).reoriented(codes)


def test_corners_are_the_outermost_voxel_centres() -> None:
    """Eight in 3-D, in millimetres, however the grid is given; a single slice has its corners twice."""
    grid = Grid((3, 1, 2), np.array([[2, 0, 0, 10], [0, 3, 0, 20], [0, 0, 0.5, 30], [0, 0, 0, 1]]))
    expected = [(x, 20, z) for x in (10, 10, 14, 14) for z in (30, 30.5)]
    np.testing.assert_array_equal(sorted(map(tuple, grid.corners())), sorted(expected))
    assert grid.corners().dtype == np.float64


def test_points_keep_their_arrangement() -> None:
    """One point, a row, a table of points: indices come back in the same shape, with their fractions."""
    grid = Grid.from_spacing((8, 8), (2, 4))
    assert grid.to_index([3, 10]).tolist() == [1.5, 2.5]
    table = np.arange(12).reshape(2, 3, 2)
    assert grid.to_index(table).shape == (2, 3, 2)
    np.testing.assert_array_equal(grid.to_index(table), table / (2.0, 4.0))
    assert grid.to_index(table.astype(np.float32)).dtype == np.float64


def test_the_finer_of_two_grids_decides_what_is_the_same_place() -> None:
    """Half a millimetre is much for voxels of one, whichever grid has them; just as far is not farther."""
    fine, coarse = Grid.from_spacing((1,), (1,)), Grid.from_spacing((1,), (2,))
    for one, other in ((fine, coarse), (coarse, fine)):
        assert one.same_as(other, tolerance=0.5)
        assert not one.same_as(other, tolerance=0.499)


def test_two_grids_that_differ_are_told_apart_in_words() -> None:
    """Which file, how far, and what each is like."""
    near, far = Grid.from_spacing((2, 2, 2), (1.5, 1.5, 10)), Grid.from_spacing((2, 2, 2), (1.5, 1.5, 12.25))
    told = "case: the two grids lie 3.38 mm apart (spacing 1.5x1.5x10 mm, RAS and 1.5x1.5x12.25 mm, RAS)"
    with pytest.raises(GridMismatch) as caught:
        near.require_same(far, where="case")
    assert str(caught.value) == told
    with pytest.raises(GridMismatch) as caught:
        near.require_same(Grid.from_spacing((2, 2, 3), (1, 1, 1)), where="case")
    assert str(caught.value) == "case: the two grids differ in shape: (2, 2, 2) and (2, 2, 3)"


def test_resampling_counts_voxels_by_the_field_of_view() -> None:
    """Twice the spacing, half the voxels; never none; one spacing for each axis."""
    grid = Grid.from_spacing((10, 7, 3), (1, 2, 0.5))
    assert grid.resampled((2, 1, 0.5)).shape == (5, 14, 3)
    assert grid.resampled((1.4, 2, 1)).shape == (7, 7, 2)
    assert grid.resampled((1000, 1000, 1000)).shape == (1, 1, 1)
    with pytest.raises(ValueError, match="shorter"):
        grid.resampled((1, 2))


@given(st.integers(0, 2**32 - 1), st.tuples(*[st.floats(0.2, 12)] * 3))
def test_sampling_keeps_the_first_voxel(seed: int, spacing: tuple[float, float, float]) -> None:
    """The first centre and the axes stay, the spacing is exact, the last centre is at most half a voxel away."""
    grid = random_grid(seed)
    other = grid.sampled(spacing)
    np.testing.assert_allclose(other.origin, grid.origin, atol=1e-9)
    np.testing.assert_allclose(other.spacing, spacing)
    np.testing.assert_allclose(other.direction, grid.direction, atol=1e-9)
    end = (np.asarray(grid.shape) - 1) * grid.spacing - (np.asarray(other.shape) - 1) * np.asarray(spacing)
    assert (np.abs(end) <= np.asarray(spacing) * 0.5 + 1e-9).all()


def test_sampling_asks_for_a_spacing_of_each_axis() -> None:
    """Fewer are a mistake."""
    with pytest.raises(ValueError, match="broadcast"):
        Grid.from_spacing((4, 4, 4), (1, 1, 1)).sampled((1, 2))


def test_grids_hash_by_what_they_are() -> None:
    """Other shapes and other places have other hashes: a table of grids stays quick."""
    grids = [Grid.from_spacing((2, 2, n), (1, 1, s)) for n in (2, 3) for s in (1, 2)]
    assert len({hash(grid) for grid in grids}) == 4


def test_orientations_are_listed_once_each() -> None:
    """Forty-eight in 3-D, where nobody says otherwise."""
    assert len(set(orientations())) == len(list(orientations(3))) == 48
    assert sorted(orientations(1)) == ["L", "R"]


def test_a_grid_is_made_of_whole_numbers_and_doubles() -> None:
    """Whatever it is given as."""
    grid = Grid(np.array([2.0, 3.0]), np.eye(3, dtype=np.int8))  # type: ignore[arg-type]
    assert grid.shape == (2, 3)
    assert [type(n) for n in grid.shape] == [int, int]
    assert grid.affine.dtype == np.float64
    assert grid.to_world(np.array([100, 100], dtype=np.int8)).tolist() == [100, 100]


def test_grids_are_equal_only_in_both_shape_and_place() -> None:
    """And equal to nothing that is no grid."""
    grid = Grid.from_spacing((2, 3), (1, 1))
    assert grid != Grid.from_spacing((2, 3), (1, 2))
    assert grid != Grid.from_spacing((3, 2), (1, 1))
    assert grid != "a grid"


def test_turning_leaves_no_negative_zeros() -> None:
    """They would make equal affines differ in their bytes."""
    turned = Grid.from_spacing((2, 2, 2), (1, 1, 1)).reoriented("LPI").target
    assert not np.signbit(turned.affine[turned.affine == 0]).any()
