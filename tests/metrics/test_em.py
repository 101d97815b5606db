"""Pixel, Rand and warping error: hand-worked, by all pairs of pixels, and against scikit-image."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import adapted_rand_error

from volseg.errors import GridMismatch, UsageError
from volseg.metrics import em_errors, pixel_error, rand_error, rand_score, warping_error


def drawn(*rows):
    """A mask from rows of text: # is a cell."""
    return np.array([[letter == "#" for letter in row] for row in rows])


TWO_CELLS = drawn(
    "###.###",
    "###.###",
    "###.###",
    "###.###",
)


def random_cells(seed, size=24):
    """Cells between membranes, and a probability map of them that merges and splits some."""
    random = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(random.standard_normal((size, size)), 2)
    truth = np.abs(field) > 0.02
    noise = ndimage.gaussian_filter(random.standard_normal((size, size)), 1)
    return np.clip(0.2 + 0.6 * truth + 0.8 * noise, 0, 1), truth


def rand_by_pairs(proposal, truth):
    """The definition, over ordered pairs of different foreground pixels; a proposed background pixel is with nobody."""
    pixels = list(zip(truth[truth > 0].tolist(), proposal[truth > 0].tolist(), strict=True))
    both = in_proposal = in_truth = 0
    for (i, (t, p)), (j, (u, q)) in itertools.product(enumerate(pixels), repeat=2):
        if i != j:
            together = p == q and p != 0
            both += together and t == u
            in_proposal += together
            in_truth += t == u
    return both, in_proposal, in_truth


@pytest.mark.parametrize("seed", range(8))
def test_rand_by_pairs(seed):
    """The Rand score counts the pairs of different pixels, as counting them one by one does."""
    random = np.random.default_rng(seed)
    proposal, truth = random.integers(0, 4, size=(2, 7, 8))
    found = rand_score(proposal, truth)
    assert (found.both, found.proposal, found.truth) == rand_by_pairs(proposal, truth)


@pytest.mark.parametrize("seed", range(8))
def test_rand_scikit_image(seed):
    """With every background pixel an object of its own it is scikit-image's adapted Rand error."""
    probability, truth = random_cells(seed)
    labels, count = ndimage.label(probability > 0.5)
    alone = np.where(labels > 0, labels, count + 1 + np.arange(labels.size).reshape(labels.shape))
    # scikit-image divides its "precision" by the true pairs and its "recall" by the proposed ones
    error, recall, precision = adapted_rand_error(ndimage.label(truth)[0], alone)
    found = rand_score(probability > 0.5, truth)
    np.testing.assert_allclose((found.error, found.merge_precision, found.split_recall), (error, precision, recall))


def test_rand_by_hand():
    """Two cells of 12 pixels merged: half the pairs are false; one of them split 4 to 8: 16 pairs each way are lost."""
    merged = TWO_CELLS.copy()
    merged[0, 3] = True
    found = rand_score(merged, TWO_CELLS)
    assert (found.both, found.proposal, found.truth) == (2 * 12 * 11, 24 * 23, 2 * 12 * 11)
    labels = ndimage.label(TWO_CELLS)[0]
    split = labels.copy()
    split[:, 0][labels[:, 0] == 1] = 9
    assert rand_score(split, labels).both == 12 * 11 + 8 * 7 + 4 * 3
    assert rand_score(split, labels).merge_precision == 1
    assert rand_error(TWO_CELLS, TWO_CELLS) == 0
    assert rand_error(np.zeros_like(TWO_CELLS), TWO_CELLS) == 1
    assert math.isnan(rand_error(TWO_CELLS, np.zeros_like(TWO_CELLS)))


def test_thin_forgives_thickness():
    """Membranes drawn too thick cost the Rand error recall, the thinned one nothing."""
    thick = TWO_CELLS.copy()
    thick[:, 2:5] = False
    assert rand_error(thick, TWO_CELLS) > 0.3
    assert rand_error(thick, TWO_CELLS, thin=True) == 0


