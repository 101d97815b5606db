"""Overlap of masks and of label images."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis.extra import numpy as hnp
from monai.metrics import compute_iou
from monai.metrics.meandice import compute_dice

import volseg.metrics.overlap as module
from volseg.errors import GridMismatch, LabelError
from volseg.labels import Labels
from volseg.metrics import EmptyPolicy, VolumePair, count_overlap, count_overlaps

LABELS = Labels.of({"a": 1, "b": 2, "far": 40000}, ignore=255, regions={"whole": ["a", "b"]})


@pytest.fixture
def images():
    """Two label images of 16-bit labels, a tenth of the truth unknown."""
    random = np.random.default_rng(3)
    prediction, truth = random.choice(np.array([0, 1, 2, 40000], dtype=np.uint16), size=(2, 9, 10, 11))
    truth[random.random(truth.shape) < 0.1] = 255
    return prediction, truth


def test_monai(mask_pairs):
    """Dice and IoU are MONAI's wherever the truth holds something."""
    for prediction, truth, _ in mask_pairs:
        found = count_overlap(prediction, truth)
        tensors = [torch.from_numpy(m)[None, None].float() for m in (prediction, truth)]
        if truth.any():
            assert found.dice == pytest.approx(float(compute_dice(*tensors)), rel=1e-6)
            assert found.iou == pytest.approx(float(compute_iou(*tensors)), rel=1e-6)


def test_whole_images(images):
    """Counting all labels in one pass is counting them one by one, regions and unknown voxels included."""
    prediction, truth = images
    found = count_overlaps(prediction, truth, LABELS)
    assert list(found) == ["a", "b", "far", "whole"]
    for name, shared in found.items():
        assert shared == count_overlap(LABELS.mask(prediction, name), LABELS.mask(truth, name), valid=truth != 255)
    assert count_overlaps(prediction.astype(np.int64), truth.astype(np.float64), LABELS) == found


def test_in_chunks(images, monkeypatch):
    """The size of the chunks changes nothing."""
    whole = count_overlaps(*images, LABELS)
    monkeypatch.setattr(module, "_CHUNK", 17)
    assert count_overlaps(*images, LABELS) == whole


def test_by_hand():
    """Six shared voxels, two invented, four missed."""
    found = module.Overlap(6, 2, 4)
    assert (found.dice, found.iou, found.precision, found.recall) == (12 / 18, 0.5, 0.75, 0.6)


def test_empty():
    """Missed and invented structures score 0; nothing found where nothing is, is what the policy says."""
    for shared in (module.Overlap(0, 3, 0), module.Overlap(0, 0, 3)):
        assert (shared.dice, shared.iou, shared.precision, shared.recall) == (0, 0, 0, 0)
    nothing = module.Overlap(0, 0, 0)
    assert all(math.isnan(v) for v in (nothing.dice, nothing.iou, nothing.precision, nothing.recall))
    assert module.Overlap(0, 0, 0, EmptyPolicy(both="perfect")).dice == 1


@given(hnp.arrays(bool, (4, 5)), hnp.arrays(bool, (4, 5)))
def test_properties(a, b):
    """Symmetric, in 0 … 1, 1 for equal masks, and Dice is 2 IoU / (1 + IoU)."""
    found, turned = count_overlap(a, b), count_overlap(b, a)
    if a.any() or b.any():
        assert (found.dice, found.iou, found.precision) == (turned.dice, turned.iou, turned.recall)
        assert 0 <= found.iou <= found.dice <= 1
        assert (found.dice == 1) == np.array_equal(a, b)
        assert found.dice == pytest.approx(2 * found.iou / (1 + found.iou))


def test_foreign_value(images):
    """A value that was not declared is named, with the file."""
    prediction, truth = images
    prediction[0, 0, 0] = 9
    with pytest.raises(LabelError, match=r"p\.nii: holds the label value 9, declared are 0, 1, 2, 255, 40000"):
        count_overlaps(prediction, truth, LABELS, where="p.nii")
    with pytest.raises(GridMismatch, match="differ in shape"):
        count_overlaps(prediction, truth[1:], LABELS)


def test_volumes():
    """Millilitres and percent, where the truth is empty as well."""
    pair = VolumePair.of(90, 100, 10.0)
    assert (pair.difference_ml, pair.difference_percent) == (-0.1, -10)
    assert VolumePair(0, 5).difference_percent == -100
    assert VolumePair(5, 0).difference_percent == math.inf
    assert math.isnan(VolumePair(0, 0).difference_percent)
