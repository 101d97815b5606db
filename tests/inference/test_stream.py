"""From logits to labels in pieces: the labels of the whole at once, whatever the pieces."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from volseg.errors import NonFiniteError, UsageError
from volseg.inference import stream
from volseg.inference.stream import Decision, decide
from volseg.inference.tiling import Box, plan
from volseg.transforms.regrid import axis_weights, regrid, regrid_axis

shapes = st.tuples(*[st.integers(1, 14)] * 3)


def logits_of(shape: tuple[int, ...], channels: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(channels, *shape, generator=torch.Generator().manual_seed(seed))


def rows_of(logits: torch.Tensor, axis: int, step: int) -> Iterator[tuple[Box, torch.Tensor]]:
    shape = tuple(logits.shape[1:])
    for start in range(0, shape[axis], step):
        stop = min(start + step, shape[axis])
        box = Box(
            tuple(start if a == axis else 0 for a in range(len(shape))),
            tuple(stop if a == axis else n for a, n in enumerate(shape)),
        )
        yield box, logits[(slice(None), *box.slices)].clone()


def tiles_of(logits: torch.Tensor, tile: int) -> Iterator[tuple[Box, torch.Tensor]]:
    for piece in plan(tuple(logits.shape[1:]), tile, margin=0):
        yield piece.keep, logits[(slice(None), *piece.keep.slices)].clone()


def at_once(logits: torch.Tensor, onto: tuple[int, ...], order: str = "linear") -> torch.Tensor:
    for axis, new in reversed(list(enumerate(onto))):
        logits = regrid_axis(logits, axis + 1, axis_weights(logits.shape[axis + 1], new, order))
    return logits


@given(
    shape=shapes,
    onto=shapes,
    axis=st.integers(0, 2),
    step=st.integers(1, 15),
    order=st.sampled_from(["linear", "cubic"]),
)
def test_rows_give_the_labels_of_the_whole(
    shape: tuple[int, ...], onto: tuple[int, ...], axis: int, step: int, order: str
) -> None:
    """Interpolated row by row along any axis and then decided, every voxel is that of the whole, to the bit."""
    logits = logits_of(shape)
    values = (0, 1, 2, 7)
    expected = np.asarray(values, dtype=np.uint8)[at_once(logits, onto, order).argmax(0).numpy()]
    decided = decide(rows_of(logits, axis, step), shape, Decision(values), onto=onto, order=order)
    np.testing.assert_array_equal(decided.labels, expected)
    assert decided.probabilities is None


@given(shape=shapes, onto=shapes, tile=st.integers(1, 15))
def test_tiles_give_the_labels_of_the_whole(shape: tuple[int, ...], onto: tuple[int, ...], tile: int) -> None:
    """Tiles are put together layer by layer; the image's grid may be the network's or not."""
    logits = logits_of(shape, seed=3)
    for target in (shape, onto):
        decided = decide(tiles_of(logits, tile), shape, Decision((0, 1, 2, 3)), onto=target)
        np.testing.assert_array_equal(decided.labels, at_once(logits, target).argmax(0).numpy())


@pytest.mark.parametrize("interpolated", ["logits", "probabilities"])
def test_points_may_move_with_their_number_kept(interpolated: str) -> None:
    """An equal shape is no equal grid: with steps back the labels are those of the interpolated whole."""
    shape, back = (12, 11, 10), (0.96, 1.0, 1.04)
    logits = logits_of(shape)
    whole = logits.softmax(0) if interpolated == "probabilities" else logits
    decision = Decision((0, 1, 2, 3), interpolated=interpolated)  # type: ignore[arg-type]
    decided = decide(rows_of(logits, 1, 3), shape, decision, back=back)
    np.testing.assert_array_equal(decided.labels, regrid(whole, shape, "linear", back).argmax(0).numpy())
    assert (decided.labels != logits.argmax(0).numpy()).any()


def test_enlarging_is_what_interpolating_the_logits_gives() -> None:
    """Against torch's own trilinear interpolation of all logits, then argmax."""
    logits = logits_of((9, 10, 11), channels=24)
    expected = F.interpolate(logits[None], (18, 15, 30), mode="trilinear", align_corners=False)[0].argmax(0)
    decided = decide(rows_of(logits, 0, 2), (9, 10, 11), Decision(tuple(range(24))), onto=(18, 15, 30))
    assert (decided.labels == expected.numpy()).mean() > 0.9999


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("onto", [(90, 61, 130), (30, 90, 33)])
def test_interpolated_rows_are_the_whole_to_the_bit(axis: int, onto: tuple[int, ...]) -> None:
    """Whatever axis the rows follow and however many come at once, the interpolated logits have the same bits."""
    shape, logits = (60, 50, 70), logits_of((60, 50, 70), channels=3)

    def put(along: int, step: int) -> torch.Tensor:
        interpolated = stream._Interpolated(along, shape, onto, "linear", None)
        rows = [interpolated.put(part) for part in logits.split(step, dim=along + 1)]
        return torch.cat([part for parts in rows for _, part in parts], dim=along + 1)

    whole = put(0, 60)
    assert torch.equal(put(axis, 7), whole)
    assert torch.equal(put(axis, 1), whole)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_pieces_may_lie_in_memory_that_is_used_again(axis: int) -> None:
    """What was given is no longer read once the next piece is asked for."""
    shape = (9, 8, 7)
    onto = tuple(2 * n if a == axis else n for a, n in enumerate(shape))
    logits = logits_of(shape)

    def reused() -> Iterator[tuple[Box, torch.Tensor]]:
        for box, piece in rows_of(logits, axis, 2):
            yield box, piece
            piece.fill_(-1e9)

    expected = decide(rows_of(logits, axis, 2), shape, Decision((0, 1, 2, 3)), onto=onto).labels
    assert np.array_equal(decide(reused(), shape, Decision((0, 1, 2, 3)), onto=onto).labels, expected)


