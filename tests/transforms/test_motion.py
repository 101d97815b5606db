"""One motion, one map, one resampling."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from volseg.errors import UsageError
from volseg.transforms import GridElastic, Motion, Spatial, move_batch, warp
from volseg.transforms.motion import turnable


def whole_motion(shape, seed=0):
    """Everything at once."""
    spatial = Spatial(
        flip_prob=0.5,
        turn_prob=0.5,
        rotation=20,
        scale=(0.8, 1.25),
        isotropic=False,
        shear=0.1,
        translation=2.0,
        elastic={"grid": 3, "std": 1.0},
    )
    return spatial.draw(np.random.default_rng(seed), shape)


def test_flips_and_turns_are_exact(case):
    """A flip or turn without interpolation is torch's own, and what its coordinate map says."""
    image = case["label"][(slice(None), *(slice(0, 10),) * (case["label"].ndim - 1))]
    ndim = image.ndim - 1
    for first, second in turnable(image.shape[1:], None):
        for times in range(4):
            motion = Motion(ndim, flips=(True,) + (False,) * (ndim - 1), turns=((first, second, times),))
            expected = torch.rot90(image.flip(1), times, (first + 1, second + 1))
            assert torch.equal(motion.apply(image), expected)
            assert torch.equal(motion.undo(expected), image)
            assert torch.equal(warp(image, motion.coordinate_map(image.shape[1:]), mode="nearest"), expected)


def test_a_right_angle_is_a_turn():
    """Rotating by 90 degrees gives what the turn gives: the first axis moves towards the second."""
    image = torch.rand(1, 9, 9)
    rotated = Motion(2, angles=(np.pi / 2,)).apply(image)
    torch.testing.assert_close(rotated, Motion(2, turns=((0, 1, 1),)).apply(image), atol=1e-5, rtol=0)


def test_identity_changes_nothing(case):
    """The identity gives the same bits, whichever way it is said."""
    ndim = case["image"].ndim - 1
    for motion in (Motion(ndim), Motion(ndim, (False,) * ndim, (), (0.0,) * (1 if ndim == 2 else 3), (1.0,) * ndim)):
        assert motion.is_identity
        assert all(torch.equal(motion.apply(image), image) for image in case.values())


def test_whole_motion_equals_scipy(case):
    """All parts composed by hand in float64 and sampled by scipy give the same image and label."""
    shape = case["image"].shape[1:]
    motion = whole_motion(shape)
    lattice = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(float)
    centre = ((np.asarray(shape) - 1) / 2).reshape(-1, *(1,) * len(shape))
    matrix = motion.matrix(shape)[:-1]
    deformed = lattice + motion.elastic.field(shape).double().numpy()
    where = np.tensordot(matrix[:, :-1], deformed, axes=1) + matrix[:, -1].reshape(centre.shape)
    image = motion.apply(case["image"])
    theirs = map_coordinates(case["image"][0].double().numpy(), where, order=1, mode="mirror")
    np.testing.assert_allclose(image[0].numpy(), theirs, atol=5e-5)
    label = motion.apply(case["label"], mode="nearest")
    theirs = map_coordinates(case["label"][0].numpy(), where, order=0, mode="mirror")
    clear = (np.abs(where - np.floor(where) - 0.5) > 1e-3).all(axis=0)
    np.testing.assert_array_equal(label[0].numpy()[clear], theirs[clear])


def test_parts_act_in_their_order():
    """Content is scaled, then sheared, then rotated, then moved, about the centre: worked out for one point."""
    motion = Motion(2, angles=(np.pi / 2,), scales=(2.0, 1.0), shears=(0.0, 0.5), translation=(3.0, 0.0))
    start = np.array([1.0, 1.0])  # from the centre
    scaled = np.array([2.0, 1.0])
    sheared = scaled + np.array([0.0, 0.5 * scaled[0]])
    rotated = np.array([-sheared[1], sheared[0]])
    end = rotated + np.array([3.0, 0.0])
    centre = np.array([5.0, 5.0])
    back = motion.matrix((11, 11)) @ [*(end + centre), 1.0]
    np.testing.assert_allclose(back[:2], start + centre, atol=1e-12)


def test_rotation_is_true_in_space():
    """With thick slices a rotation keeps millimetres: voxel coordinates alone would shear."""
    mm = np.array([1.0, 1.0, 4.0])
    matrix = Motion(3, angles=(0.3, -0.2, 0.5)).matrix((20, 20, 8), mm)[:3, :3]
    in_space = np.diag(mm) @ matrix @ np.diag(1 / mm)
    np.testing.assert_allclose(in_space @ in_space.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(in_space) == pytest.approx(1.0)
    assert np.abs(matrix @ matrix.T - np.eye(3)).max() > 0.1


def test_a_batch_is_its_samples(case):
    """Moving a batch gives what moving each sample gives."""
    shape = case["image"].shape[1:]
    motions = [whole_motion(shape, seed) for seed in range(3)] + [Motion(len(shape))]
    for image, mode in ((case["image"], "linear"), (case["label"], "nearest"), (case["label"], "probability")):
        batch = torch.stack([image, image + 1, image, image])
        moved = move_batch(batch, motions, mode=mode)
        for sample, motion, result in zip(batch, motions, moved, strict=True):
            assert torch.equal(result, motion.apply(sample, mode=mode))


def test_one_resampling_is_sharper_than_two(case):
    """Rotation and deformation in one map lose less of the image than one after the other."""
    shape = case["image"].shape[1:]
    noise = torch.as_tensor(np.random.default_rng(0).normal(size=(1, *shape)), dtype=torch.float32)
    elastic = GridElastic(grid=3, std=0.6).draw(np.random.default_rng(1), shape)
    angles = (0.2,) if len(shape) == 2 else (0.2, 0.1, 0.3)
    fused = Motion(len(shape), angles=angles, elastic=elastic).apply(noise)
    chained = Motion(len(shape), elastic=elastic).apply(Motion(len(shape), angles=angles).apply(noise))
    assert fused.std() > 1.1 * chained.std()


def test_turnable_axes_share_size_and_spacing():
    """Only axes of one size and one spacing may be swapped."""
    assert turnable((8, 8, 8), (1.0, 1.0, 2.0)) == [(0, 1)]
    assert turnable((8, 8, 9), None) == [(0, 1)]
    assert turnable((8, 8, 8), None) == [(0, 1), (0, 2), (1, 2)]


def test_mistakes_are_told():
    """Wrong counts, shapes and factors are refused."""
    with pytest.raises(UsageError, match="angles of a 3-D motion has 3 values"):
        Motion(3, angles=(1.0,))
    with pytest.raises(UsageError, match="no square"):
        Motion(2, turns=((0, 1, 1),)).apply(torch.zeros(1, 3, 4))
    with pytest.raises(UsageError, match="positive"):
        Motion(2, scales=(0.0, 1.0))
    with pytest.raises(UsageError, match="as many motions"):
        move_batch(torch.zeros(2, 1, 4, 4), [Motion(2)])
