"""Where each output voxel is taken from: one smooth map of coordinates, however many transforms went into it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from volseg.errors import UsageError
from volseg.transforms.splines import Matrix, Spline, overshoot, voxel_basis


@dataclass(frozen=True, eq=False)
class CoordinateMap:
    """For every output voxel the input position, in voxels, as a spline over a coarse grid of nodes.

    Splines hold straight lines exactly, so an affine map is the nodes' own positions mapped, and an elastic field is
    added at the nodes: whatever is composed, the dense map is one small matrix product per axis.
    """

    #: input positions (axis, *nodes), in voxels
    nodes: Matrix
    #: the first node's position along each axis, in output voxels
    origin: tuple[float, ...]
    #: the nodes' distance along each axis, in output voxels
    step: tuple[float, ...]
    kind: Spline = "natural"

    def __post_init__(self) -> None:
        nodes = np.array(self.nodes, dtype=np.float64)
        if nodes.ndim != len(nodes) + 1 or not len(nodes) == len(self.origin) == len(self.step) or len(nodes) > 3:
            raise UsageError(f"nodes of shape {nodes.shape} make no map of 1, 2 or 3 axes")
        if not np.isfinite(nodes).all():
            raise UsageError("a map of coordinates must be finite")
        nodes.flags.writeable = False
        object.__setattr__(self, "nodes", nodes)
        object.__setattr__(self, "origin", tuple(float(x) for x in self.origin))
        object.__setattr__(self, "step", tuple(float(x) for x in self.step))

    @classmethod
    def affine(cls, matrix: npt.ArrayLike, shape: Sequence[int]) -> CoordinateMap:
        """The map of a homogeneous matrix from output to input voxels.

        >>> CoordinateMap.affine(np.diag([2.0, 1.0, 1.0]), (3, 3)).dense((3, 3))[0, :, 0].tolist()
        [0.0, 2.0, 4.0]
        """
        step = tuple(float(max(n - 1, 1)) for n in shape)
        lattice = np.stack(np.meshgrid(*((0.0, s) for s in step), indexing="ij"))
        return cls(transform_points(matrix, lattice), (0.0,) * len(step), step)

    @property
    def ndim(self) -> int:
        return len(self.nodes)

    @property
    def counts(self) -> tuple[int, ...]:
        return self.nodes.shape[1:]

    def node_positions(self) -> Matrix:
        """Where the nodes are, in output voxels (axis, *nodes)."""
        return node_positions(self.counts, self.origin, self.step)

    def then(self, matrix: npt.ArrayLike) -> CoordinateMap:
        """The map followed by a homogeneous matrix of input voxels."""
        return CoordinateMap(transform_points(matrix, self.nodes), self.origin, self.step, self.kind)

    def bases(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> list[torch.Tensor]:
        """One matrix (voxels, nodes) per axis."""
        if len(shape) != self.ndim:
            raise UsageError(f"a map of {self.ndim} axes cannot warp a shape of {len(shape)}: {tuple(shape)}")
        return [
            voxel_basis(self.kind, count, origin, step, int(size), dtype, device)
            for count, origin, step, size in zip(self.counts, self.origin, self.step, shape, strict=True)
        ]

    def dense(self, shape: Sequence[int], device: torch.device | str = "cpu") -> torch.Tensor:
        """The input position of every voxel, (axis, *shape), float32."""
        device = torch.device(device)
        dtype = exact_dtype(device)
        field = torch.tensor(self.nodes, dtype=dtype, device=device)
        with torch.autocast(device.type, enabled=False):
            for weights in self.bases(shape, dtype, device):
                field = torch.tensordot(field, weights, dims=([1], [1]))  # its nodes leave in front, voxels join behind
        return field.float()

    def scaled(self, scale: Matrix, shift: Matrix) -> CoordinateMap:
        """Positions multiplied and moved, axis by axis, the last axis first (as torch's samplers take them)."""
        column = (-1, *(1,) * self.ndim)
        nodes = self.nodes * np.reshape(scale, column) + np.reshape(shift, column)
        return CoordinateMap(nodes[::-1], self.origin, self.step, self.kind)

    def rows(
        self, shape: Sequence[int], dtype: torch.dtype, device: torch.device, *, planar: bool
    ) -> Callable[[slice], torch.Tensor]:
        """A function giving the positions of some rows of the first axis, in a tensor of the caller's own.

        They are (axis, rows, *rest) if planar, else (rows, *rest, axis).
        """
        exact = exact_dtype(device)
        if dtype == torch.float64 and device.type != "mps":
            exact = torch.float64
        rest = tuple(shape[1:])
        with torch.autocast(device.type, enabled=False):
            first, *others = self.bases(shape, exact, device)
            nodes = torch.tensor(self.nodes, dtype=exact, device=device)
            for weights in others:
                nodes = torch.tensordot(nodes, weights, dims=([2], [1]))
        count = self.counts[0]
        flat = nodes.reshape(self.ndim, count, -1) if planar else nodes.movedim(0, -1).reshape(count, -1)

        def some(where: slice) -> torch.Tensor:
            with torch.autocast(device.type, enabled=False):
                positions = torch.matmul(first[where], flat).to(dtype)
            size = where.stop - where.start
            return positions.view(self.ndim, size, *rest) if planar else positions.view(size, *rest, self.ndim)

        return some

    def bounds(self, shape: Sequence[int]) -> tuple[Matrix, Matrix]:
        """Per axis, positions that the map never leaves: lower and upper, in input voxels."""
        axes = zip(self.counts, self.origin, self.step, shape, strict=True)
        lebesgue = math.prod(overshoot(self.kind, n, first, step, int(size)) for n, first, step, size in axes)
        flat = self.nodes.reshape(self.ndim, -1)
        lowest, highest = flat.min(axis=1), flat.max(axis=1)
        middle, reach = (lowest + highest) / 2, lebesgue * (highest - lowest) / 2
        return middle - reach, middle + reach


@dataclass(frozen=True, eq=False)
class DenseMap:
    """For every output voxel the input position, in voxels, said one by one: what no coarse grid describes."""

    #: (axis, *shape)
    positions: torch.Tensor

    @property
    def ndim(self) -> int:
        return len(self.positions)

    def bounds(self, shape: Sequence[int]) -> tuple[Matrix, Matrix]:
        """Per axis the smallest and the largest position, in input voxels."""
        lower, upper = torch.aminmax(self.positions.reshape(self.ndim, -1), dim=1)
        return lower.double().cpu().numpy(), upper.double().cpu().numpy()

    def scaled(self, scale: Matrix, shift: Matrix) -> DenseMap:
        """Positions multiplied and moved, axis by axis, the last axis first."""
        factors, offsets = (
            torch.as_tensor(v, dtype=self.positions.dtype, device=self.positions.device).reshape(-1, *(1,) * self.ndim)
            for v in (scale, shift)
        )
        return DenseMap((self.positions * factors + offsets).flip(0))

    def rows(
        self, shape: Sequence[int], dtype: torch.dtype, device: torch.device, *, planar: bool
    ) -> Callable[[slice], torch.Tensor]:
        """A function giving the positions of some rows of the first axis, as :meth:`CoordinateMap.rows`."""
        if tuple(shape) != tuple(self.positions.shape[1:]):
            raise UsageError(f"a map of shape {tuple(self.positions.shape[1:])} cannot warp {tuple(shape)}")
        positions = self.positions.to(device=device, dtype=dtype)

        def some(where: slice) -> torch.Tensor:
            chosen = positions[:, where]
            return chosen.clone() if planar else chosen.movedim(0, -1).contiguous()

        return some


def node_positions(counts: Sequence[int], origin: Sequence[float], step: Sequence[float]) -> Matrix:
    """The positions of a grid of nodes, in voxels (axis, *nodes)."""
    axes = [o + s * np.arange(c) for c, o, s in zip(counts, origin, step, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def transform_points(matrix: npt.ArrayLike, points: Matrix) -> Matrix:
    """A homogeneous matrix applied to points (axis, …)."""
    m = np.asarray(matrix, dtype=np.float64)
    offset = m[:-1, -1].reshape(-1, *(1,) * (points.ndim - 1))
    result: Matrix = np.tensordot(m[:-1, :-1], points, axes=1) + offset
    return result


def exact_dtype(device: torch.device) -> torch.dtype:
    """The type whose products are not rounded to a half-width format behind our back.

    An accelerator may multiply float32 as TF32 (three digits), and so may the CPU when told to: a voxel's position
    needs seven.
    """
    if device.type == "cpu" and torch.get_float32_matmul_precision() == "highest":
        return torch.float32
    return torch.float32 if device.type == "mps" else torch.float64
