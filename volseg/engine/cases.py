"""Cases as training and validation want them: read strictly, prepared once, kept by a cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from volseg.data.caching import Arrays, Cache, cache_key
from volseg.data.cohort import Case
from volseg.data.content import Content
from volseg.engine.classes import Classes
from volseg.errors import CohortError
from volseg.io import PLAUSIBLE_SPACING, Volume, read_labels, read_volume, require_pair
from volseg.io.reading import options_of_labels
from volseg.transforms.instances import separate
from volseg.transforms.preparation import Preparation
from volseg.transforms.randomness import generator
from volseg.transforms.weight_map import class_weights, weight_map

# so many voxels of each class are remembered as possible centres of a patch
_PLACES = 10_000


@dataclass(frozen=True)
class Weighting:
    """The weight map that is made for each case; arguments as in :func:`volseg.transforms.weight_map.weight_map`."""

    w0: float = 10.0
    sigma: float = 5.0
    unit: Literal["voxel", "mm"] = "voxel"
    class_weights: tuple[float, ...] | None = None
    separate_instances: bool = False

    def __post_init__(self) -> None:
        if self.class_weights is not None:  # configuration files give lists
            object.__setattr__(self, "class_weights", tuple(float(w) for w in self.class_weights))


@dataclass(frozen=True, eq=False)
class LearningCase:
    """A prepared case to take patches from.

    Attributes:
        name: the case's name.
        image: (channels, *spatial), float32.
        target: (1, *spatial), class numbers.
        weight: (1, *spatial), if the loss takes one.
        places: for each class that is there, voxels of it as flat indices.
        spacing: millimetres.
    """

    name: str
    image: Tensor
    target: Tensor
    weight: Tensor | None
    places: tuple[Tensor, ...]
    spacing: tuple[float, ...]

    @classmethod
    def of(cls, name: str, arrays: Arrays, device: torch.device | str = "cpu") -> LearningCase:
        """The case in a cache's arrays; the voxels move to ``device``."""
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items() if key != "spacing"}
        weight = tensors.get("weight")
        return cls(
            name,
            tensors["image"].to(device),
            tensors["target"].to(device),
            None if weight is None else weight.to(device),
            tuple(p for p in torch.split(tensors["places"], tensors["counts"].tolist()) if len(p)),
            tuple(float(mm) for mm in arrays["spacing"]),
        )


