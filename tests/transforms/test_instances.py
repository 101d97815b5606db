"""Seams between touching cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from volseg.errors import UsageError
from volseg.transforms import SeparateInstancesd
from volseg.transforms.instances import components, separate


def touching(instances, connectivity):
    """Whether any two different cells are neighbours, found voxel by voxel."""
    around = ndimage.generate_binary_structure(instances.ndim, connectivity)
    numbers = [n for n in np.unique(instances) if n]
    return any(set(np.unique(instances[ndimage.binary_dilation(instances == n, around)])) - {0, n} for n in numbers)


@given(st.integers(0, 10_000), st.sampled_from([(9, 8), (5, 6, 4)]), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_no_two_cells_touch_afterwards(seed, shape, connectivity):
    """Whatever the map, no different cells are neighbours afterwards, and only what touched is cleared."""
    connectivity = min(connectivity, len(shape))
    instances = np.random.default_rng(seed).integers(0, 4, shape)
    result = separate(instances, connectivity)
    assert not touching(result, connectivity)
    assert ((result == instances) | (result == 0)).all()
    around = ndimage.generate_binary_structure(len(shape), connectivity)
    for n in range(1, 4):  # a voxel with no foreign neighbour stays
        foreign = (instances != n) & (instances != 0)
        stays = (instances == n) & ~ndimage.binary_dilation(foreign, around)
        assert (result[stays] == n).all()


@pytest.mark.parametrize("shape", [(10, 12), (10, 12, 5)])
def test_the_seam_is_one_voxel_wide_and_the_larger_gives_way(shape):
    """Two blocks side by side lose one layer, the larger one's."""
    instances = np.full(shape, 7)
    instances[6:] = 9
    result = separate(instances)
    assert (result[:5] == 7).all()
    assert (result[5] == 0).all()
    assert (result[6:] == 9).all()


def test_corners_touch_only_if_they_are_neighbours():
    """Cells that meet at a corner are apart for connectivity 1, and touching by default."""
    instances = np.array([[1, 0], [0, 2]])
    assert np.array_equal(separate(instances, 1), instances)
    assert (separate(instances) != 0).sum() == 1


def test_cells_without_background_and_alone():
    """A map that is all cell, and one of a single cell, are fine."""
    assert np.array_equal(separate(np.ones((3, 3), int)), np.ones((3, 3), int))
    assert not touching(separate(np.arange(1, 10).reshape(3, 3)), 2)


def test_what_is_ignored_is_no_cell():
    """No seam opens towards voxels without truth, on either side."""
    instances = np.array([[1, 1, 255, 255, 2, 3, 3]])
    assert separate(instances, ignore=255).tolist() == [[1, 1, 255, 255, 2, 0, 3]]
    assert SeparateInstancesd("cells", ignore=255)({"cells": torch.tensor([[[1, 255]]])})["cells"].tolist() == [
        [[1, 255]]
    ]


def test_no_cell_vanishes():
    """A line between smaller cells would give way as a whole; they do instead."""
    instances = np.zeros((9, 3), dtype=int)
    instances[:, 1], instances[:6, 0], instances[:6, 2] = 1, 2, 3
    parted = separate(instances)
    assert set(np.unique(parted)) == {0, 1, 2, 3}
    assert not touching(parted, 2)


def test_components_follow_connectivity():
    """Diagonal neighbours join only where asked, classes never."""
    label = np.array([[1, 0], [0, 1]])
    assert components(label).max() == 2
    assert components(label, 2).max() == 1
    assert components(np.array([[1, 2]])).tolist() == [[1, 2]]
    with pytest.raises(UsageError, match="connectivity"):
        components(label, 3)


def test_each_channel_by_itself():
    """The transform keeps type and shape and treats channels apart."""
    cells = torch.tensor([[[1, 1, 2]], [[5, 5, 5]]], dtype=torch.int16)
    result = SeparateInstancesd("cells")({"cells": cells})["cells"]
    assert result.dtype == torch.int16
    assert result.tolist() == [[[1, 0, 2]], [[5, 5, 5]]]
