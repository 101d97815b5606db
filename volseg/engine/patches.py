"""Training patches: where they are taken, how they move, one resampling from the whole image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from volseg.engine.cases import LearningCase
from volseg.engine.motions import Motions
from volseg.engine.threads import threads_for
from volseg.errors import UsageError
from volseg.inference.mirrored import read_mirrored
from volseg.inference.tiling import Box
from volseg.transforms.coordinates import CoordinateMap
from volseg.transforms.motion import Motion
from volseg.transforms.randomness import generator
from volseg.transforms.resample import warp

# beyond so many voxels the spline coefficients of a cubic interpolation no longer know of each other
_CUBIC_REACH = 16


class Draw(NamedTuple):
    """What makes a patch: the epoch, the case's index, and the how-manieth patch of the case in the epoch it is."""

    epoch: int
    case: int
    slot: int

    @property
    def operation(self) -> str:
        """What random streams of this draw are told apart by, beside the seed, the epoch and the case."""
        return f"patch {self.slot}"


class PatchDataset(Dataset[dict[str, Any]]):
    """Patches by :class:`Draw`: a pure function of the seed and the draw.

    A patch that is turned, scaled or deformed is resampled once, straight from the whole image, so that it shows what
    really lies around it; one that is merely mirrored or turned by right angles is sliced, and its voxels are the
    image's own. Where a patch reaches beyond the image, the image is mirrored.
    """

    def __init__(
        self,
        cases: Sequence[LearningCase],
        patch: Sequence[int],
        *,
        lost: Sequence[int] | None = None,
        foreground: float = 0.33,
        motions: Motions | None = None,
        image_mode: str = "linear",
        label_mode: str = "nearest",
        outside: str = "reflect",
        seed: int = 0,
    ) -> None:
        """Say what patches are like.

        Args:
            cases: to take them from.
            patch: their size; with one axis fewer than the cases have, slices along the last axis are taken.
            lost: what the network loses on each side; that much of a patch may lie outside the image.
            foreground: share of the patches centred on a voxel of a structure, each structure of the case as often.
            motions: how they move.
            image_mode: interpolation of images.
            label_mode: interpolation of class numbers, ``nearest`` or ``probability``.
            outside: what lies beyond the image where a patch is resampled.
            seed: the seed of everything drawn here.
        """
        self.cases = list(cases)
        self.patch = tuple(int(n) for n in patch)
        self.lost = tuple(int(n) for n in lost) if lost is not None else (0,) * len(self.patch)
        self.foreground = foreground
        self.motions = motions or Motions()
        self.modes = {"image": image_mode, "label": label_mode, "weight": "linear"}
        self.outside = outside
        self.seed = seed
        for case in self.cases:
            if case.image.ndim - 1 not in (len(self.patch), len(self.patch) + 1):
                raise UsageError(
                    f"patches of {'x'.join(map(str, self.patch))} cannot be taken from {case.image.ndim - 1}-D images",
                    where=case.name,
                )

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, draw: Draw | tuple[int, int, int]) -> dict[str, Any]:
        with threads_for(math.prod(self.patch)):
            return self._drawn(Draw(*draw))

    def _drawn(self, draw: Draw) -> dict[str, Any]:
        case = self.cases[draw.case]
        random = generator(self.seed, draw.epoch, case.name, draw.operation)
        tensors = {"image": case.image, "label": case.target}
        if case.weight is not None:
            tensors["weight"] = case.weight
        shape, spacing = tuple(case.image.shape[1:]), case.spacing
        centre = self._centre(case, shape, random)
        if len(shape) > len(self.patch):
            depth = int(random.integers(shape[-1])) if centre is None else centre[-1]
            tensors = {key: tensor[..., depth] for key, tensor in tensors.items()}
            shape, spacing, centre = shape[:-1], spacing[:-1], None if centre is None else centre[:-1]
        start = start_of(self.patch, self.lost, shape, centre, random)
        motion = self.motions.draw(random, self.patch, spacing)
        mapping = None
        if not motion.is_rigid_on_the_grid:
            mapping = motion.coordinate_map(self.patch, spacing).then(moved(start))
        result = {key: self._take(key, tensor, start, motion, mapping) for key, tensor in tensors.items()}
        return {**result, "case": case.name, "epoch": draw.epoch, "slot": draw.slot}

    def _centre(
        self, case: LearningCase, shape: tuple[int, ...], random: np.random.Generator
    ) -> tuple[int, ...] | None:
        """A voxel of one of the structures, or none for a patch from anywhere."""
        if random.uniform() >= self.foreground or not case.places:
            return None
        voxels = case.places[int(random.integers(len(case.places)))]
        flat = int(voxels[int(random.integers(len(voxels)))])
        return tuple(int(i) for i in np.unravel_index(flat, shape))

    def _take(
        self, key: str, tensor: Tensor, start: tuple[int, ...], motion: Motion, mapping: CoordinateMap | None
    ) -> Tensor:
        if mapping is None:
            stop = tuple(a + n for a, n in zip(start, self.patch, strict=True))
            return motion.apply(read_mirrored(tensor, Box(start, stop))).clone()
        tensor, mapping = narrowed(tensor, mapping, self.patch, self.modes[key])
        return warp(tensor, mapping, mode=self.modes[key], padding=self.outside, shape=self.patch)


def start_of(
    patch: Sequence[int],
    lost: Sequence[int],
    shape: Sequence[int],
    centre: Sequence[int] | None,
    random: np.random.Generator,
) -> tuple[int, ...]:
    """Where a patch starts, so that what the network gives for it lies inside the image, or around all of it.

    >>> start_of((4,), (0,), (10,), (9,), np.random.default_rng(0))
    (6,)
    """
    result = []
    for axis, (size, margin, n) in enumerate(zip(patch, lost, shape, strict=True)):
        room = n - (size - 2 * margin)
        if room <= 0:
            first = room // 2
        elif centre is None:
            first = int(random.integers(room + 1))
        else:
            first = min(max(int(centre[axis]) - (size - 2 * margin) // 2, 0), room)
        result.append(first - margin)
    return tuple(result)


def moved(start: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The matrix from a patch's voxels to the image's."""
    matrix = np.eye(len(start) + 1)
    matrix[:-1, -1] = start
    return matrix


def narrowed(tensor: Tensor, mapping: CoordinateMap, patch: Sequence[int], mode: str) -> tuple[Tensor, CoordinateMap]:
    """The part of an image that a map reads, for interpolations that would otherwise work on all of it."""
    if mode not in ("cubic", "probability"):
        return tensor, mapping
    lower, upper = mapping.bounds(patch)
    low, high = np.floor(lower).astype(int) - _CUBIC_REACH, np.ceil(upper).astype(int) + _CUBIC_REACH + 1
    shape = np.asarray(tensor.shape[1:])
    if (low < 0).any() or (high > shape).any():
        return tensor, mapping  # what lies outside depends on where the border is
    inside = (slice(None), *(slice(a, b) for a, b in zip(low.tolist(), high.tolist(), strict=True)))
    return tensor[inside], mapping.then(moved((-low).tolist()))


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """A batch: tensors stacked, everything else in lists."""
    return {
        key: torch.stack([sample[key] for sample in samples])
        if isinstance(value, Tensor)
        else [sample[key] for sample in samples]
        for key, value in samples[0].items()
    }
