"""Where voxels are in space: the one place that reasons about it.

World coordinates are millimetres in RAS+ (right, anterior and superior are positive), as in NIfTI; readers of
LPS formats (DICOM, NRRD, MHA) convert at the door. A 2-D image has a 2-D grid, never a 3-D one with a made-up axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from volseg.errors import GridMismatch, UsageError

Affine = npt.NDArray[np.float64]
_T = TypeVar("_T", bound=np.generic)

# Two grids are one when no corner is displaced by more than this share of the smallest spacing. Formats that store
# float32 or quaternions differ in the seventh digit; a real misregistration differs by voxels.
SAME_GRID = 0.01

_POSITIVE, _NEGATIVE = "RAS", "LPI"


@dataclass(frozen=True, eq=False)
class Grid:
    """The lattice of an image: its shape and the affine from voxel indices to millimetres (RAS+).

    >>> grid = Grid((4, 5, 6), np.diag([0.5, 0.5, 2.0, 1.0]))
    >>> grid.spacing, grid.axcodes
    ((0.5, 0.5, 2.0), 'RAS')
    """

    shape: tuple[int, ...]
    affine: Affine

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)  # a copy of our own, so that freezing it harms nobody
        if not shape or min(shape) < 1:
            raise UsageError(f"a grid needs positive sizes, not {shape}")
        if affine.shape != (len(shape) + 1, len(shape) + 1):
            raise UsageError(f"a grid of shape {shape} needs a {len(shape) + 1}x{len(shape) + 1} affine")
        if not np.isfinite(affine).all() or not (affine[-1] == np.eye(len(shape) + 1)[-1]).all():
            raise UsageError("an affine must be finite and end with the row 0 … 0 1")
        if np.linalg.matrix_rank(affine[:-1, :-1]) < len(shape):
            raise UsageError("the affine is singular: some axes point the same way or have no length")
        affine.flags.writeable = False
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_spacing(cls, shape: Sequence[int], spacing: Sequence[float]) -> Grid:
        """A grid along the world's axes, its first voxel at the origin."""
        return cls(tuple(shape), np.diag([*spacing, 1.0]))

    def __eq__(self, other: object) -> bool:
        """Equal to the bit. For "the same place in space" ask :meth:`same_as`."""
        if not isinstance(other, Grid):
            return NotImplemented
        return self.shape == other.shape and self.affine.tobytes() == other.affine.tobytes()

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def spacing(self) -> tuple[float, ...]:
        """The distance between neighbouring voxels along each axis, in millimetres."""
        return tuple(float(s) for s in np.linalg.norm(self.affine[:-1, :-1], axis=0))

    @property
    def direction(self) -> Affine:
        """Unit vectors of the axes, as columns."""
        matrix: Affine = self.affine[:-1, :-1] / np.asarray(self.spacing)
        return matrix

    @property
    def origin(self) -> tuple[float, ...]:
        return tuple(float(x) for x in self.affine[:-1, -1])

    @property
    def voxel_volume(self) -> float:
        """Cubic millimetres of one voxel (square millimetres in 2-D), shear included."""
        return float(abs(np.linalg.det(self.affine[:-1, :-1])))

    @property
    def shear(self) -> float:
        """The largest cosine between two different axes: 0 for right angles."""
        gram = self.direction.T @ self.direction
        return float(np.abs(gram - np.diag(np.diag(gram))).max())

    @property
    def obliquity(self) -> float:
        """The largest angle between an axis and its nearest world axis, in degrees."""
        cosines = np.abs(self.direction).max(axis=0).clip(max=1.0)
        return float(np.degrees(np.arccos(cosines.min())))

    @property
    def axcodes(self) -> str:
        """Towards which side each axis runs: ``RAS``, ``LPS``, …"""
        world = _world_axes(self.affine)
        return "".join((_POSITIVE if self.affine[row, axis] > 0 else _NEGATIVE)[row] for axis, row in enumerate(world))

    def corners(self) -> Affine:
        """The world coordinates of the outermost voxel centres, one row each."""
        return self._box(margin=0.0)

    def to_world(self, indices: npt.ArrayLike) -> Affine:
        """Voxel indices (last axis) to millimetres."""
        points = np.asarray(indices, dtype=np.float64)
        result: Affine = points @ self.affine[:-1, :-1].T + self.affine[:-1, -1]
        return result

    def to_index(self, points: npt.ArrayLike) -> Affine:
        """Millimetres (last axis) to voxel indices, fractions kept."""
        away = np.atleast_1d(np.asarray(points, dtype=np.float64)) - self.affine[:-1, -1]
        index = np.linalg.solve(self.affine[:-1, :-1], away.reshape(-1, self.ndim).T).T
        return np.asarray(index, dtype=np.float64).reshape(away.shape)

    def distance(self, other: Grid) -> float:
        """How far the farthest corner moves from this grid to the other, in millimetres; infinite if shapes differ.

        The corners are those of the outer faces, half a voxel outside the centres: so a single slice has a thickness.
        """
        if self.shape != other.shape:
            return float("inf")
        return float(np.linalg.norm(self._box(margin=0.5) - other._box(margin=0.5), axis=1).max())

    def same_as(self, other: Grid, tolerance: float = SAME_GRID) -> bool:
        """Whether both grids put every voxel in the same place, to a share of the smallest spacing."""
        return self.distance(other) <= tolerance * min(*self.spacing, *other.spacing)

    def require_same(self, other: Grid, *, where: object, what: str = "the two grids") -> None:
        """Raise :class:`GridMismatch` unless both grids are one."""
        if self.shape != other.shape:
            raise GridMismatch(f"{what} differ in shape: {self.shape} and {other.shape}", where=where)
        if not self.same_as(other):
            raise GridMismatch(
                f"{what} lie {self.distance(other):.3g} mm apart (spacing {_mm(self.spacing)}, {self.axcodes}"
                f" and {_mm(other.spacing)}, {other.axcodes})",
                where=where,
            )

    def reoriented(self, axcodes: str) -> Reorientation:
        """How to turn this grid's axes so that they run towards ``axcodes``; no voxel is interpolated.

        >>> turn = Grid.from_spacing((2, 3, 4), (1, 1, 1)).reoriented("PSL")
        >>> turn.target.shape, turn.target.axcodes
        ((3, 4, 2), 'PSL')
        """
        sides = {
            code: (row, sign) for row in range(self.ndim) for code, sign in ((_POSITIVE[row], 1), (_NEGATIVE[row], -1))
        }
        try:
            wanted = [sides[code] for code in axcodes.upper()]
        except KeyError:
            wanted = []
        if sorted(row for row, _ in wanted) != list(range(self.ndim)):
            raise UsageError(
                f"{axcodes!r} names no orientation in {self.ndim}-D",
                mend=f"for example {_POSITIVE[: self.ndim]} or {_NEGATIVE[: self.ndim]}",
            )
        world = _world_axes(self.affine)
        axes = tuple(world.index(row) for row, _ in wanted)
        flips = tuple(
            bool(np.sign(self.affine[row, axis]) != sign) for axis, (row, sign) in zip(axes, wanted, strict=True)
        )
        affine = self.affine.copy()
        for new, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
            column = self.affine[:, axis]
            affine[:, new] = -column if flip else column
            if flip:
                affine[:, -1] += column * (self.shape[axis] - 1)
        target = Grid(tuple(self.shape[axis] for axis in axes), affine + 0.0)  # + 0.0: no negative zeros
        return Reorientation(self, target, axes, flips)

    def resampled(self, spacing: Sequence[float]) -> Grid:
        """The grid over the same field of view with (about) this spacing.

        Voxels are areas, not points: the outer faces stay where they are and the count is rounded, so that going
        there and back gives the old shape.
        """
        shape = tuple(
            max(1, round(n * old / new)) for n, old, new in zip(self.shape, self.spacing, spacing, strict=True)
        )
        return self.reshaped(shape)

    def sampled(self, spacing: Sequence[float]) -> Grid:
        """The grid with another spacing whose first voxel stays; the last lies nearest to where it was.

        >>> Grid.from_spacing((10,), [1.0]).sampled([2.0]).shape
        (6,)
        """
        scale = np.asarray(spacing, dtype=np.float64) / self.spacing
        shape = [int(np.round((n - 1) / by + 1)) for n, by in zip(self.shape, scale, strict=True)]
        return Grid(tuple(shape), self.affine @ np.diag([*scale, 1.0]))

    def reshaped(self, shape: Sequence[int]) -> Grid:
        """The grid over the same field of view with another number of voxels."""
        ratio = np.asarray(self.shape) / np.asarray(shape)
        affine = self.affine.copy()
        affine[:-1, :-1] = self.affine[:-1, :-1] * ratio
        affine[:-1, -1] = self.to_world((ratio - 1) / 2)
        return Grid(tuple(shape), affine)

    def _box(self, margin: float) -> Affine:
        """The world coordinates of the corners of a box this many voxels outside the outermost centres."""
        ends = [(-margin, n - 1 + margin) for n in self.shape]
        return self.to_world(list(product(*ends)))

    def to_dict(self) -> dict[str, object]:
        return {"shape": list(self.shape), "affine": self.affine.tolist()}

    @classmethod
    def from_dict(cls, stored: dict[str, object]) -> Grid:
        return cls(tuple(stored["shape"]), np.array(stored["affine"]))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Reorientation:
    """An exact turn of the axes between two grids: a permutation, then flips."""

    source: Grid
    target: Grid
    axes: tuple[int, ...]
    flips: tuple[bool, ...]

    def apply(self, array: npt.NDArray[_T]) -> npt.NDArray[_T]:
        """Turn an array; the spatial axes are its last ones. A view, no copy."""
        lead = array.ndim - self.source.ndim
        turned = array.transpose(*range(lead), *(lead + axis for axis in self.axes))
        return np.flip(turned, axis=tuple(lead + axis for axis, flip in enumerate(self.flips) if flip))

    def inverse(self) -> Reorientation:
        """The way back: to the source grid itself, bit for bit."""
        axes = tuple(self.axes.index(axis) for axis in range(len(self.axes)))
        return Reorientation(self.target, self.source, axes, tuple(self.flips[axis] for axis in axes))


def orientations(ndim: int = 3) -> Iterator[str]:
    """Every axis code: 48 in 3-D, 8 in 2-D."""
    for rows in permutations(range(ndim)):
        yield from ("".join(pick) for pick in product(*((_POSITIVE[row], _NEGATIVE[row]) for row in rows)))


def _world_axes(affine: Affine) -> list[int]:
    """For each voxel axis the world axis it runs along, no world axis twice, the clearest alignment decided first."""
    weight = np.abs(affine[:-1, :-1] / np.linalg.norm(affine[:-1, :-1], axis=0))
    world = [-1] * weight.shape[1]
    for _ in world:
        row, axis = np.unravel_index(int(weight.argmax()), weight.shape)
        world[int(axis)] = int(row)
        weight[row, :] = -1
        weight[:, axis] = -1
    return world


def _mm(spacing: Sequence[float]) -> str:
    return "x".join(f"{s:.4g}" for s in spacing) + " mm"
