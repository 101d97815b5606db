"""What the network sees: the same places in space, whatever way the file stored them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from volseg.errors import GridMismatch, UsageError
from volseg.geometry import Grid, orientations
from volseg.io.volume import Volume
from volseg.transforms.preparation import Preparation, regrid_labels


def volume(seed: int = 0, shape: tuple[int, ...] = (6, 7, 8), spacing: tuple[float, ...] = (1.0, 1.5, 2.0)) -> Volume:
    rng = np.random.default_rng(seed)
    return Volume(rng.normal(size=shape).astype(np.float32), Grid.from_spacing(shape, spacing))


@pytest.mark.parametrize("codes", list(orientations()))
def test_the_network_sees_the_same_whatever_orientation_was_stored(codes: str) -> None:
    """A volume stored in any of 48 orientations is prepared to the same tensor, on the same grid."""
    original = volume()
    turn = original.grid.reoriented(codes)
    stored = Volume(turn.apply(original.array), turn.target)
    preparation = Preparation(axcodes="RAS", spacing=(1.0, 1.0, 1.0))
    ours, theirs = preparation.image([original]), preparation.image([stored])
    assert torch.equal(ours.image, theirs.image)
    assert ours.grid.same_as(theirs.grid, 1e-9)
    assert theirs.turn.inverse().target == stored.grid


def test_native_spacing_interpolates_nothing() -> None:
    """Without a spacing, or with None for every axis, only intensities change."""
    stored = volume()
    for spacing in (None, (None, None, None), (1.0, None, 2.0)):
        prepared = Preparation(spacing=spacing).image([stored])
        assert prepared.grid == stored.grid
        np.testing.assert_allclose(
            prepared.image[0].numpy(), (stored.array - stored.array.mean()) / stored.array.std(), atol=1e-5
        )


def test_a_linear_ramp_stays_where_it_is_in_space() -> None:
    """Values that are a linear function of the place are that function on the new grid too, inside."""
    grid = Grid.from_spacing((20, 20, 20), (1.0, 2.0, 3.0))
    places = grid.to_world(np.argwhere(np.ones(grid.shape))).reshape(*grid.shape, 3)
    ramp = Volume((places @ [1.0, 0.5, -0.25]).astype(np.float32), grid)
    ct = {"kind": "ct", "clip": (-1e6, 1e6), "mean": 0.0, "std": 1.0}
    prepared = Preparation(axcodes="LAS", spacing=(0.7, 1.5, 1.7), normalisation=ct).image([ramp])
    there = prepared.grid.to_world(np.argwhere(np.ones(prepared.grid.shape))).reshape(*prepared.grid.shape, 3)
    inside = (slice(2, -2),) * 3
    np.testing.assert_allclose(prepared.image[0].numpy()[inside], (there @ [1.0, 0.5, -0.25])[inside], atol=1e-3)


def test_padding_found_by_the_reader_is_no_intensity() -> None:
    """The value that reading found to stand for "not measured" is left out of the statistics."""
    stored = volume()
    array = stored.array.copy()
    array[:2] = -2000
    prepared = Preparation().image([Volume(array, stored.grid, padding=-2000.0)])
    assert not prepared.image[0, :2].any()
    assert prepared.image[0, 2:].std() == pytest.approx(1, abs=0.01)


@given(old=st.tuples(*[st.integers(1, 9)] * 3), new=st.tuples(*[st.integers(1, 9)] * 3), seed=st.integers(0, 99))
def test_labels_are_never_invented(old: tuple[int, ...], new: tuple[int, ...], seed: int) -> None:
    """A resampled label map holds only values that it held before."""
    labels = torch.from_numpy(np.random.default_rng(seed).choice([0, 1, 7, 250], (1, *old)).astype(np.uint8))
    out = regrid_labels(labels, new)
    assert out.dtype == labels.dtype
    assert out.shape == (1, *new)
    assert set(out.unique().tolist()) <= set(labels.unique().tolist())


def test_labels_of_wide_types_survive() -> None:
    """Instance maps beyond a byte keep their values."""
    labels = torch.from_numpy(np.array([[[0, 60000], [300, 60000]]], dtype=np.uint16))
    assert set(regrid_labels(labels, (4, 4)).unique().tolist()) == {0, 300, 60000}


def test_image_and_label_on_different_grids_are_refused() -> None:
    """A label map that lies elsewhere is named, not resampled in silence; so is a channel."""
    image, label = volume(), volume(spacing=(1.0, 1.5, 2.5))
    preparation = Preparation()
    with pytest.raises(GridMismatch, match=r"image and label lie 3\.75 mm apart"):
        preparation.labels(label, preparation.image([image]))
    with pytest.raises(GridMismatch, match="two channels of a case"):
        preparation.image([image, label])
    with pytest.raises(UsageError, match="2 numbers does not fit a 3-D image"):
        Preparation(spacing=(1.0, 1.0)).image([image])
