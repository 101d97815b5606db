"""The way back through a deformation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from volseg.transforms import GridElastic, Motion
from volseg.transforms.coordinates import transform_points
from volseg.transforms.inverse import invert
from volseg.transforms.splines import basis


@pytest.mark.parametrize("std", [1.0, 6.0])
@pytest.mark.parametrize("kind", ["natural", "bspline"])
def test_there_and_back_is_where_it_began(shape, std, kind):
    """Going through the inverse and then the deformation ends at the voxel it started from, gentle or strong."""
    elastic = GridElastic(grid=3, std=std, interpolation=kind).draw(np.random.default_rng(4), shape)
    motion = Motion(len(shape), angles=(0.2,) if len(shape) == 2 else (0.2, 0.0, 0.1), elastic=elastic)
    matrix = motion.matrix(shape)
    positions = invert(elastic, np.linalg.inv(matrix), shape).positions.double().numpy()
    inside = ((positions >= 0) & (positions <= np.reshape(shape, (-1, *(1,) * len(shape))) - 1.0)).all(axis=0)
    assert inside.mean() > 0.3
    points = positions[:, inside]
    weights = [
        basis(kind, c, (p - o) / s)
        for c, p, o, s in zip(elastic.displacement.shape[1:], points, elastic.origin, elastic.step, strict=True)
    ]
    letters = "abc"[: len(shape)]
    moved = np.einsum(f"i{letters}," + ",".join(f"p{x}" for x in letters) + "->ip", elastic.displacement, *weights)
    again = transform_points(matrix, points + moved)
    start = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"))[:, inside]
    assert np.abs(again - start).max() < 0.01
    assert torch.isfinite(torch.as_tensor(positions)).all()
