"""What a scanner adds to an anatomy: blur, texture, coil bias, noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

Array = npt.NDArray[np.float32]


def texture(random: np.random.Generator, shape: Sequence[int], sigma: Sequence[float]) -> Array:
    """Smooth noise of mean 0 and standard deviation 1."""
    noise = gaussian_filter(random.standard_normal(tuple(shape), dtype=np.float32), tuple(sigma), mode="wrap")
    noise -= noise.mean()
    result: Array = noise / max(float(noise.std()), 1e-6)
    return result


def coil_bias(random: np.random.Generator, shape: Sequence[int], strength: float) -> Array:
    """The uneven sensitivity of a receive coil: the exponential of a random quadratic, 1 in the middle."""
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    slopes, bends = random.normal(0, strength, len(axes)), random.normal(0, strength / 2, len(axes))
    log = sum(float(a) * u + float(b) * u**2 for a, b, u in zip(slopes, bends, axes, strict=True))
    result: Array = np.broadcast_to(np.exp(log), tuple(shape)).astype(np.float32)
    return result


def rician(random: np.random.Generator, image: Array, sigma: float) -> Array:
    """The magnitude of a complex signal with Gaussian noise in both channels, as magnetic resonance gives it."""
    real = image + np.float32(sigma) * random.standard_normal(image.shape, dtype=np.float32)
    imaginary = np.float32(sigma) * random.standard_normal(image.shape, dtype=np.float32)
    result: Array = np.hypot(real, imaginary)
    return result
