"""What is written is what is read, on the same grid to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volseg.geometry import Grid, orientations
from volseg.io import read_labels, read_volume, write_labels, write_volume

SPACINGS = ((1.0, 1.0, 1.0), (0.7, 0.7, 2.5), (1.5625, 0.3333, 10.0))


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("spacing", SPACINGS)
def test_all_48_orientations_come_back(tmp_path: Path, ending: str, spacing: tuple[float, ...]) -> None:
    """A volume in any orientation is read back with identical voxels and its affine to a millionth."""
    rng = np.random.default_rng(0)
    base = Grid((5, 4, 3), np.array([[*row, t] for row, t in zip(np.diag(spacing), (-91.3, 12.7, 33.1), strict=True)]
                                    + [[0, 0, 0, 1.0]]))  # fmt: skip
    voxels = rng.integers(-1000, 1000, base.shape).astype(np.int16)
    for axcodes in orientations():
        turn = base.reoriented(axcodes)
        array = turn.apply(voxels)
        write_volume(tmp_path / f"v{ending}", array, turn.target)
        back = read_volume(tmp_path / f"v{ending}")
        assert back.array.dtype == np.int16
        assert np.array_equal(back.array, array)
        assert np.allclose(back.grid.affine, turn.target.affine, rtol=1e-6, atol=1e-6)
        write_labels(tmp_path / f"m{ending}", array > 0, back.grid, like=back)
        mask = read_labels(tmp_path / f"m{ending}")
        assert mask.grid == back.grid or ending in (".nrrd", ".mha")
        assert mask.grid.same_as(back.grid, 1e-6)
        assert np.array_equal(mask.array, array > 0)
