"""The random motion of a case as a MONAI transform."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose

from volseg.errors import UsageError
from volseg.transforms import RandSpatiald, Spatial, reseed

EVERYTHING = {
    "flip_prob": 0.5,
    "rotation": 20,
    "scale": (0.9, 1.2),
    "shear": 0.1,
    "translation": 1.5,
    "elastic": {"grid": 3, "std": 1.0},
}


def with_affine(case):
    """The case with an oblique affine of 0.5 mm voxels."""
    ndim = case["image"].ndim - 1
    affine = np.eye(ndim + 1)
    cosine, sine = np.cos(0.3), np.sin(0.3)
    affine[:2, :2] = [[cosine, -sine], [sine, cosine]]
    affine[:-1, :-1] *= 0.5
    affine[:-1, -1] = 10
    return {key: MetaTensor(value, affine=torch.as_tensor(affine)) for key, value in case.items()}


def centre_of_mass(image):
    """Of a MetaTensor, in world coordinates."""
    weights = image.as_tensor()[0].double().numpy()
    places = np.stack(np.meshgrid(*map(np.arange, weights.shape), indexing="ij"))
    voxel = (places * weights).reshape(len(places), -1).sum(axis=1) / weights.sum()
    return (image.affine.numpy() @ [*voxel, 1.0])[:-1]


def test_nothing_drawn_changes_nothing(case):
    """With default options, or with prob 0, the bits stay."""
    for transform in (RandSpatiald(["image", "label"]), RandSpatiald(["image", "label"], prob=0.0, **EVERYTHING)):
        result = transform(case)
        assert all(torch.equal(result[key].as_tensor(), case[key]) for key in case)


def test_image_and_label_stay_aligned(case):
    """A label made from the moved image is the moved label, but for a rim of rounding."""
    transform = RandSpatiald(["image", "label"], **EVERYTHING).set_random_state(seed=2)
    result = transform(case)
    again = torch.bucketize(result["image"].as_tensor(), torch.tensor([0.3, 0.6]), right=True)
    assert not torch.equal(result["label"].as_tensor(), case["label"])
    assert (again == result["label"].as_tensor()).float().mean() > 0.93


def test_the_affine_follows(shape):
    """What is seen stays where it is in the world, whichever way the voxels were moved."""
    places = np.meshgrid(*(np.arange(n) - 0.45 * n for n in shape), indexing="ij")
    image = torch.as_tensor(np.exp(-sum(x**2 for x in places) / 2)[None])
    case = with_affine({"image": image})
    options = {"flip_prob": 0.7, "rotation": 25, "scale": (0.8, 1.2), "translation": 0.7}
    transform = RandSpatiald("image", mode="linear", padding="constant", **options)
    for seed in range(5):
        moved = transform.set_random_state(seed=seed)(case)["image"]
        assert not torch.equal(moved.affine, case["image"].affine)
        np.testing.assert_allclose(centre_of_mass(moved), centre_of_mass(case["image"]), atol=0.05)


def test_inverse_of_flips_and_turns_is_exact(case):
    """Flips and turns come back to the bit, the affine too, and the trace is empty again."""
    given = with_affine(case)
    transform = RandSpatiald(["image", "label"], flip_prob=0.5, turn_prob=1.0)
    for seed in range(4):
        moved = Compose([transform.set_random_state(seed=seed)])(given)
        back = transform.inverse(moved)
        for key in case:
            assert torch.equal(back[key].as_tensor(), case[key])
            torch.testing.assert_close(back[key].affine, given[key].affine)
            assert back[key].applied_operations == []


@pytest.mark.parametrize("options", [{"rotation": 20, "scale": (0.95, 1.05)}, {"elastic": {"grid": 3, "std": 1.5}}])
def test_inverse_brings_the_label_back(case, options):
    """Rotated or deformed and back, the label overlaps itself; after collating and decollating as well."""
    given = with_affine(case)
    transform = RandSpatiald(["image", "label"], **options).set_random_state(seed=1)
    moved = transform(given)
    moved = decollate_batch(list_data_collate([moved]))[0]
    back = transform.inverse(moved)
    ours, truth = back["label"].as_tensor() > 0, case["label"] > 0
    dice = 2 * (ours & truth).sum() / (ours.sum() + truth.sum())
    assert dice > 0.9
    torch.testing.assert_close(back["image"].affine, given["image"].affine)


def test_draws_depend_on_seed_epoch_case_alone(case):
    """The same (seed, epoch, case) gives the same case again."""
    chain = Compose([RandSpatiald(["image", "label"], **EVERYTHING, prob=0.9)])
    reseed(chain, 1, 2, "a")
    first = chain(case)["image"]
    second = chain(case)["image"]
    reseed(chain, 1, 2, "a")
    assert torch.equal(chain(case)["image"].as_tensor(), first.as_tensor())
    assert not torch.equal(first.as_tensor(), second.as_tensor())


def test_frequencies_and_limits_are_kept():
    """Flips happen as often as asked, angles and factors stay within their limits, options off draw nothing."""
    spatial = Spatial(
        flip_prob=(0.25, 0.0, 1.0), rotation=(0, 10, 30), scale=(0.7, 1.4), scale_prob=0.5, isotropic=False
    )
    random = np.random.default_rng(0)
    motions = [spatial.draw(random, (8, 8, 8)) for _ in range(2000)]
    assert np.mean([m.flips for m in motions], axis=0) == pytest.approx([0.25, 0.0, 1.0], abs=0.03)
    angles = np.degrees([m.angles for m in motions])
    assert np.abs(angles).max(axis=0) == pytest.approx([0, 10, 30], rel=0.01)
    scales = np.array([m.scales for m in motions if m.scales])
    assert len(scales) == pytest.approx(1000, abs=80)
    assert 0.7 <= scales.min() < 0.71
    assert 1.39 < scales.max() <= 1.4
    assert all(m.elastic is None and not m.translation and not m.shears and not m.turns for m in motions)


def test_translation_in_millimetres():
    """A translation in mm moves by fewer voxels where they are large, one in voxels by as many."""
    for unit, expected in (("mm", [3.0, 1.0]), ("voxel", [3.0, 3.0])):
        spatial = Spatial(translation=3.0, unit=unit)
        random = np.random.default_rng(0)
        offsets = [spatial.draw(random, (9, 9), (1.0, 3.0)).matrix((9, 9), (1.0, 3.0))[:2, 2] for _ in range(500)]
        assert np.abs(offsets).max(axis=0) == pytest.approx(expected, rel=0.02)


def test_mistakes_are_told():
    """Probabilities, ranges and units that cannot be are refused."""
    with pytest.raises(UsageError, match="flip_prob lies between 0 and 1"):
        Spatial(flip_prob=2.0)
    with pytest.raises(UsageError, match="elastic_prob lies between 0 and 1"):
        Spatial(elastic_prob=5.0)
    with pytest.raises(UsageError, match="rotation must be finite"):
        Spatial(rotation=float("nan"))
    with pytest.raises(UsageError, match="may mirror 3-D space"):
        Spatial(shear=0.5).draw(np.random.default_rng(0), (4, 4, 4))
    with pytest.raises(UsageError, match="voxel's size must be positive"):
        RandSpatiald("label", "nearest", voxel_size=(0, 1))({"label": torch.zeros(1, 4, 4)})
    with pytest.raises(UsageError, match="smallest, largest"):
        Spatial(scale=(1.2, 0.8))
    with pytest.raises(UsageError, match="rotation has 2 values"):
        Spatial(rotation=(1.0, 2.0)).draw(np.random.default_rng(0), (4, 4, 4))
    with pytest.raises(UsageError, match="voxels' size"):
        RandSpatiald("image", mode="linear", translation=1.0, unit="mm")({"image": np.zeros((1, 4, 4), np.float32)})
