"""Grey values changed as scanners change them: whole batches on their own device, each sample by its own parameters.

Every function takes a batch (B, C, *spatial) and one parameter per sample. Smoothing and lower resolution are one small
matrix per axis, so that samples of different strength are still one product.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from volseg.errors import UsageError
from volseg.transforms.mirror import mirror_indices

_REACH = 4.0  # standard deviations at which a Gaussian is cut off


def brightness(batch: torch.Tensor, shifts: Sequence[float]) -> torch.Tensor:
    """A constant added to each sample, in the image's own units.

    >>> brightness(torch.zeros(2, 1, 1, 1), [0.0, 0.5]).flatten().tolist()
    [0.0, 0.5]
    """
    return batch + _column(shifts, batch)


def contrast(batch: torch.Tensor, factors: Sequence[float]) -> torch.Tensor:
    """Distances from each channel's mean multiplied, nothing beyond the values the channel held before."""
    axes = tuple(range(2, batch.ndim))
    mean = batch.mean(dim=axes, keepdim=True)
    lowest, highest = batch.amin(dim=axes, keepdim=True), batch.amax(dim=axes, keepdim=True)
    return ((batch - mean) * _column(factors, batch) + mean).clamp(lowest, highest)


def gamma(batch: torch.Tensor, exponents: Sequence[float], inverted: Sequence[bool] | None = None) -> torch.Tensor:
    """Each channel's range, taken as 0 to 1, raised to a power; its mean and standard deviation are kept.

    Args:
        batch: (B, C, *spatial).
        exponents: above 1 darkens, below 1 brightens the middle.
        inverted: whether the power acts on the negative image.
    """
    if min(exponents, default=1.0) <= 0:
        raise UsageError(f"gamma must be positive, not {min(exponents)}")
    axes = tuple(range(2, batch.ndim))
    sign = _column([-1.0 if inverse else 1.0 for inverse in inverted or [False] * len(batch)], batch)
    signed = batch * sign
    mean = signed.mean(dim=axes, keepdim=True)
    spread = _length(signed - mean, axes)
    lowest = signed.amin(dim=axes, keepdim=True)
    extent = signed.amax(dim=axes, keepdim=True) - lowest
    tiny = torch.finfo(batch.dtype).tiny
    curved = ((signed - lowest) / extent.clamp_min(tiny)).clamp(0, 1).pow(_column(exponents, batch))
    centred = curved - curved.mean(dim=axes, keepdim=True)
    scaled = centred * (spread / _length(centred, axes).clamp_min(tiny))
    return torch.where(extent > 0, (scaled + mean) * sign, batch)


def gaussian_noise(batch: torch.Tensor, stds: Sequence[float], seeds: Sequence[int]) -> torch.Tensor:
    """White noise of each sample's standard deviation and seed; the pattern differs between kinds of device."""
    return batch + _noise(batch, seeds) * _column(stds, batch)


def rician_noise(batch: torch.Tensor, stds: Sequence[float], seeds: Sequence[int]) -> torch.Tensor:
    """The magnitude of a signal with noise in both its parts, as in MRI; the lowest value of a channel is no signal."""
    lowest = batch.amin(dim=tuple(range(2, batch.ndim)), keepdim=True)
    std = _column(stds, batch)
    real = batch - lowest + _noise(batch, seeds) * std
    imaginary = _noise(batch, [seed + 1 for seed in seeds]) * std
    return torch.hypot(real, imaginary) + lowest


def blur(batch: torch.Tensor, sigmas: Sequence[float | Sequence[float]]) -> torch.Tensor:
    """Gaussian smoothing, sigma in voxels for each sample (or each sample and axis), mirrored at the borders."""
    return _along_axes(batch, [[_gaussian(n, s) for n, s in _paired(batch, of)] for of in sigmas])


def low_resolution(batch: torch.Tensor, zooms: Sequence[float | Sequence[float]]) -> torch.Tensor:
    """Each sample as if acquired with ``zoom`` times the voxels along its axes: averaged, then interpolated back."""
    return _along_axes(batch, [[_down_and_up(n, z) for n, z in _paired(batch, of)] for of in zooms])


