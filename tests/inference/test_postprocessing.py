"""Steps on a decided mask: against scikit-image, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp
from skimage.measure import label as skimage_label
from skimage.morphology import remove_small_objects

from volseg.geometry import Grid
from volseg.inference.postprocessing import fill_holes, largest_component, postprocess, without_small
from volseg.labels import Labels
from volseg.recipe.postprocessing import Postprocessing

LABELS = Labels.of({"ring": 1, "pool": 2}, regions={"both": ["ring", "pool"]})
masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=9))


def grid(array: np.ndarray, spacing: float = 1.0) -> Grid:
    return Grid.from_spacing(array.shape, (spacing,) * array.ndim)


@given(masks)
def test_the_largest_component_is_scikit_images(mask: np.ndarray) -> None:
    """One connected part, of the largest size there is."""
    kept = largest_component(mask)
    parts = skimage_label(mask, connectivity=mask.ndim)
    sizes = np.bincount(parts.ravel())[1:]
    assert kept.sum() == (sizes.max() if len(sizes) else 0)
    assert skimage_label(kept, connectivity=mask.ndim).max() <= 1
    assert not (kept & ~mask).any()


@given(masks)
def test_small_parts_are_scikit_images(mask: np.ndarray) -> None:
    """Parts below the size go, all others stay."""
    expected = remove_small_objects(mask, max_size=3, connectivity=mask.ndim)
    np.testing.assert_array_equal(without_small(mask, 4), expected)


@given(masks)
def test_holes_are_background_without_a_way_out(mask: np.ndarray) -> None:
    """Every hole is background, and filling leaves no other hole."""
    holes = fill_holes(mask)
    assert not (holes & mask).any()
    assert not fill_holes(mask | holes).any()


def test_structures_are_treated_in_their_own_way() -> None:
    """The second, smaller ring goes, its pool stays; the hole in the first ring is filled, the pool in it is not."""
    array = np.zeros((12, 24), dtype=np.uint8)
    array[1:10, 1:10] = 1
    array[3:8, 3:8] = 2
    array[5, 5] = 0  # a hole in the pool
    array[2, 2] = 0  # a hole in the ring
    array[1:6, 15:20] = 1
    array[2:5, 16:19] = 2
    steps = {
        "ring": Postprocessing(largest_component=True, fill_holes=True),
        "pool": Postprocessing(fill_holes=True),
    }
    out = postprocess(array, steps, LABELS, grid(array))
    assert out[2, 2] == 1
    assert out[5, 5] in (1, 2)
    assert (out[3:8, 3:8] > 0).all()
    assert not (out[:, 15:] == 1).any()
    assert (out[2:5, 16:19] == 2).all()
    assert array[2, 2] == 0, "the given mask is left alone"


def test_a_region_is_one_thing() -> None:
    """The largest part of a region keeps all its structures, and the rest of them goes."""
    array = np.zeros((6, 12), dtype=np.uint8)
    array[1:5, 1:3], array[1:5, 3:5] = 1, 2
    array[1:3, 8:10] = 2
    out = postprocess(array, {"both": Postprocessing(largest_component=True)}, LABELS, grid(array))
    np.testing.assert_array_equal(out[:, :6], array[:, :6])
    assert not out[:, 6:].any()


@pytest.mark.parametrize(("unit", "spacing", "left"), [("voxels", 2.0, True), ("mm", 2.0, True), ("mm", 1.0, False)])
def test_the_smallest_size_may_be_a_volume(unit: str, spacing: float, left: bool) -> None:
    """Five voxels of 8 mm³ are 40 mm³; of 1 mm³ they are 5."""
    array = np.zeros((7, 3, 3), dtype=np.uint8)
    array[:5, 1, 1] = 1
    steps = {"ring": Postprocessing(minimum_size=5 if unit == "voxels" else 30, unit=unit)}
    assert postprocess(array, steps, LABELS, grid(array, spacing)).any() == left


def test_an_absent_structure_is_no_matter() -> None:
    """Steps for a structure that is not there do nothing."""
    array = np.zeros((3, 3, 3), dtype=np.uint8)
    steps = {"pool": Postprocessing(largest_component=True, fill_holes=True, minimum_size=3)}
    assert not postprocess(array, steps, LABELS, grid(array)).any()