@pytest.mark.parametrize(
    ("proposal", "pixels"),
    [
        (TWO_CELLS, 0),
        (np.roll(TWO_CELLS, 1, axis=1) | drawn("#......"), 0),  # the wall wanders: no topology in that
        (drawn("###.###", "####.##", "###.###", "##.####"), 0),
        (drawn("###.###", "#######", "#######", "###.###"), 2),  # a gap of two in the wall
        (drawn("###.###", "###.###", "....###", "###.###"), 1),  # a cell cut in two: dug up to the last pixel
        (drawn("###.###", "###.#.#", "###.###", "###.###"), 1),  # a hole
        (drawn("###....", "###....", "###....", "###...."), 1),  # a cell lost: it shrinks to a pixel
        (drawn(".......", ".......", ".......", "......."), 2),
        (drawn("##.#.##", "##.#.##", "##.#.##", "##.#.##"), 4),  # a cell invented: all of it
    ],
)
def test_warping_by_hand(proposal, pixels):
    """Moved borders are free; a gap costs its width, a cut its last pixel, a lost cell 1, an invented one its size."""
    assert warping_error(proposal, TWO_CELLS) == pixels / 28


def test_pixel_error():
    """The share of pixels that differ."""
    assert pixel_error(~TWO_CELLS, TWO_CELLS) == 1
    assert pixel_error(drawn("###.###", "#######", "#######", "###.###"), TWO_CELLS) == 2 / 28


def test_best_thresholds():
    """Each error of a stack is the smallest over the thresholds of its mean over the sections."""
    sections = [random_cells(seed) for seed in range(3)]
    thresholds = (0.3, 0.5, 0.7)
    found = em_errors(*zip(*sections, strict=True), thresholds=thresholds)
    measures = {
        "pixel": pixel_error,
        "rand": rand_error,
        "rand_thin": lambda p, t: rand_error(p, t, thin=True),
        "warping": warping_error,
    }
    for name, measure in measures.items():
        means = [np.mean([measure(p > t, truth) for p, truth in sections]) for t in thresholds]
        best = getattr(found, name)
        assert best.error == min(means)
        assert best.threshold == thresholds[int(np.argmin(means))]
    assert found.warping.error <= found.pixel.error


def test_label_images_as_truth():
    """A label image of separated cells is as good a truth as their mask."""
    probability, truth = random_cells(4)
    assert em_errors([probability], [ndimage.label(truth)[0]]) == em_errors([probability], [truth])


def test_perfect_and_void():
    """The truth as its own probability has no errors; without any cells the Rand error does not apply."""
    found = em_errors([TWO_CELLS * 1.0], [TWO_CELLS])
    assert [e.error for e in (found.pixel, found.rand, found.rand_thin, found.warping)] == [0] * 4
    void = em_errors([np.zeros((4, 4))], [np.zeros((4, 4), dtype=bool)])
    assert void.pixel.error == void.warping.error == 0
    assert math.isnan(void.rand.error)
    both = em_errors([TWO_CELLS * 1.0, np.zeros((4, 4))], [TWO_CELLS, np.zeros((4, 4), dtype=bool)])
    assert both.rand.error == both.rand_thin.error == 0  # of the section that has one


def test_mistakes():
    """What is no segmentation is refused."""
    with pytest.raises(UsageError, match="1 probability maps for 0 truths"):
        em_errors([np.zeros((4, 4))], [])
    with pytest.raises(UsageError, match="boolean or of an integer type, not float64"):
        rand_error(TWO_CELLS * 1.0, TWO_CELLS)
    with pytest.raises(UsageError, match="boolean proposal"):
        rand_error(TWO_CELLS * 1, TWO_CELLS, thin=True)
    with pytest.raises(GridMismatch, match="shape"):
        warping_error(TWO_CELLS, TWO_CELLS[1:])
