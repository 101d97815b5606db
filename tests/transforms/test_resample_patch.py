"""A patch taken straight from the whole image: what a crop of the whole warp shows, of any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from volseg.transforms import CoordinateMap, GridElastic, warp


def moved(start: tuple[int, ...]) -> np.ndarray:
    matrix = np.eye(len(start) + 1)
    matrix[:-1, -1] = start
    return matrix


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest", "probability"])
@pytest.mark.parametrize("padding", ["reflect", "border", "constant"])
@pytest.mark.parametrize(
    ("shape", "patch", "start"), [((20, 24), (8, 10), (5, -3)), ((9, 14, 6), (6, 5, 11), (4, 7, -2))]
)
def test_a_patch_is_a_crop_of_the_whole(
    mode: str, padding: str, shape: tuple[int, ...], patch: tuple[int, ...], start: tuple[int, ...]
) -> None:
    """Warping onto a patch gives the voxels of warping an image padded out to where the patch lies."""
    torch.manual_seed(0)
    image = torch.rand(2, *shape) if mode in ("linear", "cubic") else torch.randint(0, 4, (2, *shape))
    drawn = GridElastic(grid=3, std=1.0).draw(np.random.default_rng(1), patch).coordinate_map().then(moved(start))
    found = warp(image, drawn, mode=mode, padding=padding, shape=patch)
    assert found.shape == (2, *patch)
    # the same map, said for a canvas of the image's own size or more, gives the same voxels
    canvas = tuple(max(a, b) for a, b in zip(shape, patch, strict=True))
    larger = warp(image, drawn, mode=mode, padding=padding, shape=canvas)
    inside = (slice(None), *(slice(0, n) for n in patch))
    torch.testing.assert_close(found, larger[inside], atol=1e-4, rtol=1e-4)


def test_a_shift_by_whole_voxels_is_slicing() -> None:
    """Straight from the middle of the image, to the bit for labels."""
    image = torch.arange(12 * 15).view(1, 12, 15)
    mapping = CoordinateMap.affine(moved((3, 4)), (5, 6))
    assert torch.equal(warp(image, mapping, mode="nearest", shape=(5, 6)), image[:, 3:8, 4:10])
    torch.testing.assert_close(warp(image.float(), mapping, shape=(5, 6)), image[:, 3:8, 4:10].float())
