"""Cubic splines over equally spaced nodes, as small matrices: values at the nodes in, values at the voxels out.

A field over a tensor grid of nodes is one such matrix per axis. Both kinds reproduce straight lines exactly.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from volseg.errors import UsageError

Matrix = npt.NDArray[np.float64]
#: ``natural`` passes through the nodes' values, its second derivative is 0 at both ends; ``bspline`` takes the nodes'
#: values as control points of the uniform cubic B-spline, and needs one node beyond the data on each side.
Spline = Literal["natural", "bspline"]
SPLINES: tuple[Spline, ...] = ("natural", "bspline")


def basis(kind: Spline, count: int, at: npt.ArrayLike, derivative: int = 0) -> Matrix:
    """The matrix (positions, nodes) that evaluates a spline, or its first derivative, with nodes at 0, 1, … count - 1.

    >>> basis("natural", 3, [0.0, 0.5, 2.0]).round(4).tolist()
    [[1.0, 0.0, 0.0], [0.4062, 0.6875, -0.0938], [0.0, 0.0, 1.0]]
    """
    t = np.asarray(at, dtype=np.float64)
    if kind == "natural":
        return _natural(count, t, derivative)
    if kind == "bspline":
        return _bspline(count, t, derivative)
    raise UsageError(f"{kind!r} is no spline", mend=f"one of {', '.join(SPLINES)}")


def _natural(count: int, t: Matrix, derivative: int) -> Matrix:
    if count == 1:
        return np.full((len(t), 1), 1.0 - derivative)
    left = np.clip(np.floor(t).astype(int), 0, count - 2)
    b = (t - left)[:, None]
    a = 1.0 - b
    values, bends = np.eye(count), _second_derivatives(count)
    lower, upper, bend_lower, bend_upper = values[left], values[left + 1], bends[left], bends[left + 1]
    if derivative:
        slope: Matrix = upper - lower + (1 - 3 * a**2) / 6 * bend_lower + (3 * b**2 - 1) / 6 * bend_upper
        return slope
    value: Matrix = a * lower + b * upper + (a**3 - a) / 6 * bend_lower + (b**3 - b) / 6 * bend_upper
    return value


def _second_derivatives(count: int) -> Matrix:
    """The matrix from the nodes' values to the second derivatives there, 0 at both ends."""
    bends = np.zeros((count, count))
    if count > 2:
        inner = np.arange(count - 2)
        system = 4.0 * np.eye(count - 2) + np.eye(count - 2, k=1) + np.eye(count - 2, k=-1)
        differences = np.zeros((count - 2, count))
        for offset, weight in enumerate((6.0, -12.0, 6.0)):
            differences[inner, inner + offset] = weight
        bends[1:-1] = np.linalg.solve(system, differences)
    return bends


def _bspline(count: int, t: Matrix, derivative: int) -> Matrix:
    if count < 4:
        raise UsageError(f"a cubic B-spline needs 4 nodes or more, not {count}")
    left = np.clip(np.floor(t).astype(int), 1, count - 3)
    b = t - left
    a = 1.0 - b
    if derivative:
        weights = (-(a**2) / 2, 1.5 * b**2 - 2 * b, -1.5 * b**2 + b + 0.5, b**2 / 2)
    else:
        weights = (a**3 / 6, (4 - 6 * b**2 + 3 * b**3) / 6, (4 - 6 * a**2 + 3 * a**3) / 6, b**3 / 6)
    matrix = np.zeros((len(t), count))
    rows = np.arange(len(t))
    for offset, weight in enumerate(weights):
        matrix[rows, left - 1 + offset] = weight
    return matrix


@lru_cache(maxsize=256)
def voxel_basis(
    kind: Spline, count: int, origin: float, step: float, size: int, dtype: torch.dtype, device: torch.device
) -> torch.Tensor:
    """:func:`basis` at the voxels 0 … size - 1, the first node at voxel ``origin`` and the others ``step`` apart."""
    at = (np.arange(size) - origin) / step
    return torch.as_tensor(basis(kind, count, at), dtype=dtype, device=device)


@lru_cache(maxsize=256)
def overshoot(kind: Spline, count: int, origin: float, step: float, size: int) -> float:
    """How far a spline may leave the middle of its nodes' values at these voxels, as a multiple of their half range."""
    weights = voxel_basis(kind, count, origin, step, size, torch.float64, torch.device("cpu"))
    return float(weights.abs().sum(dim=1).max())


@lru_cache(maxsize=64)
def prefilter(size: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """The matrix from samples to the B-spline coefficients that interpolate them, mirrored at both ends."""
    if size == 1:
        return torch.ones((1, 1), dtype=dtype, device=device)
    system = (4.0 * np.eye(size) + np.eye(size, k=1) + np.eye(size, k=-1)) / 6
    system[0, 1] = system[-1, -2] = 2 / 6
    return torch.as_tensor(np.linalg.inv(system), dtype=dtype, device=device)
