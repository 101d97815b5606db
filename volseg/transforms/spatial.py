"""Random motions of a case: drawn in one place, applied in one resampling."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import to_affine_nd
from monai.transforms import InvertibleTransform, MapTransform, RandomizableTransform
from monai.utils import TraceKeys

from volseg.errors import UsageError
from volseg.transforms.coordinates import CoordinateMap
from volseg.transforms.elastic import GridElastic, Unit
from volseg.transforms.inverse import invert
from volseg.transforms.mapping import Images, per_axis
from volseg.transforms.motion import Motion, turnable
from volseg.transforms.randomness import Random
from volseg.transforms.resample import warp

Range = tuple[float, float] | float


@dataclass(frozen=True)
class Spatial:
    """How motions are drawn. A value, as :class:`GridElastic` is.

    Args:
        flip_prob: how often each axis is flipped; one number, or one per axis (0 keeps an axis as it is).
        turn_prob: how often axes of equal size and spacing are turned by 90, 180 or 270 degrees.
        rotation: degrees, at most this much either way; in 3-D about each axis, or one number per axis.
        rotation_prob: how often there is a rotation.
        scale: (smallest, largest) factor.
        scale_prob: how often there is a scaling.
        isotropic: one factor for all axes; else each has its own.
        shear: tangent, at most this much either way, for each pair of axes; below 1 in 2-D and 1/2 in 3-D, beyond
            which space could be mirrored.
        shear_prob: how often there is a shear.
        translation: at most this far either way along each axis, in ``unit``; one number, or one per axis.
        translation_prob: how often there is a translation.
        elastic: a :class:`GridElastic`, or its arguments as a mapping.
        elastic_prob: how often there is an elastic deformation.
        unit: of the translation: ``voxel`` or ``mm``.
    """

    flip_prob: float | tuple[float, ...] = 0.0
    turn_prob: float = 0.0
    rotation: float | tuple[float, ...] = 0.0
    rotation_prob: float = 1.0
    scale: tuple[float, float] = (1.0, 1.0)
    scale_prob: float = 1.0
    isotropic: bool = True
    shear: float = 0.0
    shear_prob: float = 1.0
    translation: float | tuple[float, ...] = 0.0
    translation_prob: float = 1.0
    elastic: GridElastic | Mapping[str, Any] | None = None
    elastic_prob: float = 1.0
    unit: Unit = "voxel"

    def __post_init__(self) -> None:
        for name in ("flip_prob", "rotation", "scale", "translation"):  # configuration files give lists
            value = getattr(self, name)
            if isinstance(value, Sequence):
                object.__setattr__(self, name, tuple(value))
        if isinstance(self.elastic, Mapping):
            object.__setattr__(self, "elastic", GridElastic(**self.elastic))
        chances = ("flip", "turn", "rotation", "scale", "shear", "translation", "elastic")
        for name in (f"{what}_prob" for what in chances):
            if not (np.min(getattr(self, name)) >= 0 and np.max(getattr(self, name)) <= 1):
                raise UsageError(f"{name} lies between 0 and 1, not at {getattr(self, name)}")
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise UsageError(f"scale is (smallest, largest), both positive, not {self.scale}")
        for name in ("rotation", "translation", "shear"):
            if not np.isfinite(getattr(self, name)).all():
                raise UsageError(f"{name} must be finite, not {getattr(self, name)}")
        if self.unit not in ("voxel", "mm"):
            raise UsageError(f"unit is voxel or mm, not {self.unit!r}")

    def draw(self, random: Random, shape: Sequence[int], voxel_size: Sequence[float] | None = None) -> Motion:
        """A motion for an image of this shape; rotations are true in space where ``voxel_size`` (mm) is given.

        >>> drawn = Spatial(rotation=10, scale=(0.9, 1.1)).draw(np.random.default_rng(0), (32, 32))
        >>> abs(np.degrees(drawn.angles[0])) <= 10 and 0.9 <= drawn.scales[0] <= 1.1
        True
        """
        ndim = len(shape)
        if abs(self.shear) * (ndim - 1) >= 1:
            raise UsageError(f"a shear of {self.shear} may mirror {ndim}-D space; below {1 / (ndim - 1):g} it does not")
        if self.unit == "mm" and voxel_size is None:
            raise UsageError("a translation in mm needs the voxels' size", mend="pass voxel_size, or use unit='voxel'")

        def happens(prob: float) -> bool:
            return bool(random.uniform() < prob)

        def either_way(limit: Any, count: int, name: str) -> tuple[float, ...]:
            return tuple(float(random.uniform(-1, 1) * m) for m in per_axis(limit, count, name))

        flips = tuple(happens(p) for p in per_axis(self.flip_prob, ndim, "flip_prob"))
        turns = tuple(
            (i, j, 1 + min(2, int(random.uniform() * 3)))
            for i, j in turnable(shape, voxel_size)
            if happens(self.turn_prob)
        )
        angles: tuple[float, ...] = ()
        scales: tuple[float, ...] = ()
        shears: tuple[float, ...] = ()
        translation: tuple[float, ...] = ()
        if np.any(self.rotation) and happens(self.rotation_prob):
            angles = tuple(np.radians(either_way(self.rotation, 1 if ndim == 2 else 3, "rotation")).tolist())
        if self.scale != (1.0, 1.0) and happens(self.scale_prob):
            drawn = tuple(float(random.uniform(*self.scale)) for _ in range(1 if self.isotropic else ndim))
            scales = drawn * ndim if self.isotropic else drawn
        if self.shear and happens(self.shear_prob):
            shears = either_way(self.shear, ndim * (ndim - 1), "shear")
        if np.any(self.translation) and happens(self.translation_prob):
            translation = either_way(self.translation, ndim, "translation")
            if self.unit == "voxel" and voxel_size is not None:
                translation = tuple(t * mm for t, mm in zip(translation, voxel_size, strict=True))
        elastic = None
        if isinstance(self.elastic, GridElastic) and happens(self.elastic_prob):
            elastic = self.elastic.draw(random, shape, voxel_size)
        return Motion(ndim, flips, turns, angles, scales, shears, translation, elastic)


class RandSpatiald(RandomizableTransform, MapTransform, InvertibleTransform):  # type: ignore[misc]
    """Flip, turn, rotate, scale, shear, move and deform all keys, resampling each once.

    The affine follows the motion (its elastic part apart), and ``inverse`` undoes it, elastic part included.

    Args:
        keys: channel-first images and labels (numpy, tensor or MetaTensor) of one spatial shape.
        mode: per key: ``linear``, ``cubic``, ``nearest`` or ``probability`` (a label's classes, interpolated).
        prob: how often anything happens.
        padding: per key, what lies outside: ``reflect``, ``border`` or ``constant``.
        fill: per key, the value outside for ``constant``.
        voxel_size: mm per voxel, where the keys carry no affine.
        options: what is drawn (see :class:`Spatial`).

    >>> spatial = RandSpatiald(["image", "label"], flip_prob=0.5, rotation=15, elastic={"grid": 3, "std": 2.0})
    >>> _ = spatial.set_random_state(seed=0)
    >>> case = spatial({"image": torch.rand(1, 16, 16), "label": torch.ones(1, 16, 16, dtype=torch.uint8)})
    >>> tuple(case["image"].shape), case["label"].unique().tolist()
    ((1, 16, 16), [1])
    """

    def __init__(
        self,
        keys: KeysCollection,
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
        self.spatial = Spatial(**options)
        self.voxel_size = voxel_size
        self.drawn: Motion | None = None

    def randomize(self, shape: Sequence[int], voxel_size: Sequence[float] | None = None) -> None:
        """Draw the next motion, or none."""
        super().randomize(None)
        self.drawn = self.spatial.draw(self.R, shape, voxel_size) if self._do_transform else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        case = dict(data)
        tensors = self.images.tensors(case, self.key_iterator(case))
        shape, voxel_size = self.images.space(case, tensors, self.voxel_size)
        self.randomize(shape, voxel_size)
        motion = self.drawn or Motion(len(shape))
        matrix = motion.matrix(shape, voxel_size)
        for key, tensor in tensors.items():
            if not motion.is_identity:
                plain = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
                moved = motion.apply(plain, voxel_size=voxel_size, **self.images.options(key))
                tensor = self.images.like(moved, tensor)
            case[key] = self.push_transform(
                tensor,
                orig_size=shape,
                affine=torch.as_tensor(matrix),
                extra_info={"matrix": matrix, "motion": motion},
            )
        return case

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case before the motion, as far as one more resampling can tell; exact for flips and right-angle turns."""
        case = dict(data)
        for key in self.key_iterator(case):
            applied = self.pop_transform(case[key])
            motion, matrix = (applied[TraceKeys.EXTRA_INFO][name] for name in ("motion", "matrix"))
            if motion.is_identity:
                continue
            case[key] = self._undone(key, case[key], motion, matrix)
        return case

    def _undone(self, key: Hashable, moved: MetaTensor, motion: Motion, matrix: Any) -> MetaTensor:
        back = np.linalg.inv(matrix)
        shape = moved.shape[1:]
        plain = moved.as_tensor()
        if motion.is_rigid_on_the_grid:
            result = MetaTensor(motion.undo(plain)).copy_meta_from(moved)
        else:
            bent = motion.elastic is not None and not motion.elastic.is_identity
            mapping = invert(motion.elastic, back, shape) if bent else CoordinateMap.affine(back, shape)  # type: ignore[arg-type]
            result = MetaTensor(warp(plain, mapping, **self.images.options(key))).copy_meta_from(moved)
        result.affine = moved.affine @ to_affine_nd(len(moved.affine) - 1, torch.as_tensor(back))
        return result
