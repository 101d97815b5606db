"""Elastic deformation: random vectors on a coarse grid, made smooth between its nodes by cubic splines."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from monai.transforms import MapTransform, RandomizableTransform

from volseg.errors import UsageError
from volseg.transforms.coordinates import CoordinateMap, node_positions
from volseg.transforms.folding import check_lattice, jacobians, largest_amplitude, least_determinant
from volseg.transforms.mapping import Images, per_axis
from volseg.transforms.randomness import Random
from volseg.transforms.splines import SPLINES, Matrix, Spline

Unit = Literal["voxel", "mm"]
Folding = Literal["limit", "redraw", "allow"]
_REDRAWS = 20


@dataclass(frozen=True, eq=False)
class Deformation:
    """One drawn elastic deformation: a displacement in voxels at each node of a coarse grid."""

    #: (axis, *nodes), in voxels
    displacement: Matrix
    origin: tuple[float, ...]
    step: tuple[float, ...]
    kind: Spline
    #: what the drawn amplitude was multiplied by, so that nothing folds; 1 where nothing did
    amplitude: float = 1.0

    def __post_init__(self) -> None:
        displacement = np.array(self.displacement, dtype=np.float64)
        displacement.flags.writeable = False
        object.__setattr__(self, "displacement", displacement)

    @property
    def is_identity(self) -> bool:
        return not self.displacement.any()

    def coordinate_map(self) -> CoordinateMap:
        """For each output voxel ``x`` the input position ``x + u(x)``."""
        positions = node_positions(self.displacement.shape[1:], self.origin, self.step)
        return CoordinateMap(positions + self.displacement, self.origin, self.step, self.kind)

    def field(self, shape: Sequence[int], device: torch.device | str = "cpu") -> torch.Tensor:
        """The dense displacement ``(axis, *shape)``, in voxels."""
        return CoordinateMap(self.displacement, self.origin, self.step, self.kind).dense(shape, device)

    def least_determinant(self, shape: Sequence[int]) -> float:
        """The smallest Jacobian determinant within ``shape``; below 0 the deformation folds."""
        at = check_lattice(shape, self.step)
        return least_determinant(jacobians(self.displacement, self.origin, self.step, self.kind, at))


@dataclass(frozen=True)
class GridElastic:
    """How elastic deformations are drawn. A value: drawing from it needs a random stream, a shape and a spacing.

    Args:
        grid: nodes along each axis, from the first voxel to the last; one number serves all axes.
        spacing: the nodes' distance along each axis instead, in ``unit`` (the 3-D U-Net's is 32 voxels).
        std: standard deviation of the vectors' components, in ``unit``. A B-spline smooths its control points: what
            comes out moves less (about a third of it in 3-D).
        unit: ``voxel`` or ``mm``. Millimetres keep a deformation isotropic in space where voxels are not.
        interpolation: ``natural`` (the field passes through the vectors) or ``bspline``.
        lock_borders: nothing moves on the image's faces, so nothing from outside comes in; ``spacing`` is then rounded
            so that nodes lie on the faces.
        folding: what becomes of a draw that folds space: ``limit`` multiplies it by the largest factor that does not
            fold, ``redraw`` draws again (and limits after 20 attempts), ``allow`` keeps it.
        min_determinant: the smallest Jacobian determinant that does not count as folding.
    """

    grid: tuple[int, ...] | int = 3
    spacing: tuple[float, ...] | float | None = None
    std: tuple[float, ...] | float = 10.0
    unit: Unit = "voxel"
    interpolation: Spline = "natural"
    lock_borders: bool = False
    folding: Folding = "limit"
    min_determinant: float = 0.05

    def __post_init__(self) -> None:
        for name in ("grid", "spacing", "std"):  # configuration files give lists
            value = getattr(self, name)
            if isinstance(value, Sequence):
                object.__setattr__(self, name, tuple(value))
        for name, known in (
            ("unit", ("voxel", "mm")),
            ("interpolation", SPLINES),
            ("folding", ("limit", "redraw", "allow")),
        ):
            if getattr(self, name) not in known:
                raise UsageError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")
        if np.min(self.grid) < 2:
            raise UsageError(f"an elastic grid needs 2 nodes or more along each axis, not {self.grid}")
        if self.spacing is not None and not np.min(self.spacing) > 0:
            raise UsageError(f"the nodes' spacing must be positive, not {self.spacing}")
        if not np.min(self.std) >= 0 or not np.isfinite(self.std).all():
            raise UsageError(f"std must be 0 or more, not {self.std}")
        if not 0 < self.min_determinant < 1:
            raise UsageError(f"min_determinant lies between 0 and 1, not at {self.min_determinant}")

    def draw(self, random: Random, shape: Sequence[int], voxel_size: Sequence[float] | None = None) -> Deformation:
        """A deformation for an image of this shape; ``voxel_size`` (mm) is needed where the unit is mm.

        >>> drawn = GridElastic(grid=(3, 3), std=2.0).draw(np.random.default_rng(0), (32, 32))
        >>> tuple(drawn.field((32, 32)).shape), drawn.amplitude
        ((2, 32, 32), 1.0)
        """
        shape = tuple(int(n) for n in shape)
        if self.unit == "mm" and voxel_size is None:
            raise UsageError("a deformation in mm needs the voxels' size", mend="pass voxel_size, or use unit='voxel'")
        mm = np.ones(len(shape)) if self.unit == "voxel" else np.asarray(per_axis(voxel_size, len(shape), "voxel_size"))
        counts, origin, step = self._lattice(shape, mm)
        std = np.asarray(per_axis(self.std, len(shape), "std")) / mm
        std[np.asarray(shape) == 1] = 0.0  # along an axis of one voxel there is nowhere to move
        at = check_lattice(shape, step) if self.folding != "allow" else ()
        for _ in range(_REDRAWS if self.folding == "redraw" else 1):
            vectors = random.normal(0.0, 1.0, (len(shape), *counts)) * std.reshape(-1, *(1,) * len(shape))
            if self.lock_borders:
                vectors = _locked(vectors, self.interpolation)
            if self.folding == "allow":
                return Deformation(vectors, origin, step, self.interpolation)
            amplitude = largest_amplitude(
                jacobians(vectors, origin, step, self.interpolation, at), self.min_determinant
            )
            if amplitude == 1.0:
                break
        return Deformation(vectors * amplitude, origin, step, self.interpolation, amplitude)

    def _lattice(
        self, shape: tuple[int, ...], mm: Matrix
    ) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
        length = np.maximum(np.asarray(shape) - 1.0, 1.0)
        if self.spacing is None:
            counts = np.asarray(per_axis(self.grid, len(shape), "grid"), dtype=int)
        else:
            step = np.asarray(per_axis(self.spacing, len(shape), "spacing")) / mm
            intervals = length / step
            intervals = np.round(intervals) if self.lock_borders else np.ceil(intervals - 1e-9)
            counts = np.maximum(intervals.astype(int) + 1, 2)
        if self.spacing is None or self.lock_borders:
            step = length / (counts - 1)
        origin = (length - step * (counts - 1)) / 2
        if self.interpolation == "bspline":
            counts, origin = counts + 2, origin - step
        return tuple(counts.tolist()), tuple(origin.tolist()), tuple(step.tolist())


def _locked(vectors: Matrix, kind: Spline) -> Matrix:
    """Vectors whose field is 0 on the outermost faces of the grid."""
    for axis in range(1, vectors.ndim):
        along = np.moveaxis(vectors, axis, 0)  # a view: written through
        if kind == "natural":
            along[0] = along[-1] = 0.0
        else:  # the face's value is (outer + 4 face + inner) / 6
            along[1] = along[-2] = 0.0
            along[0], along[-1] = -along[2], -along[-3]
    return vectors


class RandGridElasticd(RandomizableTransform, MapTransform):  # type: ignore[misc]
    """Deform all keys by one random elastic field, as the U-Net was trained.

    Vectors are drawn at the nodes of a coarse grid; a cubic spline makes them a field. Images and labels share it.

    Args:
        keys: channel-first images and labels (numpy, tensor or MetaTensor) of one spatial shape.
        grid: nodes along each axis (see :class:`GridElastic`, which the further options are passed to).
        std: standard deviation of the vectors, in voxels, or in millimetres with ``unit="mm"``.
        mode: per key: ``linear``, ``cubic``, ``nearest`` or ``probability`` (a label's classes, interpolated).
        prob: how often anything happens.
        padding: per key, what lies outside: ``reflect``, ``border`` or ``constant``.
        fill: per key, the value outside for ``constant``.
        voxel_size: mm per voxel, where the keys carry no affine.
        options: ``spacing``, ``unit``, ``interpolation``, ``lock_borders``, ``folding``, ``min_determinant``.

    >>> elastic = RandGridElasticd(["image", "label"], grid=3, std=2.0, mode=("linear", "nearest"))
    >>> _ = elastic.set_random_state(seed=0)
    >>> case = elastic({"image": torch.rand(1, 16, 16), "label": torch.ones(1, 16, 16, dtype=torch.uint8)})
    >>> tuple(case["image"].shape), case["label"].unique().tolist()
    ((1, 16, 16), [1])
    """

    def __init__(
        self,
        keys: Hashable | Sequence[Hashable],
        grid: Sequence[int] | int = (3, 3, 3),
        std: Sequence[float] | float = 10.0,
        mode: Sequence[str] | str = ("linear", "nearest"),
        prob: float = 1.0,
        *,
        padding: Sequence[str] | str = "reflect",
        fill: Sequence[float] | float = 0.0,
        voxel_size: Sequence[float] | None = None,
        allow_missing_keys: bool = False,
        **options: Any,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.images = Images(self.keys, mode, padding, fill)
        self.elastic = GridElastic(grid=grid, std=std, **options)  # type: ignore[arg-type]
        self.voxel_size = voxel_size
        self.drawn: Deformation | None = None

    def randomize(self, shape: Sequence[int], voxel_size: Sequence[float] | None = None) -> None:
        """Draw the next deformation, or none."""
        super().randomize(None)
        self.drawn = self.elastic.draw(self.R, shape, voxel_size) if self._do_transform else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        case = dict(data)
        tensors = self.images.tensors(case, self.key_iterator(case))
        shape, voxel_size = self.images.space(case, tensors, self.voxel_size)
        self.randomize(shape, voxel_size)
        if self.drawn is not None and not self.drawn.is_identity:
            mapping = self.drawn.coordinate_map()
            for key, tensor in tensors.items():
                tensors[key] = self.images.warped(key, tensor, mapping)
        return case | tensors
