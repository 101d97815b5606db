from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

with warnings.catch_warnings():
    # ignite reaches torch.distributed.optim, which decorates functions with what torch itself deprecates
    warnings.filterwarnings("ignore", message=r"`torch\.jit", category=DeprecationWarning)
    from monai.data import MetaTensor
    from monai.transforms import NormalizeIntensity, ScaleIntensity, ScaleIntensityRange, Spacing

from volseg.geometry import Grid
from volseg.io.volume import Volume
from volseg.transforms.preparation import Preparation
from volseg.transforms.regrid import regrid
from volseg.transforms.steps import in_steps

ROTATION = np.array([[0.0, -np.cos(0.2), np.sin(0.2)], [1.0, 0.0, 0.0], [0.0, np.sin(0.2), np.cos(0.2)]])
SPACINGS = [(1.5, 1.5, 2.1), (0.7, 3.0, 2.5), (4.0, 0.5, 5.5), (0.93, 1.13, 2.6)]  # the last keeps the shape
AFFINE = np.block([[ROTATION @ np.diag([0.9, 1.1, 2.5]), np.array([[5.0], [-3.0], [7.0]])], [np.eye(4)[3:]]])


@pytest.mark.parametrize("spacing", SPACINGS)
def test_points_are_where_monai_puts_them_there_and_back(spacing: tuple[float, ...]) -> None:
    """Resampling with voxels as points gives MONAI's Spacing and its inverse, on an oblique grid."""
    array = np.random.default_rng(1).normal(size=(13, 17, 11)).astype(np.float32)
    prepared = Preparation(
        spacing=spacing, normalisation={"kind": "none"}, voxels="points", normalised="resampled"
    ).image([Volume(array, Grid(array.shape, AFFINE))])
    resample = Spacing(pixdim=spacing, mode="bilinear")
    theirs = resample(MetaTensor(torch.from_numpy(array[None]), affine=torch.from_numpy(AFFINE)))
    assert prepared.grid.shape == tuple(theirs.shape[1:])
    assert torch.allclose(prepared.image, theirs.as_tensor(), atol=1e-4)
    assert np.allclose(prepared.grid.affine, theirs.affine.numpy(), atol=1e-6)
    back = regrid(prepared.image, array.shape, "linear", prepared.back)
    assert torch.allclose(back, resample.inverse(theirs).as_tensor(), atol=1e-4)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_labels_go_where_the_image_goes(spacing: tuple[float, ...]) -> None:
    """An image that shows its label map shows it after resampling too, also where the number of voxels stays."""
    mask = np.random.default_rng(4).integers(0, 2, (13, 17, 11)).astype(np.uint8)
    grid = Grid(mask.shape, AFFINE)
    preparation = Preparation(spacing=spacing, normalisation={"kind": "none"}, voxels="points")
    prepared = preparation.image([Volume(mask.astype(np.float32), grid)])
    assert torch.equal(preparation.labels(Volume(mask, grid), prepared), (prepared.image > 0.5).to(torch.uint8))


def test_a_spacing_that_is_the_images_but_for_rounding_moves_nothing() -> None:
    """Files hold spacings in single precision; what lies within a hundredth of a voxel is where it was."""
    grid = Grid.from_spacing((8, 9), np.float32([0.7, 0.9]).tolist())
    array = np.random.default_rng(5).normal(size=grid.shape).astype(np.float32)
    prepared = Preparation(spacing=(0.7, 0.9), normalisation={"kind": "none"}, voxels="points").image(
        [Volume(array, grid)]
    )
    assert prepared.grid == grid
    assert prepared.back is None
    assert np.array_equal(prepared.image[0].numpy(), array)


@pytest.mark.parametrize(
    ("step", "theirs"),
    [
        (
            {"do": "range", "source": (-57, 164), "target": (0, 1), "clip": True},
            ScaleIntensityRange(-57, 164, 0, 1, clip=True),
        ),
        ({"do": "range", "source": (-57, 164), "target": (-1, 1)}, ScaleIntensityRange(-57, 164, -1, 1)),
        ({"do": "minmax", "target": (-1, 1)}, ScaleIntensity(-1, 1, channel_wise=True)),
        ({"do": "zscore"}, NormalizeIntensity(channel_wise=True)),
        ({"do": "zscore", "over": "nonzero"}, NormalizeIntensity(nonzero=True, channel_wise=True)),
    ],
)
@pytest.mark.parametrize("constant", [False, True])
def test_each_step_is_monai_s(step: dict[str, object], theirs: object, constant: bool) -> None:
    """Every step gives what MONAI's transform gives, for constant images as well."""
    rng = np.random.default_rng(2)
    image = torch.from_numpy(rng.normal(40, 90, size=(2, 9, 8, 7)).astype(np.float32))
    image[:, :3] = 0
    if constant:
        image[:] = 5
    assert torch.allclose(in_steps(image, [step]), torch.as_tensor(theirs(image)), atol=1e-5)  # type: ignore[operator]
