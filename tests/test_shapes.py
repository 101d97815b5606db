"""Sizes, margins and receptive fields, as arithmetic; what networks really do is compared in tests/networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volseg.errors import SizeError, UsageError
from volseg.shapes import FCNShape, UNetShape, per_level


@st.composite
def shapes(draw: st.DrawFn) -> UNetShape:
    """U-Net geometries of every kind."""
    dims, levels = draw(st.integers(1, 3)), draw(st.integers(2, 5))
    per_axis = lambda values: st.tuples(*[st.sampled_from(values)] * dims)  # noqa: E731
    return UNetShape(
        kernel_sizes=tuple(draw(per_axis([1, 3, 3, 5])) for _ in range(levels)),
        strides=tuple(draw(per_axis([1, 2, 2, 3])) for _ in range(levels - 1)),
        padding=draw(st.sampled_from(["same", "valid"])),
        upsample=draw(st.sampled_from(["transposed", "linear"])),
        convs_per_level=draw(st.integers(1, 3)),
    )


def walk(shape: UNetShape, size: int, axis: int) -> int | None:
    """The output size found by walking the network step by step; None where it stumbles."""
    losses = [0 if shape.padding == "same" else shape.convs_per_level * (k[axis] - 1) for k in shape.kernel_sizes]
    skips = []
    for stride, loss in zip(shape.strides, losses, strict=False):
        size -= loss
        if size < 1 or size % stride[axis]:
            return None
        skips.append(size)
        size //= stride[axis]
    size -= losses[-1]
    if size < 1:
        return None
    cropped = shape.padding == "valid" and shape.upsample == "linear"
    for level in reversed(range(len(skips))):
        stride = shape.strides[level][axis]
        size = stride * size - (2 * (stride // 2) if cropped else 0)
        if size < 1 or (skips[level] - size) % 2:
            return None
        assert shape.skip_crop(level)[axis] == (skips[level] - size) // 2
        size -= losses[level]
        if size < 1:
            return None
    return size


@given(shapes(), st.integers(1, 700))
def test_a_size_is_valid_exactly_when_the_network_can_be_walked_with_it(shape: UNetShape, size: int) -> None:
    """A valid size passes every pooling and crop evenly and leaves an output of the promised size; others do not."""
    for i, axis in enumerate(shape.axes):
        out = walk(shape, size, i)
        assert axis.is_valid(size) == (out is not None)
        assert out is None or out == size - 2 * axis.lost


@given(shapes(), st.integers(1, 700))
def test_the_nearest_and_the_next_size_are_what_a_search_finds(shape: UNetShape, size: int) -> None:
    """Nearest and next valid size are valid, and no valid size is nearer or in between."""
    for axis in shape.axes:
        after = axis.next_valid(size)
        near = axis.nearest_valid(size)
        assert axis.is_valid(after)
        assert axis.is_valid(near)
        assert after == next(n for n in range(size, after + 1) if axis.is_valid(n))
        distance = abs(near - size)
        assert not any(axis.is_valid(n) for n in range(size - distance + 1, size + distance))
        assert near >= size or not axis.is_valid(size + distance)  # of two equally near the larger


@given(shapes(), st.data())
def test_the_input_for_an_output_is_the_smallest_that_holds_it(shape: UNetShape, data: st.DataObject) -> None:
    """``input_size`` gives an input whose output holds what was asked, and one stride less would not do."""
    wanted = tuple(data.draw(st.integers(1, 300)) for _ in shape.axes)
    size = shape.input_size(wanted)
    assert all(n >= w for n, w in zip(shape.output_size(size), wanted, strict=True))
    for axis, n, w in zip(shape.axes, size, wanted, strict=True):
        assert not axis.is_valid(n - axis.stride) or n - axis.stride - 2 * axis.lost < w


@given(shapes(), st.integers(0, 3))
def test_level_sizes_agree_with_one_another(shape: UNetShape, extra: int) -> None:
    """The sizes of the levels follow from one another, from the input to the output."""
    size = tuple(axis.smallest + extra * axis.stride for axis in shape.axes)
    levels = shape.level_sizes(size)
    assert levels[0].entering == size
    assert levels[0].leaving == shape.output_size(size)
    assert levels[-1].skip == levels[-1].leaving
    for level, (upper, lower) in enumerate(pairwise(levels)):
        assert lower.entering == tuple(n // s for n, s in zip(upper.skip, shape.strides[level], strict=True))
        up = [s * n - 2 * c for s, n, c in zip(shape.strides[level], lower.leaving, shape.up_crop(level), strict=True)]
        assert up == [n - 2 * c for n, c in zip(upper.skip, shape.skip_crop(level), strict=True)]


@given(shapes())
def test_the_margin_is_what_an_interior_on_the_stride_grid_depends_on(shape: UNetShape) -> None:
    """Outputs of one period of the stride see exactly ``margin`` further than themselves, on both sides."""
    for i, axis in enumerate(shape.axes):
        start, stop = shape.source(i, 0, axis.stride)
        if shape.padding == "same":
            assert (-start, stop - axis.stride) == (axis.margin, axis.margin)
        else:
            assert axis.margin == axis.lost
            assert (start, shape.source(i, 0, 1)[0]) == (0, 0)  # the first output sees up to the border, and no further
            size = axis.smallest
            assert shape.source(i, 0, size - 2 * axis.lost) == (0, size)


@given(shapes())
def test_reach_is_symmetric_over_all_phases(shape: UNetShape) -> None:
    """Mirroring a network changes nothing, so that the phases' reaches to the left are those to the right mirrored."""
    for axis in shape.axes:
        assert sorted((right, left) for left, right in axis.reaches) == sorted(axis.reaches)
        assert axis.reach[0] == axis.reach[1]
        assert axis.receptive_field == 1 + 2 * axis.reach[0]


