"""How training patches move: symmetries of the anatomy, and one fused change of place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from volseg.transforms.elastic import GridElastic
from volseg.transforms.motion import Motion
from volseg.transforms.spatial import Spatial


class Motions:
    """Draws the motion of one patch.

    Rotation, scaling, shear and translation happen together, the elastic deformation by itself, flips and right
    angles always with even chances: they are symmetries, no distortion.

    Args:
        flips: axes that are mirrored, each half of the time.
        right_angles: planes in which patches are turned by 0, 90, 180 or 270 degrees.
        prob: how often rotation, scaling, shear and translation happen.
        rotation: degrees, at most; in 3-D one number serves all axes.
        scale: (smallest, largest) factor.
        shear: at most, as displacement per length.
        translation: voxels, at most.
        elastic: arguments of :class:`~volseg.transforms.GridElastic`.
        elastic_prob: how often.

    >>> Motions(flips=[0]).draw(np.random.default_rng(1), (8, 8)).is_rigid_on_the_grid
    True
    """

    def __init__(
        self,
        flips: Sequence[int] = (),
        right_angles: Sequence[Sequence[int]] = (),
        *,
        prob: float = 0.0,
        rotation: float | Sequence[float] = 0.0,
        scale: Sequence[float] = (1.0, 1.0),
        shear: float = 0.0,
        translation: float | Sequence[float] = 0.0,
        elastic: Mapping[str, Any] | None = None,
        elastic_prob: float = 0.0,
    ) -> None:
        self.flips = tuple(flips)
        self.right_angles = tuple((int(a), int(b)) for a, b in right_angles)
        self.prob = prob
        self.elastic_prob = elastic_prob
        self.elastic = None if elastic is None else GridElastic(**elastic)
        self.moving = Spatial(
            rotation=_value(rotation), scale=(scale[0], scale[1]), shear=shear, translation=_value(translation)
        )

    def draw(
        self, random: np.random.Generator, shape: Sequence[int], voxel_size: Sequence[float] | None = None
    ) -> Motion:
        """The motion of a patch of this shape; rotations are true in space where the voxels' size (mm) is given."""
        ndim = len(shape)
        flips = tuple(axis in self.flips and bool(random.uniform() < 0.5) for axis in range(ndim))
        turns = tuple((i, j, int(random.integers(4))) for i, j in self.right_angles)
        moves = bool(random.uniform() < self.prob)
        deforms = self.elastic is not None and bool(random.uniform() < self.elastic_prob)
        motion = self.moving.draw(random, shape, voxel_size) if moves else Motion(ndim)
        elastic = self.elastic.draw(random, shape, voxel_size) if self.elastic is not None and deforms else None
        return replace(motion, flips=flips, turns=tuple(t for t in turns if t[2]), elastic=elastic)


def _value(given: float | Sequence[float]) -> float | tuple[float, ...]:
    return tuple(given) if isinstance(given, Sequence) else given
