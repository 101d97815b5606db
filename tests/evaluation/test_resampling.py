"""Label maps on other grids: exact where only axes turn, nearest elsewhere, background beyond."""

from __future__ import annotations

import numpy as np
import pytest

from volseg.errors import GridMismatch
from volseg.evaluation import resampling
from volseg.evaluation.resampling import resample_labels
from volseg.geometry import Grid, orientations

OBLIQUE = Grid(
    (5, 6, 7),
    np.array([[0.8, 0.3, 0.0, -7], [-0.25, 0.9, 0.1, 3], [0.05, -0.1, 2.5, 11], [0, 0, 0, 1]]),
)


@pytest.mark.parametrize("axcodes", list(orientations()))
def test_turned_axes_are_exact(axcodes: str) -> None:
    """All 48 orientations of an oblique grid: every voxel goes where it belongs."""
    array = np.arange(OBLIQUE.shape[0] * 42, dtype=np.uint16).reshape(OBLIQUE.shape)
    turn = OBLIQUE.reoriented(axcodes)
    np.testing.assert_array_equal(resample_labels(array, OBLIQUE, turn.target), turn.apply(array))


def test_every_voxel_takes_the_label_at_its_place() -> None:
    """Against the definition, voxel by voxel, on grids that share nothing."""
    rng = np.random.default_rng(5)
    array = rng.integers(1, 9, OBLIQUE.shape).astype(np.uint8)
    target = Grid((4, 9, 5), np.array([[1.1, 0, 0.2, -7], [0, 0.7, 0, 2], [0.1, 0, 3.1, 10], [0, 0, 0, 1.0]]))
    found = resample_labels(array, OBLIQUE, target)
    seen = 0
    for index in np.ndindex(*target.shape):
        place = np.rint(OBLIQUE.to_index(target.to_world(index))).astype(int)
        inside = all(0 <= p < n for p, n in zip(place, OBLIQUE.shape, strict=True))
        assert found[index] == (array[tuple(place)] if inside else 0)
        seen += inside
    assert 0 < seen < target.shape[0] * 45


def test_slabs_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume done row by row is the volume done at once."""
    array = np.random.default_rng(1).integers(0, 4, OBLIQUE.shape).astype(np.uint8)
    target = OBLIQUE.resampled((0.5, 0.5, 1.0))
    whole = resample_labels(array, OBLIQUE, target)
    monkeypatch.setattr(resampling, "_CHUNK", 1)
    np.testing.assert_array_equal(resample_labels(array, OBLIQUE, target), whole)


def test_there_and_back() -> None:
    """Twice as fine and back is the same label map."""
    array = np.random.default_rng(2).integers(0, 4, OBLIQUE.shape).astype(np.uint8)
    fine = OBLIQUE.reshaped((10, 12, 14))
    np.testing.assert_array_equal(resample_labels(resample_labels(array, OBLIQUE, fine), fine, OBLIQUE), array)


def test_dimensions_must_agree() -> None:
    """A slice is no volume."""
    with pytest.raises(GridMismatch, match="2-D label map"):
        resample_labels(np.zeros((2, 2), np.uint8), Grid.from_spacing((2, 2), (1, 1)), OBLIQUE)
