"""Where a deformation folds space onto itself, and how much of it does not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from volseg.transforms.splines import Matrix, Spline, basis

#: voxel positions along each axis
Lattice = tuple[tuple[float, ...], ...]
_PER_INTERVAL = 8  # samples between neighbouring nodes; a cubic's Jacobian is smooth at that scale


def jacobians(
    displacement: Matrix, origin: Sequence[float], step: Sequence[float], kind: Spline, at: Lattice
) -> Matrix:
    """The derivatives of a displacement field (axis, *nodes) on a lattice of voxel positions: (*lattice, axis, axis).

    Entry ``[..., i, j]`` is how component ``i`` changes along axis ``j``; no identity is added.
    """
    columns = []
    for along in range(len(displacement)):
        field = displacement
        for axis, (o, s, positions) in enumerate(zip(origin, step, at, strict=True)):
            weights = _weights(kind, displacement.shape[axis + 1], o, s, positions, int(axis == along))
            field = np.tensordot(field, weights, axes=([1], [1]))
        columns.append(np.moveaxis(field, 0, -1))
    return np.stack(columns, axis=-1)


@lru_cache(maxsize=256)
def _weights(kind: Spline, count: int, origin: float, step: float, at: tuple[float, ...], derivative: int) -> Matrix:
    """The spline's matrix at voxel positions, or its derivative's per voxel: patches of one size share it."""
    return basis(kind, count, (np.asarray(at) - origin) / step, derivative) / step**derivative


def check_lattice(shape: Sequence[int], step: Sequence[float]) -> Lattice:
    """Where folding is looked for: eight positions in each interval of nodes, however few voxels lie there."""
    return tuple(_positions(n, s) for n, s in zip(shape, step, strict=True))


@lru_cache(maxsize=256)
def _positions(size: int, step: float) -> tuple[float, ...]:
    return tuple(np.linspace(0, size - 1, int(np.ceil((size - 1) / step)) * _PER_INTERVAL + 1).tolist())


def least_determinant(gradient: Matrix) -> float:
    """The smallest Jacobian determinant of ``x + u(x)``: space is kept where it is positive, folded where not.

    >>> least_determinant(np.diag([-1.5, 0.0])[None])
    -0.5
    """
    return float(np.linalg.det(np.eye(gradient.shape[-1]) + gradient).min())


def largest_amplitude(gradient: Matrix, floor: float) -> float:
    """The largest factor, at most 1, up to which ``x + factor · u(x)`` keeps every determinant at ``floor`` or above.

    >>> round(largest_amplitude(np.diag([-2.0, 0.0])[None], floor=0.1), 6)
    0.45
    """
    if least_determinant(gradient) >= floor:
        return 1.0
    flat = gradient.reshape(-1, *gradient.shape[-2:])
    # det(I + s G) is a polynomial in s of the matrix's invariants
    trace = np.trace(flat, axis1=1, axis2=2)
    squares = np.trace(flat @ flat, axis1=1, axis2=2)
    terms = [np.ones_like(trace), trace, (trace**2 - squares) / 2]
    if flat.shape[-1] == 3:
        terms.append(np.linalg.det(flat))
    elif flat.shape[-1] == 1:
        terms.pop()

    def holds(factor: float) -> bool:
        return bool(sum(term * factor**power for power, term in enumerate(terms)).min() >= floor)

    ladder = np.linspace(0, 1, 33)
    high = next(float(factor) for factor in ladder[1:] if factor == 1.0 or not holds(float(factor)))
    low = high - float(ladder[1])
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
