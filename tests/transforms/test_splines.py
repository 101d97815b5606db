"""Coarse-grid splines against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline, CubicSpline
from scipy.ndimage import spline_filter1d

from volseg.errors import UsageError
from volseg.transforms.splines import basis, prefilter


@pytest.mark.parametrize("count", [2, 3, 4, 9])
@pytest.mark.parametrize("derivative", [0, 1])
def test_natural_equals_scipy(count, derivative):
    """The natural basis is scipy's natural cubic spline, its derivative too."""
    at = np.linspace(0, count - 1, 101)
    ours = basis("natural", count, at, derivative)
    theirs = CubicSpline(np.arange(count), np.eye(count), bc_type="natural")(at, derivative)
    np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("count", [4, 5, 9])
@pytest.mark.parametrize("derivative", [0, 1])
def test_bspline_equals_scipy(count, derivative):
    """The B-spline basis is scipy's cubic BSpline over uniform knots."""
    at = np.linspace(1, count - 2 - 1e-9, 101)
    spline = BSpline(np.arange(-2, count + 2, dtype=float), np.eye(count), 3)
    ours = basis("bspline", count, at, derivative)
    np.testing.assert_allclose(ours, spline.derivative(derivative)(at) if derivative else spline(at), atol=1e-12)


@pytest.mark.parametrize(("kind", "inside"), [("natural", (0, 5)), ("bspline", (1, 4))])
def test_straight_lines_are_kept(kind, inside):
    """Both splines reproduce a straight line exactly, so affine maps live in the same nodes."""
    at = np.linspace(*inside, 50)
    np.testing.assert_allclose(basis(kind, 6, at) @ (3.0 * np.arange(6) - 2), 3.0 * at - 2, atol=1e-12)
    np.testing.assert_allclose(basis(kind, 6, at, derivative=1) @ (3.0 * np.arange(6) - 2), 3.0, atol=1e-12)


@pytest.mark.parametrize("size", [2, 3, 17])
def test_prefilter_equals_scipy(size):
    """The interpolating coefficients are those of scipy.ndimage with mirrored ends."""
    samples = np.random.default_rng(0).normal(size=size)
    ours = prefilter(size, torch.float64, torch.device("cpu")).numpy() @ samples
    np.testing.assert_allclose(ours, spline_filter1d(samples, mode="mirror"), atol=1e-10)


def test_unknown_spline_is_an_error():
    """A spline that does not exist is refused with the names that do."""
    with pytest.raises(UsageError, match="natural, bspline"):
        basis("akima", 3, [0.0])
