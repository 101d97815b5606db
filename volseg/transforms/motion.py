"""One motion of an image: flips, right-angle turns, rotation, scaling, shear, translation and elastic deformation.

All of it is one map of coordinates. The image is flipped and turned, then scaled, sheared, rotated and moved about its
centre, in millimetres where the voxels' size is known, then deformed; it is resampled once, or not at all where flips
and right-angle turns are all there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch

from volseg.errors import UsageError
from volseg.transforms.coordinates import CoordinateMap
from volseg.transforms.elastic import Deformation
from volseg.transforms.resample import warp
from volseg.transforms.splines import Matrix


@dataclass(frozen=True, eq=False)
class Motion:
    """What was drawn for one case. Left out means identity.

    >>> Motion(2, flips=(True, False)).apply(torch.tensor([[[1, 2], [3, 4]]])).tolist()
    [[[3, 4], [1, 2]]]
    """

    ndim: int
    flips: tuple[bool, ...] = ()
    #: right-angle turns: (axis, axis, how often), from the first axis towards the second
    turns: tuple[tuple[int, int, int], ...] = ()
    #: radians: one in 2-D, in 3-D one about each axis, applied in the axes' order
    angles: tuple[float, ...] = ()
    #: size of the content, along each axis
    scales: tuple[float, ...] = ()
    #: tangents, for each pair of axes (i, j): how far axis i moves along with j
    shears: tuple[float, ...] = ()
    #: millimetres, or voxels where the voxels' size is not known
    translation: tuple[float, ...] = ()
    elastic: Deformation | None = None

    def __post_init__(self) -> None:
        lengths = {
            "flips": self.ndim,
            "angles": 1 if self.ndim == 2 else 3,
            "scales": self.ndim,
            "shears": self.ndim * (self.ndim - 1),
            "translation": self.ndim,
        }
        if self.ndim not in (2, 3):
            raise UsageError(f"motions are 2-D or 3-D, not {self.ndim}-D")
        for name, length in lengths.items():
            given = getattr(self, name)
            if len(given) not in (0, length):
                raise UsageError(f"{name} of a {self.ndim}-D motion has {length} values, not {len(given)}")
        if min(self.scales, default=1.0) <= 0:
            raise UsageError(f"scales must be positive, not {self.scales}")

    @property
    def is_rigid_on_the_grid(self) -> bool:
        """Whether flips and right-angle turns are all there is, so that no voxel is interpolated."""
        still = all(s == 1.0 for s in self.scales) and not any((*self.angles, *self.shears, *self.translation))
        return still and (self.elastic is None or self.elastic.is_identity)

    @property
    def is_identity(self) -> bool:
        return self.is_rigid_on_the_grid and not any(self.flips) and not any(k % 4 for _, _, k in self.turns)

    def matrix(self, shape: Sequence[int], voxel_size: Sequence[float] | None = None) -> Matrix:
        """The homogeneous matrix from output to input voxels; the elastic part is not in it."""
        mm = np.ones(self.ndim) if voxel_size is None else np.asarray(voxel_size, dtype=np.float64)
        back = np.linalg.inv(self._content())
        back[:-1, :-1] *= mm / mm[:, None]  # from millimetres to voxels
        back[:-1, -1] /= mm
        matrix = self._turning() @ back
        centre = (np.asarray(shape) - 1) / 2
        matrix[:-1, -1] += centre - matrix[:-1, :-1] @ centre
        return np.asarray(matrix)

    def coordinate_map(self, shape: Sequence[int], voxel_size: Sequence[float] | None = None) -> CoordinateMap:
        """From output to input voxels, everything composed."""
        matrix = self.matrix(shape, voxel_size)
        if self.elastic is None or self.elastic.is_identity:
            return CoordinateMap.affine(matrix, shape)
        return self.elastic.coordinate_map().then(matrix)

    def apply(
        self,
        image: torch.Tensor,
        *,
        voxel_size: Sequence[float] | None = None,
        mode: str = "linear",
        padding: str = "reflect",
        fill: float = 0.0,
    ) -> torch.Tensor:
        """A channel-first image moved; see :func:`volseg.transforms.warp` for the options."""
        if image.ndim != self.ndim + 1:
            raise UsageError(f"a {self.ndim}-D motion cannot move a tensor of shape {tuple(image.shape)}")
        if self.is_rigid_on_the_grid:
            return self._turned(image)
        mapping = self.coordinate_map(image.shape[1:], voxel_size)
        return warp(image, mapping, mode=mode, padding=padding, fill=fill)

    def undo(self, image: torch.Tensor) -> torch.Tensor:
        """An image turned and flipped back, where that is all there was."""
        if not self.is_rigid_on_the_grid:
            raise UsageError("only flips and right-angle turns are undone without interpolation")
        for first, second, times in reversed(self.turns):
            image = torch.rot90(image, -times, (first + 1, second + 1))
        axes = [axis + 1 for axis, flipped in enumerate(self.flips) if flipped]
        return image.flip(axes) if axes else image

    def _turned(self, image: torch.Tensor) -> torch.Tensor:
        axes = [axis + 1 for axis, flipped in enumerate(self.flips) if flipped]
        image = image.flip(axes) if axes else image
        for first, second, times in self.turns:
            if times % 2 and image.shape[first + 1] != image.shape[second + 1]:
                raise UsageError(f"a turn between axes {first} and {second} of {tuple(image.shape[1:])} is no square")
            image = torch.rot90(image, times, (first + 1, second + 1))
        return image

    def _turning(self) -> Matrix:
        """From output to input, about the centre: flips and right-angle turns."""
        result = np.diag([*(-1.0 if flipped else 1.0 for flipped in self.flips or (False,) * self.ndim), 1.0])
        for first, second, times in self.turns:
            quarter = np.eye(self.ndim + 1)
            quarter[first, first] = quarter[second, second] = 0.0
            quarter[first, second], quarter[second, first] = 1.0, -1.0
            result = result @ np.linalg.matrix_power(quarter, times % 4)
        return result

    def _content(self) -> Matrix:
        """How the content moves about the centre, in millimetres."""
        full = np.eye(self.ndim + 1)
        if self.scales:
            full = np.diag([*self.scales, 1.0])
        if self.shears:
            shear = np.eye(self.ndim + 1)
            pairs = [(i, j) for i in range(self.ndim) for j in range(self.ndim) if i != j]
            for (i, j), tangent in zip(pairs, self.shears, strict=True):
                shear[i, j] = tangent
            full = shear @ full
        planes = [(0, 1)] if self.ndim == 2 else [(1, 2), (0, 2), (0, 1)]
        for (i, j), angle in zip(planes, self.angles, strict=False):
            rotation = np.eye(self.ndim + 1)
            rotation[i, i] = rotation[j, j] = np.cos(angle)
            rotation[i, j], rotation[j, i] = -np.sin(angle), np.sin(angle)
            full = rotation @ full
        if self.translation:
            full[:-1, -1] = self.translation
        return np.asarray(full)


def turnable(shape: Sequence[int], voxel_size: Sequence[float] | None) -> list[tuple[int, int]]:
    """The pairs of axes between which a right-angle turn keeps the grid as it is.

    >>> turnable((8, 8, 5), (1.0, 1.0, 3.0))
    [(0, 1)]
    """
    mm = (1.0,) * len(shape) if voxel_size is None else tuple(voxel_size)
    return [
        (i, j)
        for i, j in combinations(range(len(shape)), 2)
        if shape[i] == shape[j] and abs(mm[i] - mm[j]) <= 1e-3 * min(mm[i], mm[j])
    ]


def move_batch(
    batch: torch.Tensor,
    motions: Sequence[Motion],
    *,
    voxel_size: Sequence[float] | None = None,
    mode: str = "linear",
    padding: str = "reflect",
    fill: float = 0.0,
) -> torch.Tensor:
    """A batch (B, C, *spatial) moved on its own device, each sample by its own motion."""
    if len(batch) != len(motions):
        raise UsageError(f"{len(batch)} samples need as many motions, not {len(motions)}")
    options = {"mode": mode, "padding": padding, "fill": fill}
    return torch.stack(
        [motion.apply(image, voxel_size=voxel_size, **options) for image, motion in zip(batch, motions, strict=True)]  # type: ignore[arg-type]
    )
