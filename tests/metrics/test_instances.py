"""SEG and average precision against object-by-object loops, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.segmentation import relabel_sequential

import volseg.metrics.instances as module
from volseg.errors import GridMismatch, UsageError
from volseg.metrics import average_precision, detections, overlap_table, relabel, seg_score

label_images = hnp.arrays(np.uint8, (6, 7), elements=st.sampled_from([0, 0, 1, 2, 3, 200]))


def seg_by_objects(truth, prediction):
    """The definition, one whole mask per object."""
    scores = []
    for r in set(truth.flat) - {0}:
        score = 0.0
        for s in set(prediction.flat) - {0}:
            both = np.sum((truth == r) & (prediction == s))
            if both > 0.5 * np.sum(truth == r):
                score = both / np.sum((truth == r) | (prediction == s))
        scores.append(score)
    return np.mean(scores) if scores else math.nan


def counts_by_objects(truth, prediction, threshold):
    """Found, invented and missed objects, one whole mask per object."""
    true, guessed = set(truth.flat) - {0}, set(prediction.flat) - {0}
    found = 0
    for r in true:
        for s in guessed:
            a, b = truth == r, prediction == s
            found += int(np.sum(a & b) / np.sum(a | b) > threshold)
    return found, len(guessed) - found, len(true) - found


@pytest.fixture(params=["dense", "sparse"])
def way(request, monkeypatch):
    """Both ways of counting pairs."""
    if request.param == "sparse":
        monkeypatch.setattr(module, "_DENSE", 0)


@pytest.mark.usefixtures("way")
def test_random_images():
    """On 100 random images everything equals the definitions, in 2-D and 3-D, in any integer type."""
    random = np.random.default_rng(5)
    for number in range(100):
        shape = (12, 11) if number % 2 else (5, 6, 7)
        truth = random.integers(0, 6, size=shape) * (random.random(shape) < 0.8) * 37
        keep = random.random(shape) < random.uniform(0.5, 1)
        prediction = np.where(keep, (truth // 37) % 5, random.integers(0, 8, size=shape)).astype(np.int16)
        np.testing.assert_allclose(seg_score(truth, prediction), seg_by_objects(truth, prediction))
        for found in detections(truth, prediction):
            expected = counts_by_objects(truth, prediction, found.threshold)
            assert (found.found, found.invented, found.missed) == expected


def test_large_numbers():
    """Object numbers may be as large as 64 bits allow."""
    truth = np.array([0, 2**40, 2**40, 5, 5, 5])
    prediction = np.array([2**50, 2**50, 2**50, 9, 9, 0])
    assert seg_score(truth, prediction) == pytest.approx((2 / 3 + 2 / 3) / 2)
    np.testing.assert_array_equal(module.match(overlap_table(truth, prediction), 0.6), [[5, 9], [2**40, 2**50]])
    np.testing.assert_array_equal(relabel(truth), [0, 2, 2, 1, 1, 1])
    np.testing.assert_array_equal(relabel(truth[1:] * 2**10), [2, 2, 1, 1, 1])


def test_by_hand():
    """A cell cut off by a quarter, one split in halves, one missed, one invented."""
    truth = np.array([[1, 1, 1, 1, 0, 2, 2, 2, 2, 0, 3, 3, 0, 0]])
    guess = np.array([[5, 5, 5, 0, 0, 6, 6, 7, 7, 0, 0, 0, 8, 8]])
    assert seg_score(truth, guess) == 0.25  # 3/4, 0 (half is not more than half) and 0
    at_half, *_, at_most = detections(truth, guess)
    assert (at_half.found, at_half.invented, at_half.missed) == (1, 3, 2)
    assert (at_half.average_precision, at_half.f1) == (1 / 6, 2 / 7)
    assert (at_most.found, at_most.average_precision) == (0, 0)
    assert average_precision(truth, guess) == pytest.approx(5 / 9 / 6)  # above 0.5, 0.55, 0.6, 0.65 and 0.7


def test_nothing():
    """Without true objects SEG does not apply; inventing one is worth an average precision of 0."""
    empty, one = np.zeros((3, 3), dtype=np.uint8), np.eye(3, dtype=np.uint8)
    assert math.isnan(seg_score(empty, one))
    assert (average_precision(empty, one), average_precision(one, empty), seg_score(one, empty)) == (0, 0, 0)
    assert math.isnan(average_precision(empty, empty))


@given(label_images, label_images, st.permutations([1, 2, 3, 200]))
def test_properties(truth, prediction, numbers):
    """Bounded, 1 for itself, blind to how objects are numbered; fewer match as the threshold rises."""
    table = np.zeros(256, dtype=np.int64)
    table[[1, 2, 3, 200]] = np.array(numbers) * 1000
    np.testing.assert_equal(seg_score(truth, prediction), seg_score(truth, table[prediction]))
    np.testing.assert_equal(average_precision(truth, prediction), average_precision(table[truth], prediction))
    if truth.any():
        assert seg_score(truth, truth) == average_precision(truth, truth) == 1
        assert 0 <= seg_score(truth, prediction) <= 1
    found = [d.found for d in detections(truth, prediction)]
    assert found == sorted(found, reverse=True)


@given(label_images)
def test_relabel(labels):
    """Relabelling is scikit-image's, in the smallest type."""
    np.testing.assert_array_equal(relabel(labels), relabel_sequential(labels)[0])
    assert relabel(labels).dtype == np.uint8


def test_ignored():
    """Unknown voxels are as if the image ended there."""
    random = np.random.default_rng(1)
    truth, prediction = random.integers(0, 4, size=(2, 8, 9))
    marked = truth.copy()
    marked[:, 5:] = 255
    cut = truth[:, :5], prediction[:, :5]
    assert seg_score(marked, prediction, ignore=255) == seg_score(*cut)
    assert detections(marked, prediction, ignore=255) == detections(*cut)


def test_mistakes():
    """Label images are integers without negatives, of one shape; ambiguous thresholds are refused."""
    image = np.ones((2, 2), dtype=np.int64)
    with pytest.raises(UsageError, match="integer type, not float64"):
        seg_score(image, image * 1.0)
    with pytest.raises(UsageError, match="negative"):
        seg_score(-image, image)
    with pytest.raises(GridMismatch, match="shape"):
        seg_score(image, image[:1])
    with pytest.raises(UsageError, match="thresholds from"):
        detections(image, image, [0.4])