def bias_field(batch: torch.Tensor, coefficients: Sequence[np.ndarray]) -> torch.Tensor:
    """Each sample multiplied by exp of a smooth field, a sum of Legendre polynomials over the image.

    Args:
        batch: (B, C, *spatial).
        coefficients: per sample an array with one axis per image axis: entry (i, j, …) is the weight of degree i along
            the first, j along the second axis, and so on.
    """
    fields = torch.stack([torch.as_tensor(c, dtype=batch.dtype, device=batch.device) for c in coefficients])
    if fields.ndim != batch.ndim - 1:
        raise UsageError(f"a bias field over {batch.ndim - 2} axes needs as many axes of coefficients")
    with torch.autocast(batch.device.type, enabled=False):
        for size in batch.shape[2:]:
            at = np.linspace(-1, 1, size) if size > 1 else np.zeros(1)
            polynomials = np.polynomial.legendre.legvander(at, fields.shape[1] - 1)
            weights = torch.as_tensor(polynomials, dtype=batch.dtype, device=batch.device)
            fields = torch.tensordot(fields, weights, dims=([1], [1]))
    return batch * fields.exp().unsqueeze(1)


def _length(centred: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    """In proportion to the standard deviation of what has a mean of 0; torch's own takes several times as long."""
    length: torch.Tensor = torch.linalg.vector_norm(centred, dim=axes, keepdim=True)
    return length


def _column(values: Sequence[float], batch: torch.Tensor) -> torch.Tensor:
    if len(values) != len(batch):
        raise UsageError(f"{len(batch)} samples need as many parameters, not {len(values)}")
    return torch.as_tensor(values, dtype=batch.dtype, device=batch.device).view(-1, *(1,) * (batch.ndim - 1))


def _noise(batch: torch.Tensor, seeds: Sequence[int]) -> torch.Tensor:
    if len(seeds) != len(batch):
        raise UsageError(f"{len(batch)} samples need as many seeds, not {len(seeds)}")
    noise = torch.empty_like(batch)
    for sample, seed in zip(noise, seeds, strict=True):
        sample.normal_(generator=torch.Generator(batch.device).manual_seed(int(seed)))
    return noise


def _paired(batch: torch.Tensor, values: float | Sequence[float]) -> list[tuple[int, float]]:
    shape = batch.shape[2:]
    each = list(values) if isinstance(values, Sequence) else [values] * len(shape)
    if len(each) != len(shape):
        raise UsageError(f"{len(each)} values for {len(shape)} axes", mend="one for each axis, or one for all")
    return [(int(n), float(v)) for n, v in zip(shape, each, strict=True)]


def _along_axes(batch: torch.Tensor, matrices: Sequence[Sequence[torch.Tensor | None]]) -> torch.Tensor:
    """Per sample one matrix (out, in) for each axis; None leaves the axis as it is."""
    if len(matrices) != len(batch):
        raise UsageError(f"{len(batch)} samples need as many parameters, not {len(matrices)}")
    result = []
    for image, chain in zip(batch, matrices, strict=True):
        with torch.autocast(batch.device.type, enabled=False):
            for axis, matrix in enumerate(chain, start=1):
                if matrix is not None:
                    weights = matrix.to(dtype=image.dtype, device=image.device)
                    # with the axis last it is one product of matrices; elsewhere torch may make one for each line
                    image = torch.matmul(image.movedim(axis, -1), weights.T).movedim(-1, axis)
        result.append(image)
    return torch.stack(result)


def _gaussian(size: int, sigma: float) -> torch.Tensor | None:
    if sigma < 0:
        raise UsageError(f"a blur's sigma must be 0 or more, not {sigma}")
    if sigma == 0 or size == 1:
        return None
    reach = max(1, int(np.ceil(_REACH * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    source = mirror_indices(size, reach, reach)
    matrix = np.zeros((size, size))
    rows = np.arange(size)
    for offset, weight in enumerate(kernel):
        np.add.at(matrix, (rows, source[rows + offset]), weight)
    return torch.as_tensor(matrix, dtype=torch.float32)


def _down_and_up(size: int, zoom: float) -> torch.Tensor | None:
    if not 0 < zoom <= 1:
        raise UsageError(f"a lower resolution's zoom lies between 0 and 1, not at {zoom}")
    fewer = max(1, round(size * zoom))
    if fewer == size:
        return None
    edges = np.arange(fewer + 1) * size / fewer
    voxels = np.arange(size)
    overlap = np.minimum(voxels + 1, edges[1:, None]) - np.maximum(voxels, edges[:-1, None])
    down = np.clip(overlap, 0, None)
    down /= down.sum(axis=1, keepdims=True)
    at = np.clip((voxels + 0.5) * fewer / size - 0.5, 0, fewer - 1)
    left = np.minimum(np.floor(at).astype(int), max(fewer - 2, 0))
    up = np.zeros((size, fewer))
    up[voxels, left] = 1 - (at - left)
    up[voxels, np.minimum(left + 1, fewer - 1)] += at - left
    # by torch, not numpy: the threads of numpy's BLAS go on spinning for a while, on the cores that train the network
    return torch.matmul(torch.as_tensor(up), torch.as_tensor(down)).float()