def test_the_papers_networks_have_the_papers_sizes() -> None:
    """572 gives 388 in 2-D, 132x132x116 gives 44x44x28 in 3-D, and the first sizes that fit are 188, 204, 220."""
    flat = UNetShape.of(2, 5, padding="valid")
    assert flat.output_size((572, 572)) == (388, 388)
    assert flat.margin == flat.lost == (92, 92)
    assert [n for n in range(230) if flat.axes[0].is_valid(n)] == [188, 204, 220]
    solid = UNetShape.of(3, 4, padding="valid")
    assert solid.output_size((132, 132, 116)) == (44, 44, 28)
    assert solid.margin == (44, 44, 44)


def test_a_padded_u_net_takes_multiples_of_its_stride() -> None:
    """A padded network keeps sizes, and takes the multiples of its total stride."""
    shape = UNetShape.of(3, 4, strides=[(1, 2, 2), 2, 2])
    assert shape.output_size((4, 16, 24)) == (4, 16, 24)
    assert shape.next_valid((5, 17, 1)) == (8, 24, 8)
    assert shape.level_stride(2) == (2, 4, 4)


@pytest.mark.parametrize(
    ("shape", "size", "text"),
    [
        (
            UNetShape.of(2, 5, padding="valid"),
            (570, 572),
            "size 570x572 does not fit: axis 0 takes 16k + 12 from 188, not 570; nearest 572x572",
        ),
        (
            UNetShape.of(2, 5),
            (250, 12),
            "size 250x12 does not fit: axis 0 takes 16k, not 250, axis 1 takes 16k, not 12; nearest 256x16",
        ),
        (
            UNetShape.of(3, 2, strides=[(1, 2, 2)], padding="valid"),
            (5, 20, 20),
            "size 5x20x20 does not fit: axis 0 takes any size from 13, not 5; nearest 13x20x20",
        ),
        (UNetShape.of(3, 2), (4, 4), "a 3-D network takes 3 sizes, not 2: 4x4"),
        (UNetShape.of(2, 2), (), "a 2-D network takes 2 sizes, not 0"),
        (FCNShape(2, (1, 1), finest=4), (4, 6), "size 4x6 does not fit: axis 1 takes 4k, not 6; nearest 4x8"),
    ],
)
def test_a_size_that_does_not_fit_is_told_with_the_nearest(shape: Any, size: Sequence[int], text: str) -> None:
    """The error names the axis, the rule and the nearest size that fits."""
    with pytest.raises(SizeError) as error:
        shape.check(size)
    assert str(error.value) == text
    assert not shape.is_valid(size)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"levels": 1}, "a U-Net needs at least two levels"),
        ({"levels": 3, "kernel_sizes": [3, 3]}, "kernel_sizes has 2 entries where 3 are needed, one per level"),
        ({"levels": 3, "strides": [2, 2, 2]}, "strides has 3 entries where 2 are needed, one per level"),
        ({"levels": 2, "strides": [(2, 2)]}, "strides has 2x2 where 3 numbers are needed, one per axis"),
        ({"levels": 2, "kernel_sizes": [2, 3]}, "kernel sizes must be odd, not 2x2x2, 3x3x3"),
        ({"levels": 2, "strides": 0}, "strides must be 1 or more, not 0x0x0"),
        ({"levels": 2, "padding": "mirror"}, "padding must be same or valid, not 'mirror'"),
        ({"levels": 2, "upsample": "cubic"}, "upsample must be transposed or linear, not 'cubic'"),
        ({"levels": 2, "convs_per_level": 0}, "a level needs at least one convolution, not 0"),
    ],
)
def test_an_impossible_geometry_is_refused(arguments: dict[str, Any], text: str) -> None:
    """A U-Net that cannot be built is refused in one line."""
    with pytest.raises(UsageError) as error:
        UNetShape.of(3, **arguments)
    assert str(error.value) == text


def test_numbers_per_level_spread_over_the_axes() -> None:
    """A number stands for every level and axis, a list for the levels, an inner list for the axes."""
    assert per_level(3, 2, 2) == ((3, 3), (3, 3))
    assert per_level([3, [1, 3]], 2, 2) == ((3, 3), (1, 3))


def test_an_fcn_refuses_a_stride_it_does_not_have() -> None:
    """The finest score layer follows one of the stages."""
    with pytest.raises(UsageError, match="no stage has the stride 64"):
        FCNShape(2, (1, 1, 1), finest=64)
