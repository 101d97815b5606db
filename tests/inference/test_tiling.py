"""The arithmetic of tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volseg.errors import SizeError, UsageError
from volseg.inference.tiling import Box, TilePlan, mirror, next_size, one_pass_size, plan


@st.composite
def plans(draw: st.DrawFn) -> tuple[TilePlan, tuple[int, ...]]:
    axes = draw(st.integers(1, 3))
    each = lambda low, high: tuple(draw(st.integers(low, high)) for _ in range(axes))  # noqa: E731
    shape, tile, margin, stride = each(1, 40), each(1, 50), each(0, 30), each(1, 16)
    rest = tuple(draw(st.integers(0, s - 1)) for s in stride)
    padding = draw(st.sampled_from(["same", "valid"]))
    return plan(shape, tile, margin, stride, padding, rest), rest


@given(plans())
def test_every_voxel_is_kept_exactly_once(drawn):
    """The kept boxes partition the volume."""
    tiles, _ = drawn
    count = np.zeros(tiles.shape, dtype=int)
    for tile in tiles:
        count[tile.keep.slices] += 1
    assert (count == 1).all()
    assert len(tiles) == len(list(tiles))


@given(plans())
def test_reads_reach_the_margin_and_lie_on_the_stride_grid(drawn):
    """A tile reads all that influences what it keeps, in a size the network takes, in phase with the one pass."""
    tiles, rest = drawn
    for tile in tiles:
        for axis, (s, m) in enumerate(zip(tiles.stride, tiles.margin, strict=True)):
            start, stop = tile.read.start[axis], tile.read.stop[axis]
            if tiles.padding == "same":
                assert start % s == 0
                assert stop % s == 0
                assert start <= max(0, tile.keep.start[axis] - m)
                assert stop >= min(tiles.one_pass[axis], tile.keep.stop[axis] + m)
                assert start >= 0
                assert stop <= tiles.one_pass[axis]
            else:
                assert (start + m) % s == 0
                assert (stop - start - rest[axis]) % s == 0
                assert start == tile.keep.start[axis] - m
                assert stop >= tile.keep.stop[axis] + m


@given(plans())
def test_the_crop_finds_the_kept_voxels_in_the_output(drawn):
    """Cropping the output of a network that copies its input gives the voxels of the kept box."""
    tiles, _ = drawn
    for tile in tiles:
        lost = tiles.margin if tiles.padding == "valid" else (0,) * len(tiles.shape)
        for axis, part in enumerate(tile.crop):
            output = range(tile.read.start[axis] + lost[axis], tile.read.stop[axis] - lost[axis])
            assert list(output[part]) == list(range(tile.keep.start[axis], tile.keep.stop[axis]))


@given(plans())
def test_recomputation_counts_the_voxels_read(drawn):
    """The predicted factor is the sum of all reads over the one pass."""
    tiles, _ = drawn
    assert tiles.recomputation == pytest.approx(sum(t.read.size for t in tiles) / np.prod(tiles.one_pass))
    assert all(a <= b for t in tiles for a, b in zip(t.read.shape, tiles.largest, strict=True))


@given(st.integers(1, 9), st.integers(0, 40), st.integers(0, 40))
def test_mirror_is_numpys_reflect(n, before, after):
    """The mirrored border equals numpy's reflect, however small the axis and wide the border."""
    line = np.arange(n)
    assert line[mirror(-before, n + after, n)].tolist() == np.pad(line, (before, after), mode="reflect").tolist()


def test_the_papers_tiles():
    """A 512x512 image goes through the paper's network in inputs of 572 that start on multiples of 16."""
    tiles = plan((512, 512), tile=388, margin=92, stride=16, padding="valid", remainder=12)
    first = next(iter(tiles))
    assert first.read.shape == (572, 572)
    assert first.read.start == (-92, -92)
    assert first.keep.shape == (384, 384)
    assert one_pass_size((388, 388), (92, 92), (16, 16), "valid", (12, 12)) == (572, 572)
    assert [next_size(n, 16, 12) for n in (572, 573)] == [572, 588]


def test_one_tile_is_the_whole_volume():
    """A tile at least as large as the volume recomputes nothing."""
    tiles = plan((37, 50), tile=64, margin=20, stride=8)
    assert len(tiles) == 1
    assert tiles.recomputation == 1
    assert next(iter(tiles)).read == Box.whole((40, 56))


@pytest.mark.parametrize(
    ("error", "call"),
    [
        (SizeError, lambda: plan((), 1, 0)),
        (SizeError, lambda: plan((3, 0), 1, 0)),
        (UsageError, lambda: plan((3, 3), 0, 0)),
        (UsageError, lambda: plan((3, 3), (1, 1, 1), 0)),
        (UsageError, lambda: plan((3, 3), 1, 0, padding="full")),
        (UsageError, lambda: Box((3,), (3,))),
        (UsageError, lambda: TilePlan((4,), (2,), (0,), (1,), "same", (0,), (((0, 2, 0, 2),),), (4,))),
    ],
)
def test_mistakes_are_named(error, call):
    """A plan that cannot mean anything is refused where it is made."""
    with pytest.raises(error):
        call()


