"""Surface distances against all pairs of surface voxels, and against MONAI."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from scipy.spatial.distance import cdist

from volseg.errors import GridMismatch, UsageError
from volseg.metrics import EmptyPolicy, surface_distances


def surface_points(mask, spacing):
    """Voxel by voxel: in the mask, with a face neighbour that is not, or none there."""
    points = []
    for place in zip(*np.nonzero(mask), strict=True):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            beside = list(place)
            beside[axis] += step
            if not 0 <= beside[axis] < mask.shape[axis] or not mask[tuple(beside)]:
                points.append(np.array(place) * spacing)
                break
    return np.array(points)


def brute_force(prediction, truth, spacing, tolerance):
    """HD, HD95, ASSD and surface Dice from the full matrix of distances."""
    if not prediction.any() and not truth.any():
        return (math.nan,) * 4
    if not prediction.any() or not truth.any():
        diagonal = math.sqrt(sum((n * s) ** 2 for n, s in zip(truth.shape, spacing, strict=True)))
        return diagonal, diagonal, diagonal, 0.0
    matrix = cdist(surface_points(prediction, spacing), surface_points(truth, spacing))
    there, back = np.sort(matrix.min(1)), np.sort(matrix.min(0))

    def quantile(ordered, q):
        place = q * (len(ordered) - 1)
        low, part = int(place), place - int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + part * (ordered[high] - ordered[low])

    close = np.sum(there < tolerance + 1e-8) + np.sum(back < tolerance + 1e-8)  # equal up to rounding is within
    return (
        max(there[-1], back[-1]),
        max(quantile(there, 0.95), quantile(back, 0.95)),
        (there.sum() + back.sum()) / (len(there) + len(back)),
        close / (len(there) + len(back)),
    )


def test_brute_force(mask_pairs):
    """On 200 random pairs of masks all four measures agree with all pairs of surface voxels to 1e-6."""
    kinds = set()
    for prediction, truth, spacing in mask_pairs:
        found = surface_distances(prediction, truth, spacing)
        kinds.add((bool(prediction.any()), bool(truth.any())))
        for tolerance in (0.0, 1.0, spacing[0], 5.0):
            ours = (found.hd, found.hd95, found.assd, found.surface_dice(tolerance))
            np.testing.assert_allclose(ours, brute_force(prediction, truth, spacing, tolerance), rtol=0, atol=1e-6)
    assert len(kinds) == 4  # both, either, neither empty


def test_monai(mask_pairs):
    """Where both masks hold something the measures are MONAI's, to the float32 that it rounds to."""
    compared = 0
    for prediction, truth, spacing in mask_pairs:
        if not (prediction.any() and truth.any()) or min(truth.shape) < 2:
            continue
        one_hot = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, truth)]
        found = surface_distances(prediction, truth, spacing)
        options = {"include_background": True, "spacing": list(spacing)}
        with warnings.catch_warnings():
            # MONAI indexes tensors with lists of slices, which torch is about to read differently
            warnings.simplefilter("ignore")
            peers = (
                compute_hausdorff_distance(*one_hot, **options),
                compute_hausdorff_distance(*one_hot, percentile=95, **options),
                compute_average_surface_distance(*one_hot, symmetric=True, **options),
                compute_surface_dice(*one_hot, class_thresholds=[1.7], **options),
            )
        ours = (found.hd, found.hd95, found.assd, found.surface_dice(1.7))
        np.testing.assert_allclose(ours, [float(p) for p in peers], rtol=1e-5, atol=1e-6)
        compared += 1
    assert compared > 80


def test_by_hand():
    """Two rods of 1 x 4 pixels, shifted by one along themselves, 0.5 mm between columns."""
    a, b = np.zeros((2, 3, 8), dtype=bool)
    a[1, 1:5] = b[1, 2:6] = True
    found = surface_distances(a, b, (2.0, 0.5))
    assert found.hd == 0.5
    assert found.hd95 == pytest.approx(0.425)  # distances 0, 0, 0, 0.5: 85 % of the way from third to fourth
    assert found.assd == 0.125
    assert found.surface_dice(0.49) == 0.75
    assert found.surface_dice(0.5) == 1


