"""Normalised intensities: known statistics, padding left out, constants that do not blow up."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from volseg.errors import UsageError, VolumeError
from volseg.transforms.normalisation import normalise


def image(seed: int = 0, channels: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(50, 20, (channels, 5, 6, 7)).astype(np.float32))


@given(st.integers(0, 1000))
def test_zscore_gives_each_channel_mean_0_and_deviation_1(seed: int) -> None:
    """Channels are scaled on their own."""
    x = image(seed)
    x[1] *= 9
    out = normalise(x, {"kind": "zscore"})
    torch.testing.assert_close(out.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.std(dim=(1, 2, 3), correction=0), torch.ones(2), atol=1e-5, rtol=0)


def test_padding_and_zeros_are_no_part_of_the_statistics() -> None:
    """What was not measured changes nothing elsewhere and becomes 0."""
    x = image()
    padded = torch.cat([x, torch.full((2, 3, 6, 7), -2000.0)], dim=1)
    out = normalise(padded, {"kind": "zscore"}, padding=[-2000.0])
    torch.testing.assert_close(out[:, :5], normalise(x, {"kind": "zscore"}))
    assert not out[:, 5:].any()
    zeros = torch.cat([x, torch.zeros(2, 3, 6, 7)], dim=1)
    out = normalise(zeros, {"kind": "zscore", "over": "nonzero"})
    torch.testing.assert_close(out[:, :5], normalise(x, {"kind": "zscore"}))
    assert not out[:, 5:].any()


def test_ct_is_clipped_and_scaled_by_the_cohort() -> None:
    """The same Hounsfield value gives the same result in every image; padding is the lower bound."""
    settings = {"kind": "ct", "clip": (-100, 300), "mean": 100.0, "std": 50.0}
    out = normalise(torch.tensor([[-2000.0, -500.0, 100.0, 150.0, 4000.0]]), settings, padding=[-2000.0])
    assert out.tolist() == [[-4.0, -4.0, 0.0, 1.0, 4.0]]


@given(st.integers(0, 1000), st.booleans())
def test_percentiles_are_numpys(seed: int, clip: bool) -> None:
    """The two percentiles, as numpy defines them, become 0 and 1."""
    x = image(seed, channels=1)
    low, high = np.percentile(x.numpy().astype(np.float64), (2, 98))
    expected = (x.numpy() - low) / (high - low)
    out = normalise(x, {"kind": "percentile", "range": (2, 98), "clip": clip})
    np.testing.assert_allclose(out.numpy(), expected.clip(0, 1) if clip else expected, atol=1e-4)


@pytest.mark.parametrize("settings", [{"kind": "zscore"}, {"kind": "percentile"}])
@pytest.mark.parametrize("value", [0.0, 7.0, 1e8])
def test_a_constant_image_becomes_zero(settings: dict[str, object], value: float) -> None:
    """No spread, no division by it."""
    assert not normalise(torch.full((1, 4, 4), value), settings).any()


def test_the_input_is_left_alone_and_nonsense_refused() -> None:
    """The caller's tensor keeps its values; an image of nothing but padding and an unknown kind raise."""
    x = image()
    before = x.clone()
    normalise(x, {"kind": "zscore"})
    assert torch.equal(x, before)
    with pytest.raises(VolumeError, match=r"scan\.nii: no voxel is left"):
        normalise(torch.full((1, 4), 3.0), {"kind": "zscore"}, padding=[3.0], where="scan.nii")
    with pytest.raises(UsageError, match="zscore, ct, percentile, steps or none"):
        normalise(x, {"kind": "minmax"})


def test_none_leaves_intensities_alone() -> None:
    """As float32, padding and all, in a copy."""
    image = torch.tensor([[1, 2, -2000]], dtype=torch.int16)
    found = normalise(image, {"kind": "none"}, padding=[-2000.0])
    assert found.dtype == torch.float32
    assert found.tolist() == [[1.0, 2.0, -2000.0]]
