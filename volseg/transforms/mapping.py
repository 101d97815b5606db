"""What every spatial dictionary transform does with its keys: tensors in, one shape checked, options per key."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.meta_obj import get_track_meta
from monai.utils import convert_to_tensor

from volseg.errors import GridMismatch, UsageError
from volseg.transforms.coordinates import CoordinateMap, DenseMap
from volseg.transforms.resample import mode_named, padding_named, warp

# types that torch can hold and do little else with; arrays of them become the same
_WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}


def per_axis(value: Any, ndim: int, name: str) -> tuple[Any, ...]:
    """One value per axis, a single one serving all.

    >>> per_axis(3, 2, "grid")
    (3, 3)
    """
    values = tuple(value) if isinstance(value, Sequence) or hasattr(value, "__len__") else (value,) * ndim
    if len(values) != ndim:
        raise UsageError(f"{name} has {len(values)} values and the image {ndim} axes: {name}={values}")
    return values


class Images:
    """The images and labels of a case, by key, with how each is resampled."""

    def __init__(
        self,
        keys: Sequence[Hashable],
        mode: Sequence[str] | str,
        padding: Sequence[str] | str = "reflect",
        fill: Sequence[float] | float = 0.0,
    ) -> None:
        self.mode = dict(zip(keys, map(mode_named, _per_key(mode, keys, "mode")), strict=True))
        self.padding = dict(zip(keys, map(padding_named, _per_key(padding, keys, "padding")), strict=True))
        self.fill = dict(zip(keys, map(float, _per_key(fill, keys, "fill")), strict=True))

    def tensors(self, case: Mapping[Hashable, Any], keys: Iterable[Hashable]) -> dict[Hashable, torch.Tensor]:
        """The keys' values as tensors, with metadata where MONAI tracks it."""
        tensors = {key: convert_to_tensor(case[key], track_meta=get_track_meta()) for key in keys}
        return {key: tensor.to(_WIDER.get(tensor.dtype, tensor.dtype)) for key, tensor in tensors.items()}

    def space(
        self,
        case: Mapping[Hashable, Any],
        tensors: Mapping[Hashable, torch.Tensor],
        voxel_size: Sequence[float] | None,
    ) -> tuple[tuple[int, ...], tuple[float, ...] | None]:
        """The one spatial shape of all keys, and their voxel size in mm where they came with an affine."""
        shapes = {key: tuple(tensor.shape[1:]) for key, tensor in tensors.items()}
        if len(set(shapes.values())) > 1:
            told = ", ".join(f"{key} {shape}" for key, shape in shapes.items())
            raise GridMismatch(f"images and labels must have one shape to be moved together: {told}")
        if not shapes:
            raise UsageError(f"the case holds none of the keys {', '.join(map(str, self.mode))}")
        shape = next(iter(shapes.values()))
        if len(shape) not in (2, 3):
            raise UsageError(
                f"an image of {len(shape)} spatial axes cannot be moved",
                mend="tensors are (channels, *spatial), 2-D or 3-D",
            )
        if voxel_size is not None:
            sizes = tuple(float(mm) for mm in per_axis(voxel_size, len(shape), "voxel_size"))
            if not (min(sizes) > 0 and np.isfinite(sizes).all()):
                raise UsageError(f"a voxel's size must be positive, not {sizes}")
            return shape, sizes
        for key in tensors:
            if isinstance(case[key], MetaTensor):  # an array turned tensor has an affine of ones that means nothing
                columns = np.asarray(case[key].affine)[:-1, : len(shape)]  # a 2-D image may carry a 4x4 affine
                return shape, tuple(np.linalg.norm(columns, axis=0).tolist())
        return shape, None

    def options(self, key: Hashable) -> dict[str, Any]:
        """How a key is resampled, as arguments of :func:`volseg.transforms.warp`."""
        return {"mode": self.mode[key], "padding": self.padding[key], "fill": self.fill[key]}

    def warped(self, key: Hashable, tensor: torch.Tensor, mapping: CoordinateMap | DenseMap) -> torch.Tensor:
        """One key's tensor through a map, its metadata kept."""
        plain = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
        moved = warp(plain, mapping, **self.options(key))
        return self.like(moved, tensor)

    @staticmethod
    def like(made: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """A plain tensor with the metadata of the one that it was made from."""
        return MetaTensor(made).copy_meta_from(source) if isinstance(source, MetaTensor) else made


def _per_key(value: Any, keys: Sequence[Hashable], name: str) -> tuple[Any, ...]:
    values = (value,) * len(keys) if isinstance(value, str) or not isinstance(value, Sequence) else tuple(value)
    if len(values) != len(keys):
        raise UsageError(
            f"{len(values)} values of {name} for {len(keys)} keys", mend="one for each key, or one for all"
        )
    return values