@given(plans())
def test_a_tile_around_a_kept_box_is_the_plans_own(drawn):
    """Asked for what one of its tiles keeps, a plan gives that tile; the keeping part alone decides."""
    tiles, _ = drawn
    for tile in tiles:
        assert tiles.around(tile.keep) == tile


def test_a_smaller_tile_reads_no_more_than_it_needs():
    """Half of a kept box with its margin; and it starts on the stride grid or not at all."""
    tiles = plan((64, 64), tile=32, margin=6, stride=4)
    part = tiles.around(Box((32, 0), (40, 16)))
    assert part.read == Box((24, 0), (48, 24))
    assert part.keep == Box((32, 0), (40, 16))
    with pytest.raises(UsageError) as caught:
        tiles.around(Box((32, 2), (40, 16)))
    assert str(caught.value) == "a tile cannot start at (32, 2); start on multiples of (4, 4)"


def test_boxes_tell_their_size_and_place():
    """Voxels along each axis, all of them, where they are in an array, and within another box."""
    box = Box((2, 4, 6), (3, 7, 11))
    assert (box.shape, box.size) == ((1, 3, 5), 15)
    assert box.slices == (slice(2, 3), slice(4, 7), slice(6, 11))
    assert box.within(Box((1, 4, 0), (9, 9, 20))) == Box((1, 0, 6), (2, 3, 11))
    with pytest.raises(UsageError, match=r"a box from \(3,\) to \(3, 4\) holds no voxel"):
        Box((3,), (3, 4))


def test_the_largest_read_is_the_largest_of_any_tile():
    """Along each axis; what memory is measured by."""
    tiles = plan((30, 100), tile=(16, 24), margin=(3, 10), stride=(1, 8))
    assert tiles.largest == tuple(max(tile.read.shape[axis] for tile in tiles) for axis in (0, 1)) == (19, 56)
    assert tiles.recomputation == pytest.approx((19 + 17) * (40 + 56 + 56 + 48 + 24) / (30 * 104))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: plan((3, 0), 1, 0), "a volume of (3, 0) voxels has nothing to predict"),
        (
            lambda: plan((3, 3), 1, -1, 2),
            "tiles of (1, 1) with margin (-1, -1) and stride (2, 2) mean nothing; use sizes ≥ 1",
        ),
        (
            lambda: plan((3, 3), 1, 0, 0),
            "tiles of (1, 1) with margin (0, 0) and stride (0, 0) mean nothing; use sizes ≥ 1",
        ),
        (lambda: plan((3, 3), (1, 2, 3), 0), "(1, 2, 3) has 3 numbers for a volume with 2 axes"),
        (lambda: plan((3, 3), 1, 0, padding="full"), "padding is 'same' or 'valid', not 'full'"),
        (
            lambda: TilePlan((4,), (2,), (0,), (1,), "same", (0,), (((0, 2, 0, 2), (2, 4, 3, 4)),), (4,)),
            "the pieces ((0, 2, 0, 2), (2, 4, 3, 4)) do not cover an axis of 4 voxels exactly once",
        ),
    ],
)
def test_what_means_nothing_is_told_in_words(call, told):
    """With the numbers that were given."""
    with pytest.raises((UsageError, SizeError)) as caught:
        call()
    assert str(caught.value) == told


def test_a_tile_of_less_than_a_stride_is_a_stride():
    """Tiles are brought down to the grid, and never to nothing; a tile as large as the volume is left alone."""
    assert [tile.keep.start[0] for tile in plan((20,), tile=3, margin=0, stride=8)] == [0, 8, 16]
    assert [tile.keep.start[0] for tile in plan((20,), tile=15, margin=0, stride=4)] == [0, 12]
    assert [tile.keep.start[0] for tile in plan((20,), tile=20, margin=0, stride=8)] == [0]


@given(plans())
def test_a_tile_reads_and_gives_just_what_it_must(drawn):
    """Unpadded, the smallest input the network takes, and what that gives is the input less the margins."""
    tiles, rest = drawn
    for tile in tiles:
        for axis, (m, s) in enumerate(zip(tiles.margin, tiles.stride, strict=True)):
            read, gives, keep = ((box.start[axis], box.stop[axis]) for box in (tile.read, tile.gives, tile.keep))
            if tiles.padding == "valid":
                assert read[1] - read[0] == next_size(keep[1] - keep[0] + 2 * m, s, rest[axis])
                assert gives == (read[0] + m, read[1] - m)
            else:
                assert gives == read


def test_a_plan_alone_is_of_a_padded_network_without_poolings():
    """Nothing else being said."""
    assert plan((7, 5), 3, 2) == plan((7, 5), (3, 3), (2, 2), (1, 1), "same", (0, 0))
