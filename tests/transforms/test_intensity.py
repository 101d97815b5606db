"""Grey values: each function against what it says, samples by themselves, identity to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import AdjustContrast
from scipy.ndimage import gaussian_filter

from volseg.errors import UsageError
from volseg.transforms import Intensities, IntensityChange, RandIntensityd, change_batch, intensity

EVERYTHING = {
    f"{name}_prob": 1.0 for name in ("bias", "blur", "low_resolution", "noise", "brightness", "contrast", "gamma")
}


@pytest.fixture
def batch(shape):
    return torch.as_tensor(np.random.default_rng(0).normal(size=(3, 2, *shape)), dtype=torch.float32)


def test_identity_parameters_change_nothing(batch):
    """Samples without a change keep their bits, beside samples with one."""
    drawn = Intensities(**EVERYTHING).draw(np.random.default_rng(0), batch.ndim - 2)
    result = change_batch(batch, [IntensityChange(), drawn, IntensityChange()])
    assert torch.equal(result[[0, 2]], batch[[0, 2]])
    assert not torch.equal(result[1], batch[1])
    assert torch.equal(RandIntensityd("image")({"image": batch[0]})["image"].as_tensor(), batch[0])


def test_a_batch_is_its_samples(batch):
    """Changing a batch gives what changing each sample gives."""
    random = np.random.default_rng(1)
    spec = Intensities(**dict.fromkeys(EVERYTHING, 0.7), noise_kind="rician", gamma_inverted_prob=0.5)
    changes = [spec.draw(random, batch.ndim - 2) for _ in batch]
    result = change_batch(batch, changes)
    for sample, change, changed in zip(batch, changes, result, strict=True):
        torch.testing.assert_close(change_batch(sample[None], [change])[0], changed, atol=1e-6, rtol=1e-6)


def test_blur_equals_scipy(batch):
    """The blur is scipy's Gaussian filter with mirrored borders, each sample and axis by its own sigma."""
    ndim = batch.ndim - 2
    sigmas = [(0.8,) * ndim, (0.0,) * ndim, tuple(0.5 + 0.7 * i for i in range(ndim))]
    result = intensity.blur(batch, sigmas)
    for sample, sigma, blurred in zip(batch, sigmas, result, strict=True):
        for channel, ours in zip(sample, blurred, strict=True):
            radius = [max(1, int(np.ceil(4 * s))) if s else 0 for s in sigma]
            theirs = gaussian_filter(channel.double().numpy(), sigma, mode="mirror", radius=radius)
            np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


def test_gamma_equals_monai(batch):
    """Gamma is MONAI's AdjustContrast of a single image with its statistics retained, inverted or not."""
    result = intensity.gamma(batch[:, :1], [0.7, 1.5, 2.0], [False, False, True])
    for sample, exponent, inverted, ours in zip(batch, [0.7, 1.5, 2.0], [False, False, True], result, strict=True):
        theirs = AdjustContrast(exponent, invert_image=inverted, retain_stats=True)(sample[:1])
        torch.testing.assert_close(ours, torch.as_tensor(theirs), atol=1e-3, rtol=1e-3)