@pytest.mark.parametrize("policy", [EmptyPolicy(), EmptyPolicy(both="perfect", missed="infinite")])
def test_empty(policy):
    """A missed or invented structure is the worst value; nothing at all is what the policy says."""
    full, empty = np.ones((3, 4), dtype=bool), np.zeros((3, 4), dtype=bool)
    far = 5.0 if policy.missed == "diagonal" else math.inf
    for pair in ((full, empty), (empty, full)):
        found = surface_distances(*pair, (1.0, 1.0), policy=policy)
        assert (found.hd, found.hd95, found.assd, found.surface_dice(9.0)) == (far, far, far, 0.0)
    nothing = surface_distances(empty, empty, (1.0, 1.0), policy=policy)
    values = (nothing.hd, nothing.hd95, nothing.assd, nothing.surface_dice(0.0))
    np.testing.assert_equal(values, (0, 0, 0, 1) if policy.both == "perfect" else (math.nan,) * 4)


def test_worst_is_worse_than_any(mask_pairs):
    """No distance inside the field of view reaches the one of a missed structure."""
    for prediction, truth, spacing in mask_pairs:
        if prediction.any() and truth.any():
            missed = surface_distances(np.zeros_like(truth), truth, spacing).hd
            assert surface_distances(prediction, truth, spacing).hd < missed


@given(hnp.arrays(bool, (5, 6)), hnp.arrays(bool, (5, 6)), st.tuples(*[st.floats(0.1, 10)] * 2), st.floats(0.5, 2.0))
def test_properties(a, b, spacing, scale):
    """Symmetric, in order, scaling with the spacing, and unmoved by a margin or a mirror."""
    found = surface_distances(a, b, spacing)
    values = np.array([found.hd, found.hd95, found.assd])
    turned = surface_distances(b, a, spacing)
    np.testing.assert_allclose(values, [turned.hd, turned.hd95, turned.assd])
    if a.any() and b.any():
        assert found.assd <= found.hd + 1e-9
        assert found.hd95 <= found.hd
        assert (found.hd == 0) == np.array_equal(surface_points(a, spacing), surface_points(b, spacing))
        wider = surface_distances(np.pad(a, 2)[::-1], np.pad(b, 2)[::-1], spacing)
        np.testing.assert_allclose(values, [wider.hd, wider.hd95, wider.assd], atol=1e-9)
    larger = surface_distances(a, b, tuple(s * scale for s in spacing))
    np.testing.assert_allclose(values * scale, [larger.hd, larger.hd95, larger.assd])


def test_unknown_truth():
    """Where the truth is unknown no surface appears, and what is predicted there costs nothing."""
    truth = np.zeros((8, 12), dtype=bool)
    truth[2:6, 2:6] = True
    valid = np.ones_like(truth)
    valid[:, 6:] = False
    prediction = truth.copy()
    prediction[2:6, 2:11] = True  # goes on into the unknown, as the object may
    found = surface_distances(prediction, truth, (1.0, 1.0), valid=valid)
    assert (found.hd, found.surface_dice(0.0)) == (0, 1)
    prediction[1, 2:6] = True
    assert surface_distances(prediction, truth, (1.0, 1.0), valid=valid).hd == 1
    only_there = np.zeros_like(truth)
    only_there[2:6, 8:] = True
    missed = surface_distances(only_there, truth, (1.0, 1.0), valid=valid)
    assert missed.hd == math.hypot(8, 12)
    assert math.isnan(surface_distances(only_there, only_there, (1.0, 1.0), valid=valid).hd)


def test_mistakes():
    """Masks that do not fit together, no masks, and spacings that are none are refused."""
    mask = np.ones((3, 4), dtype=bool)
    with pytest.raises(GridMismatch, match=r"\(3, 4\) and \(4, 3\)"):
        surface_distances(mask, mask.T, (1, 1))
    for spacing in ((1, 1, 1), (0, 1), (1, math.nan)):
        with pytest.raises(UsageError, match="positive spacings"):
            surface_distances(mask, mask, spacing)
    with pytest.raises(UsageError, match="a mask is boolean, not uint8"):
        surface_distances(mask.astype(np.uint8), mask, (1, 1))
    with pytest.raises(UsageError, match="tolerance"):
        surface_distances(mask, mask, (1, 1)).surface_dice(-1)
    with pytest.raises(UsageError, match="not-applicable"):
        EmptyPolicy(both="nan")
    with pytest.raises(UsageError, match="infinite"):
        EmptyPolicy(missed="nan")
