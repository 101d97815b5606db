"""Every measure of a case."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from volseg.errors import GridMismatch, LabelError
from volseg.geometry import Grid
from volseg.labels import Labels
from volseg.metrics import count_overlap, score_case, surface_distances

LABELS = Labels.of({"cavity": 3, "wall": 2, "other": 7}, ignore=255, regions={"heart": ["cavity", "wall"]})
SPACING = (1.5, 0.8, 2.5)


@pytest.fixture
def images():
    """A cavity in a wall, predicted a voxel off, with a slice of unknown truth; nothing else in the truth."""
    places = np.indices((14, 15, 9))
    away = np.sqrt(sum((p - c) ** 2 for p, c in zip(places, (6, 7, 4), strict=True)))
    truth = np.select([away < 2.5, away < 5], [3, 2]).astype(np.uint8)
    prediction = np.roll(truth, 1, axis=1)
    prediction[0, 0, 0] = 7
    truth[:, :, 6] = 255
    return prediction, truth


def test_equals_the_parts(images):
    """Cutting out each structure's box changes no value."""
    prediction, truth = images
    scores = score_case(prediction, truth, LABELS, Grid.from_spacing(truth.shape, SPACING), tolerance=1.0)
    assert [score.name for score in scores] == ["cavity", "wall", "other", "heart"]
    valid = truth != 255
    for score in scores:
        masks = LABELS.mask(prediction, score.name), LABELS.mask(truth, score.name)
        surfaces = surface_distances(*masks, SPACING, valid=valid)
        assert score.overlap == count_overlap(*masks, valid=valid)
        row = score.to_dict()
        assert row["hd"] == pytest.approx(surfaces.hd)
        assert row["hd95"] == pytest.approx(surfaces.hd95)
        assert row["assd"] == pytest.approx(surfaces.assd)
        assert row["surface_dice"] == pytest.approx(surfaces.surface_dice(1.0))
        assert row["truth_ml"] == pytest.approx((masks[1] & valid).sum() * 3.0 / 1000)


def test_invented_structure(images):
    """A structure that is not there counts as the worst: Dice 0 and the diagonal of the whole field of view."""
    prediction, truth = images
    other = score_case(prediction, truth, LABELS, Grid.from_spacing(truth.shape, SPACING))[2].to_dict()
    assert (other["dice"], other["surface_dice"]) == (0, 0)
    assert other["hd"] == pytest.approx(np.linalg.norm(np.multiply(truth.shape, SPACING)))
    assert other["difference_percent"] == np.inf


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.uint64])
def test_types_and_dimensions(images, dtype):
    """Any integer type; a 2-D case has areas, no volumes."""
    prediction, truth = (image[:, :, 4].astype(dtype) for image in images)
    scores = score_case(prediction, truth, LABELS, Grid.from_spacing(truth.shape, SPACING[:2]))
    assert scores[1].volume is None
    assert "truth_ml" not in scores[1].to_dict()
    assert 0.5 < scores[1].overlap.dice < 1


def test_mistakes(images):
    """Another grid and undeclared values are refused."""
    prediction, truth = images
    with pytest.raises(GridMismatch, match="on a grid of"):
        score_case(prediction, truth, LABELS, Grid.from_spacing((14, 15, 8), SPACING))
    with pytest.raises(LabelError, match="label value 7"):
        score_case(prediction, truth, Labels.of({"a": 2, "b": 3}, ignore=255), Grid.from_spacing(truth.shape, SPACING))


def test_no_torch():
    """Metrics load no torch, and none of scipy's statistics before they are asked for."""
    code = "import sys, volseg.metrics; print({'torch', 'monai', 'scipy.stats'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