def test_contrast_keeps_mean_direction_and_range(batch):
    """Contrast multiplies distances from the mean within the old range; a factor of 0 leaves the mean alone."""
    result = intensity.contrast(batch, [0.0, 0.5, 3.0])
    axes = tuple(range(2, batch.ndim))
    mean = batch.mean(dim=axes, keepdim=True)
    torch.testing.assert_close(result[0], mean[0].expand_as(batch[0]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(result[1] - mean[1], 0.5 * (batch[1] - mean[1]), atol=1e-5, rtol=1e-5)
    assert (result.amax(dim=axes) <= batch.amax(dim=axes)).all()
    assert (result.amin(dim=axes) >= batch.amin(dim=axes)).all()


def test_noise_has_its_strength_and_seed():
    """Noise has the asked deviation, the same for the same seed; Rician noise never lowers the darkest value."""
    image = torch.zeros(2, 1, 64, 64)
    noisy = intensity.gaussian_noise(image, [0.5, 2.0], [1, 2])
    assert noisy.std(dim=(1, 2, 3)).tolist() == pytest.approx([0.5, 2.0], rel=0.05)
    assert torch.equal(noisy, intensity.gaussian_noise(image, [0.5, 2.0], [1, 2]))
    assert not torch.equal(noisy[0], intensity.gaussian_noise(image, [0.5, 2.0], [3, 2])[0])
    rician = intensity.rician_noise(image, [0.5, 2.0], [1, 2])
    assert rician.min() >= 0
    assert rician.mean(dim=(1, 2, 3)).tolist() == pytest.approx(
        [0.5 * np.sqrt(np.pi / 2), 2 * np.sqrt(np.pi / 2)], rel=0.05
    )


def test_low_resolution_averages(shape):
    """Blocks of halved resolution keep constants and means, and lose what alternates between voxels."""
    ndim = len(shape)
    checker = torch.as_tensor(sum(np.indices(shape)) % 2, dtype=torch.float32)[None, None]
    lowered = intensity.low_resolution(torch.cat([checker, torch.full_like(checker, 3.0)]), [0.5, 0.5])
    torch.testing.assert_close(lowered[0], torch.full_like(lowered[0], 0.5))
    torch.testing.assert_close(lowered[1], torch.full_like(lowered[1], 3.0))
    only_first = intensity.low_resolution(checker, [(1.0,) * ndim])
    assert torch.equal(only_first, checker)


def test_bias_field_equals_its_polynomials(shape):
    """The field is exp of the sum of Legendre polynomials, by hand for one linear and one quadratic term."""
    coefficients = np.zeros((3,) * len(shape))
    coefficients[(1,) + (0,) * (len(shape) - 1)] = 0.4
    coefficients[(0,) * (len(shape) - 1) + (2,)] = -0.2
    field = intensity.bias_field(torch.ones(1, 1, *shape), [coefficients])[0, 0]
    x, z = np.linspace(-1, 1, shape[0]), np.linspace(-1, 1, shape[-1])
    x = x.reshape(-1, *(1,) * (len(shape) - 1))
    expected = np.exp(0.4 * x - 0.2 * (3 * z**2 - 1) / 2)
    np.testing.assert_allclose(field.numpy(), np.broadcast_to(expected, shape), rtol=1e-5)


def test_a_constant_image_stays_finite(shape):
    """Nothing divides by a range of 0."""
    spec = Intensities(**{**EVERYTHING, "noise_prob": 0.0, "bias_prob": 0.0, "brightness_prob": 0.0})
    image = torch.full((1, 1, *shape), 2.0)
    result = change_batch(image, [spec.draw(np.random.default_rng(0), len(shape))])
    torch.testing.assert_close(result, image)


def test_half_precision_and_metadata(batch):
    """Half-precision batches keep their type; a case keeps its affine."""
    change = Intensities(**EVERYTHING).draw(np.random.default_rng(0), batch.ndim - 2)
    assert change_batch(batch.half(), [change] * 3).dtype == torch.float16
    image = MetaTensor(batch[0], affine=torch.eye(batch.ndim - 1) * 2)
    moved = RandIntensityd("image", **EVERYTHING).set_random_state(seed=0)({"image": image})["image"]
    assert torch.equal(moved.affine, image.affine)


def test_mistakes_are_told(batch):
    """Ranges, probabilities, counts and integer images that cannot be are refused."""
    with pytest.raises(UsageError, match="least, largest"):
        Intensities(gamma=(2.0, 1.0))
    with pytest.raises(UsageError, match="noise_prob lies between 0 and 1"):
        Intensities(noise_prob=1.5)
    with pytest.raises(UsageError, match="at most 1"):
        Intensities(low_resolution=(0.5, 2.0))
    with pytest.raises(UsageError, match="as many changes"):
        change_batch(batch, [])
    with pytest.raises(UsageError, match="as floats"):
        change_batch(batch.long(), [IntensityChange()] * 3)
    with pytest.raises(UsageError, match="not all among"):
        Intensities(axes=(3,)).draw(np.random.default_rng(0), 2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_gives_the_same(batch):
    """All but the noise's pattern is the same on the device."""
    spec = Intensities(**{**EVERYTHING, "noise_prob": 0.0})
    changes = [spec.draw(np.random.default_rng(seed), batch.ndim - 2) for seed in range(3)]
    torch.testing.assert_close(
        change_batch(batch.cuda(), changes).cpu(), change_batch(batch, changes), atol=1e-3, rtol=1e-3
    )
