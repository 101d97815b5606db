"""The way back through an elastic deformation, found voxel by voxel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from volseg.transforms.coordinates import DenseMap, transform_points
from volseg.transforms.elastic import Deformation
from volseg.transforms.resample import warp
from volseg.transforms.splines import Matrix, basis

_CLOSE = 1e-3  # voxels
_STEPS = 30
_POINTS = 1 << 15  # at a time, in the last steps


def invert(elastic: Deformation, back: Matrix, shape: Sequence[int]) -> DenseMap:
    """From input voxels of ``x -> M (x + u(x))`` to its output voxels, given the inverse of the matrix M.

    ``y + u(y) = back · x`` is solved for ``y`` by substitution, on the voxels' own field, which converges where the
    deformation is gentle, then by Newton's steps on the spline itself; without folding there is one solution.
    """
    goal = transform_points(back, np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")).astype(np.float64))
    target = torch.as_tensor(goal, dtype=torch.float32)
    field = elastic.field(shape)
    place = target.clone()
    for _ in range(_STEPS):
        missed = place + warp(field, DenseMap(place), padding="border") - target
        place = place - missed
        if float(missed.abs().max()) < _CLOSE:
            break
    flat, aims = place.reshape(len(place), -1), goal.reshape(len(place), -1)
    for start in range(0, flat.shape[1], _POINTS):
        part = slice(start, start + _POINTS)
        found = _newton(elastic, flat[:, part].double().numpy(), aims[:, part], shape)
        flat[:, part] = torch.as_tensor(found, dtype=flat.dtype)
    return DenseMap(place)


def _newton(elastic: Deformation, place: Matrix, aims: Matrix, shape: Sequence[int]) -> Matrix:
    """Solve ``y + u(y) = aim`` for points (axis, point) from where they are, each step halved until it helps."""
    missed, gradient = _residual(elastic, place, aims, shape)
    for _ in range(_STEPS):
        if np.abs(missed).max() < _CLOSE:
            break
        step = np.linalg.solve(np.moveaxis(gradient, -1, 0), missed.T[..., None])[..., 0].T
        factor = np.ones(aims.shape[1])
        for _ in range(5):
            tried = place - factor * step
            again, slope = _residual(elastic, tried, aims, shape)
            better = (again**2).sum(axis=0) < (missed**2).sum(axis=0)
            place = np.where(better, tried, place)
            missed, gradient = np.where(better, again, missed), np.where(better, slope, gradient)
            factor = np.where(better, 0.0, factor / 2)
            if better.all():
                break
    return place


def _residual(elastic: Deformation, place: Matrix, aims: Matrix, shape: Sequence[int]) -> tuple[Matrix, Matrix]:
    """How far ``y + u(y)`` lies from the aim, and its derivative (axis, axis, point); u stays constant outside."""
    weights = []
    for n, o, s, count, y in zip(
        shape, elastic.origin, elastic.step, elastic.displacement.shape[1:], place, strict=True
    ):
        inside = (np.clip(y, 0, n - 1) - o) / s
        slope = basis(elastic.kind, count, inside, derivative=1) / s * ((y >= 0) & (y <= n - 1))[:, None]
        weights.append((basis(elastic.kind, count, inside), slope))
    letters = "abc"[: len(place)]
    formula = f"i{letters}," + ",".join(f"p{letter}" for letter in letters) + "->ip"

    def evaluate(along: int | None) -> Matrix:
        chosen = [pair[int(axis == along)] for axis, pair in enumerate(weights)]
        result: Matrix = np.einsum(formula, elastic.displacement, *chosen, optimize=True)
        return result

    gradient = np.stack([evaluate(axis) for axis in range(len(place))], axis=1) + np.eye(len(place))[..., None]
    return place + evaluate(None) - aims, gradient