def test_small_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many rows are decided at once is a matter of memory alone."""
    logits = logits_of((12, 6, 5))
    before = decide(rows_of(logits, 0, 5), (12, 6, 5), Decision((0, 1, 2, 3)), onto=(25, 9, 7)).labels
    monkeypatch.setattr(stream, "_CHUNK", 1)
    after = decide(rows_of(logits, 0, 5), (12, 6, 5), Decision((0, 1, 2, 3)), onto=(25, 9, 7)).labels
    np.testing.assert_array_equal(before, after)
    same = decide(rows_of(logits, 0, 12), (12, 6, 5), Decision((0, 1, 2, 3))).labels
    np.testing.assert_array_equal(same, logits.argmax(0).numpy())


def test_overlapping_regions_are_thresholds_the_last_above_wins() -> None:
    """Where no region is above one half the voxel is background; where several are, the last one's value stands."""
    logits = torch.tensor([[-1.0, 1.0, 1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]])
    pieces = [(Box((0,), (4,)), logits)]
    assert decide(pieces, (4,), Decision((3, 1), "threshold")).labels.tolist() == [0, 3, 1, 1]
    shares = [(Box((0,), (4,)), logits.sigmoid())]
    decided = decide(shares, (4,), Decision((3, 1), "threshold", given="probabilities"), keep_probabilities=True)
    assert decided.labels.tolist() == [0, 3, 1, 1]
    assert decided.probabilities is not None
    np.testing.assert_array_equal(decided.probabilities, (logits.sigmoid() * 255).round().numpy().astype(np.uint8))


def test_kept_probabilities_are_the_softmax_to_half_a_step() -> None:
    """A byte for each channel and voxel, within half of 1/255 of the softmax of the interpolated logits."""
    logits = logits_of((8, 7, 6))
    decided = decide(rows_of(logits, 2, 2), (8, 7, 6), Decision((0, 1, 2, 3)), onto=(9, 9, 9), keep_probabilities=True)
    expected = at_once(logits, (9, 9, 9)).softmax(0).numpy()
    assert decided.probabilities is not None
    assert np.abs(decided.probabilities / 255 - expected).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_number_that_is_none_fails_the_case(bad: float) -> None:
    """One NaN or infinity among the logits is an error with its place, not a label."""
    logits = logits_of((6, 5, 4))
    logits[1, 4, 2, 2] = bad
    with pytest.raises(NonFiniteError, match=r"between voxels \(4, 0, 0\) and \(6, 5, 4\)"):
        decide(rows_of(logits, 0, 2), (6, 5, 4), Decision((0, 1, 2, 3)))


def test_a_wide_label_gets_a_wide_type_and_a_wrong_count_an_error() -> None:
    """The type holds the largest value; channels and values must be as many."""
    logits = logits_of((3, 3, 3), channels=2)
    assert decide(rows_of(logits, 0, 3), (3, 3, 3), Decision((0, 300))).labels.dtype == np.uint16
    with pytest.raises(UsageError, match="2 channels cannot be told by 3 label values"):
        decide(rows_of(logits, 0, 3), (3, 3, 3), Decision((0, 1, 2)))
