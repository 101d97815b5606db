"""Mirrored margins are numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import MetaTensor

from volseg.errors import UsageError
from volseg.transforms import MirrorPadd
from volseg.transforms.mirror import margins_for, mirror_indices, mirror_pad


@given(st.integers(1, 7), st.integers(0, 30), st.integers(0, 30))
def test_indices_are_numpys(size, before, behind):
    """Also where the margin is many times the size."""
    assert np.array_equal(mirror_indices(size, before, behind), np.pad(np.arange(size), (before, behind), "reflect"))


def test_padding_equals_numpy(case):
    """Around every axis, in every type."""
    margins = tuple((2 + i, 40 - i) for i in range(case["image"].ndim - 1))
    for image in case.values():
        padded = mirror_pad(image, margins)
        assert padded.dtype == image.dtype
        np.testing.assert_array_equal(padded.numpy(), np.pad(image.numpy(), ((0, 0), *margins), "reflect"))


def test_no_margin_changes_nothing(case):
    """A margin of 0 gives the same bits."""
    result = MirrorPadd(["image", "label"], 0)(case)
    assert all(torch.equal(result[key], case[key]) for key in case)


def test_the_affine_follows_and_inverse_crops(case):
    """Voxels keep their place in the world; the inverse gives the image and its affine back."""
    ndim = case["image"].ndim - 1
    affine = torch.diag(torch.tensor([2.0] * ndim + [1.0], dtype=torch.float64))
    image = MetaTensor(case["image"], affine=affine)
    pad = MirrorPadd("image", margin=3, least=40)
    result = pad({"image": image})
    assert min(result["image"].shape[1:]) >= 40
    before = [b for b, _ in margins_for(image.shape[1:], 3, 40)]
    assert result["image"].affine[:ndim, -1].tolist() == [-2.0 * b for b in before]
    back = pad.inverse(result)
    assert torch.equal(back["image"].as_tensor(), case["image"])
    assert torch.equal(back["image"].affine, image.affine)
    assert back["image"].applied_operations == []


def test_margins_by_axis_and_side():
    """A margin is one number, one per axis, or a pair; too few are an error."""
    assert margins_for((5, 5), (1, (2, 3))) == ((1, 1), (2, 3))
    assert margins_for((5, 20), 0, least=(8, 8)) == ((1, 2), (0, 0))
    with pytest.raises(UsageError, match="margin has 3 values"):
        margins_for((5, 5), (1, 2, 3))
    with pytest.raises(UsageError, match="negative"):
        margins_for((5, 5), -1)