class CaseReader:
    """Reads cases and brings them to what the network learns from, or is judged by."""

    def __init__(
        self,
        preparation: Preparation,
        classes: Classes,
        weighting: Weighting | None = None,
        *,
        slices: bool = False,
        spacing_range: Sequence[float] = PLAUSIBLE_SPACING,
        reading: Mapping[str, Any] | None = None,
    ) -> None:
        """Say how.

        Args:
            preparation: orientation, spacing, intensities.
            classes: what the values of masks mean.
            weighting: the weight map of the loss.
            slices: whether the network sees slices along the last axis, and so does the weight map.
            spacing_range: voxel sizes in millimetres outside this range are refused.
            reading: what headers are to be taken for, options of :func:`volseg.io.read_volume`; none of them is learnt
                with, for who predicts does not know of them.
        """
        self.preparation = preparation
        self.classes = classes
        self.weighting = weighting
        self.slices = slices
        self.spacing_range = (float(spacing_range[0]), float(spacing_range[1]))
        self.reading = dict(reading or {})

    def learning(self, case: Case, contents: Mapping[str, Content], cache: Cache) -> Arrays:
        """What patches are taken from; prepared anew only if the cache does not know these files."""
        return cache.get(self._key("learning", case, contents), lambda: self._learning(case))

    def judged(self, case: Case, contents: Mapping[str, Content], cache: Cache) -> Arrays:
        """``image`` as the network sees it, and ``truth``, turned like it but with the voxels of the file.

        Where the way between the two is told in steps, they are ``back``; see :func:`volseg.inference.stream.decide`.
        """
        return cache.get(self._key("judged", case, contents), lambda: self._judged(case))

    def _read(self, case: Case) -> tuple[list[Volume], Volume]:
        if case.label is None:
            raise CohortError("has no label map to learn from", where=case.name)
        allowed, more = self.spacing_range, self.reading
        channels = [read_volume(path, frame=case.frame, spacing_range=allowed, **more) for path in case.images]
        truth = read_labels(case.label, spacing_range=allowed, **options_of_labels(more))
        require_pair(channels[0], truth)
        return channels, truth

    def _learning(self, case: Case) -> Arrays:
        channels, truth = self._read(case)
        prepared = self.preparation.image(channels)
        mask = self.preparation.labels(truth, prepared)[0].numpy()
        if self.weighting is not None and self.weighting.separate_instances:
            mask = self._separated(mask)
        target = self.classes.numbers(mask, where=case.label)
        arrays = {"image": prepared.image.numpy(), "target": target[None]}
        if self.weighting is not None:
            arrays["weight"] = self._weights(mask, target, prepared.grid.spacing)[None]
        if self.slices:  # a patch reads one of them: its voxels next to each other in memory
            arrays = {key: np.asfortranarray(array) for key, array in arrays.items()}
        arrays["places"], arrays["counts"] = places(target, self.classes.count, case.name)
        arrays["spacing"] = np.asarray(prepared.grid.spacing)
        return arrays

    def _judged(self, case: Case) -> Arrays:
        channels, truth = self._read(case)
        prepared = self.preparation.image(channels)
        turned = np.ascontiguousarray(prepared.turn.apply(truth.array))
        arrays = {"image": prepared.image.numpy(), "truth": self.classes.numbers(turned, where=case.label)}
        if prepared.back is not None:
            arrays["back"] = np.asarray(prepared.back)
        return arrays

    def _separated(self, mask: npt.NDArray[Any]) -> npt.NDArray[Any]:
        ignore = self.classes.ignore
        if not self.slices:
            return separate(mask, ignore=ignore)
        return np.stack([separate(mask[..., k], ignore=ignore) for k in range(mask.shape[-1])], axis=-1)

    def _weights(
        self, mask: npt.NDArray[Any], target: npt.NDArray[Any], spacing: Sequence[float]
    ) -> npt.NDArray[np.float32]:
        chosen = self.weighting
        assert chosen is not None
        whole, ignored = self.classes, self.classes.ignored if self.classes.ignore is not None else None
        # frequencies are the case's, also where the map itself is made slice by slice
        known = class_weights(target, ignored)
        if chosen.class_weights is not None:
            known = dict(enumerate(chosen.class_weights))

        def make(part: npt.NDArray[Any], mm: Sequence[float]) -> npt.NDArray[np.float32]:
            return weight_map(
                part,
                chosen.w0,
                chosen.sigma,
                source="instances" if whole.instances else "components",
                weights=known,
                spacing=mm if chosen.unit == "mm" else None,
                ignore=whole.ignore if whole.instances else ignored,
            )

        source = mask if whole.instances else target
        if not self.slices:
            return make(source, spacing)
        return np.stack([make(source[..., k], spacing[:-1]) for k in range(source.shape[-1])], axis=-1)

    def _key(self, what: str, case: Case, contents: Mapping[str, Content]) -> str:
        settings = {
            "what": what,
            "version": 2,  # to be raised when preparing changes what comes out
            "preparation": asdict(self.preparation),
            "classes": [self.classes.values, self.classes.ignore, self.classes.instances],
            "weighting": None if self.weighting is None or what == "judged" else asdict(self.weighting),
            "slices": self.slices,
            "frame": case.frame,
            "spacing_range": self.spacing_range,
            **({"reading": self.reading} if self.reading else {}),
        }
        return cache_key({part: content.sha256 for part, content in contents.items()}, settings)


def places(
    target: npt.NDArray[Any], classes: int, name: str, most: int = _PLACES
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Flat indices of voxels of each structure, at most ``most`` of each, and how many of each there are.

    >>> places(np.array([0, 2, 2, 1]), 3, "case")
    (array([3, 1, 2]), array([1, 2]))
    """
    flat = target.reshape(-1)
    found = []
    for number in range(1, classes):
        here = np.flatnonzero(flat == number)
        if len(here) > most:
            here = np.sort(generator(0, 0, name, f"places of {number}").choice(here, most, replace=False))
        found.append(here.astype(np.int64))
    counts = np.array([len(here) for here in found], dtype=np.int64)
    return np.concatenate([np.zeros(0, dtype=np.int64), *found]), counts
