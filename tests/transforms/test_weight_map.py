"""The weight map against its definition, computed by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy import ndimage

from volseg.errors import UsageError
from volseg.transforms import BorderWeightMapd
from volseg.transforms.border_distance import two_nearest
from volseg.transforms.weight_map import border_weights, class_weights, weight_map


def cells(shape, count, seed=0):
    """Round cells, some of them touching or overlapping, numbered with gaps."""
    random = np.random.default_rng(seed)
    places = np.meshgrid(*map(np.arange, shape), indexing="ij")
    result = np.zeros(shape, dtype=np.int32)
    for number in range(count):
        centre = [random.uniform(0, n) for n in shape]
        distance = sum((x - c) ** 2 for x, c in zip(places, centre, strict=True))
        result[(distance < random.uniform(1, max(shape) / 7) ** 2) & (result == 0)] = 3 * number + 2
    return result


def brute_force(instances, w0, sigma, spacing):
    """One distance transform of the whole image for each object."""
    numbers = [n for n in np.unique(instances) if n != 0]
    if len(numbers) < 2:
        return np.zeros(instances.shape)
    distances = [ndimage.distance_transform_edt(instances != n, sampling=spacing) for n in numbers]
    first, second = np.sort(np.stack(distances), axis=0)[:2]
    return np.where(instances == 0, w0 * np.exp(-((first + second) ** 2) / (2 * sigma**2)), 0.0)


@pytest.mark.parametrize(
    ("shape", "count", "spacing", "sigma"),
    [
        ((120, 90), 25, (1.0, 1.0), 5.0),
        ((120, 90), 25, (0.5, 1.3), 2.0),
        ((60, 50), 40, (0.192, 0.2), 0.33),
        ((60, 50), 300, (1.0, 1.0), 5.0),
        ((30, 28, 14), 14, (1.0, 1.0, 1.0), 5.0),
        ((30, 28, 14), 14, (0.7, 0.9, 2.5), 3.0),
        ((40, 1), 6, (1.0, 1.0), 5.0),
    ],
)
def test_equals_brute_force(shape, count, spacing, sigma):
    """In 2-D and 3-D, isotropic or not, the term equals its definition within 1e-6."""
    instances = cells(shape, count)
    ours = border_weights(instances, 10.0, sigma, spacing)
    np.testing.assert_allclose(ours, brute_force(instances, 10.0, sigma, spacing), atol=1e-6)


@given(st.integers(0, 10_000), st.lists(st.integers(1, 14), min_size=1, max_size=3), st.integers(0, 6))
@settings(max_examples=80, deadline=None)
def test_two_nearest_equal_brute_force(seed, shape, count):
    """Whatever the scatter of objects, both distances are those of the two nearest different ones."""
    random = np.random.default_rng(seed)
    instances = np.where(random.random(shape) < 0.2, random.integers(0, count + 1, shape), 0)
    spacing = random.uniform(0.3, 3.0, len(shape)).tolist()
    first, second = two_nearest(instances, 1e3, spacing)
    every = [
        ndimage.distance_transform_edt(np.pad(instances, 1) != n, sampling=spacing)[(slice(1, -1),) * len(shape)]
        for n in np.unique(instances)
        if n != 0
    ]
    ordered = np.sort(np.stack([*every, np.full(shape, np.inf), np.full(shape, np.inf)]), axis=0)
    np.testing.assert_allclose(first, ordered[0], atol=1e-5)
    np.testing.assert_allclose(second, ordered[1], atol=1e-5)


def test_hand_values():
    """Between two cells three voxels apart the term is w0 exp(-(1 + 2)² / 2σ²), and the classes weigh n / 2n_c."""
    row = np.array([[1, 0, 0, 2]])
    both = 10 * np.exp(-9 / 50)
    np.testing.assert_allclose(weight_map(row), [[1.0, 1 + both, 1 + both, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(
        weight_map(row, w0=4, sigma=1, weights={0: 0.5, 1: 3}, spacing=(1, 0.5)),
        [[3.0, 0.5 + 4 * np.exp(-(1.5**2) / 2), 0.5 + 4 * np.exp(-(1.5**2) / 2), 3.0]],
        rtol=1e-6,
    )


@pytest.mark.parametrize("instances", [np.zeros((9, 9), int), np.eye(9, dtype=int), np.ones((9, 9), int)])
def test_fewer_than_two_cells_have_no_second_term(instances):
    """Without a second cell there is nothing between cells."""
    assert not border_weights(instances).any()


def test_classes_count_alike():
    """Weighted by class frequency, every class present adds up to the same, and the mean weight is 1."""
    label = np.array([[0, 0, 0, 0, 1, 1, 2, 2]])
    weights = class_weights(label)
    assert weights == pytest.approx({0: 8 / 12, 1: 8 / 6, 2: 8 / 6})
    assert np.mean([weights[v] for v in label.ravel().tolist()]) == pytest.approx(1.0)


def test_ignored_voxels_weigh_nothing():
    """An ignored voxel weighs 0, is no cell, and does not count for any class."""
    label = np.array([[1, 0, 0, 2, 255, 255]])
    made = weight_map(label, ignore=255)
    assert made[0, 4:].tolist() == [0, 0]
    np.testing.assert_allclose(made[0, :4], weight_map(label[:, :4])[0])


def test_components_of_classes_are_cells():
    """From classes, cells are connected components; different classes are different cells and weigh their own."""
    label = np.array([[1, 1, 0, 2, 0, 1]])
    made = weight_map(label, source="components", weights={0: 1.0, 1: 2.0, 2: 5.0})
    between = 10 * np.exp(-4 / 50)
    np.testing.assert_allclose(made, [[2, 2, 1 + between, 5, 1 + between, 2]], rtol=1e-6)


def test_the_transform_writes_beside_the_label(shape):
    """The map lies on the label's grid under KEY_weight, sigma in mm by the affine, class weights from JSON."""
    instances = cells(shape, 8)
    affine = torch.diag(torch.tensor([0.5] * len(shape) + [1.0], dtype=torch.float64))
    label = MetaTensor(torch.as_tensor(instances[None]), affine=affine)
    transform = BorderWeightMapd("label", sigma=2.0, unit="mm", class_weights={"0": 1.0, "1": 2.0})
    result = transform({"label": label})["label_weight"]
    assert result.dtype == torch.float32
    assert torch.equal(result.affine, label.affine)
    expected = weight_map(instances, sigma=2.0, spacing=(0.5,) * len(shape), weights={0: 1.0, 1: 2.0})
    np.testing.assert_array_equal(result[0].numpy(), expected)
    in_voxels = BorderWeightMapd("label", sigma=4.0, class_weights=[1.0, 2.0], output_keys="w")({"label": label})["w"]
    np.testing.assert_allclose(in_voxels.numpy(), result.numpy(), atol=1e-6)


def test_mistakes_are_told():
    """A class without weight, several channels, mm without spacing and a sigma of 0 are refused."""
    with pytest.raises(UsageError, match="class 1 has no weight"):
        weight_map(np.array([[0, 4]]), weights={0: 1.0})
    with pytest.raises(UsageError, match="one channel"):
        BorderWeightMapd("label")({"label": torch.zeros(2, 4, 4)})
    with pytest.raises(UsageError, match="positive sigma"):
        border_weights(np.eye(3, dtype=int), sigma=0.0)
    with pytest.raises(UsageError, match="voxel or mm"):
        BorderWeightMapd("label", unit="cm")
    for spacing in ((1.0,), (-1.0, 1.0), (0.0, 1.0), (float("nan"), 1.0)):
        with pytest.raises(UsageError, match="spacing"):
            border_weights(np.eye(3, dtype=int), spacing=spacing)
    with pytest.raises(UsageError, match="positive sigma"):
        BorderWeightMapd("label", sigma=-1.0)
    with pytest.raises(UsageError, match="at least 0"):
        BorderWeightMapd("label", class_weights=[1.0, -1.0])
    with pytest.raises(UsageError, match="not from 'cells'"):
        weight_map(np.eye(3, dtype=int), source="cells")
