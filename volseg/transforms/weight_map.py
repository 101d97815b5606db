"""The U-Net's weight map: classes balanced, and the gaps between neighbouring cells stressed.

w(x) = w_c(x) + w_0 · exp(-(d1(x) + d2(x))² / 2σ²), with d1 and d2 the distances to the nearest and the second nearest
cell. The second term lives on the background, and is 0 where there are fewer than two cells.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform

from volseg.errors import UsageError
from volseg.transforms.border_distance import two_nearest
from volseg.transforms.instances import components
from volseg.transforms.mapping import Images, per_axis

Weights = npt.NDArray[np.float32]
#: what the second term may lack where it is cut off, far from two cells
_NEGLIGIBLE = 1e-7


def border_weights(
    instances: npt.NDArray[Any], w0: float = 10.0, sigma: float = 5.0, spacing: Sequence[float] | None = None
) -> npt.NDArray[np.float64]:
    """The second term: w_0 · exp(-(d1 + d2)² / 2σ²) on the background, 0 inside cells.

    Distances run from voxel centre to voxel centre. Terms below 1e-7 are left out.

    Args:
        instances: 0 on the background, another number for each cell.
        w0: the weight where two cells all but touch.
        sigma: how fast it fades, in units of ``spacing`` (voxels without one).
        spacing: of the voxels along each axis.

    >>> border_weights(np.array([1, 1, 0, 2, 0]), w0=10.0, sigma=5.0).round(4).tolist()
    [0.0, 0.0, 9.2312, 0.0, 7.2615]
    """
    _check(w0, sigma)
    weights = np.zeros(instances.shape, dtype=np.float64)
    if instances.size == 0 or w0 <= _NEGLIGIBLE:
        return weights
    steps = (1.0,) * instances.ndim if spacing is None else per_axis(tuple(spacing), instances.ndim, "spacing")
    if not (np.min(steps) > 0 and np.isfinite(steps).all()):
        raise UsageError(f"the voxels' spacing must be positive, not {steps}")
    # With both distances at most this, nothing is lost: d1 + d2 beyond it makes a negligible term.
    radius = sigma * float(np.sqrt(2 * np.log(w0 / _NEGLIGIBLE)))
    first, second = two_nearest(instances, radius, steps)
    between = np.isfinite(second) & (instances == 0)
    weights[between] = w0 * np.exp(-((first[between] + second[between]) ** 2) / (2 * sigma**2))
    return weights


def _check(w0: float, sigma: float) -> None:
    if not (w0 >= 0 and sigma > 0 and np.isfinite([w0, sigma]).all()):
        raise UsageError(f"a weight map needs w0 of 0 or more and a positive sigma, not {w0} and {sigma}")


def class_weights(classes: npt.NDArray[Any], ignore: int | None = None) -> dict[int, float]:
    """The weight of each class present that makes classes count alike and the mean weight 1.

    >>> class_weights(np.array([0, 0, 0, 1]))
    {0: 0.6666666666666666, 1: 2.0}
    """
    values, counts = np.unique(classes[classes != ignore] if ignore is not None else classes, return_counts=True)
    return {int(v): float(counts.sum() / (len(values) * n)) for v, n in zip(values, counts, strict=True)}


def weight_map(
    label: npt.NDArray[Any],
    w0: float = 10.0,
    sigma: float = 5.0,
    *,
    source: Literal["instances", "components"] = "instances",
    weights: Mapping[int, float] | None = None,
    spacing: Sequence[float] | None = None,
    connectivity: int = 1,
    ignore: int | None = None,
) -> Weights:
    """The whole map, w_c and the second term.

    Args:
        label: an instance map, or classes whose connected components are the cells.
        w0: weight of the second term.
        sigma: its reach, in units of ``spacing`` (voxels without one).
        source: ``instances`` (classes are then background 0 and cell 1) or ``components``.
        weights: w_c by class, fixed for a cohort; without it the class frequencies of this case decide.
        spacing: of the voxels along each axis.
        connectivity: which neighbours join a component: 1 those across a face, ``label.ndim`` all.
        ignore: voxels of this value weigh 0, are no cell and count for no class.
    """
    left_out = label == ignore if ignore is not None else np.zeros(label.shape, dtype=bool)
    if source == "instances":
        instances = np.where(left_out, 0, label)
        classes = (instances != 0).astype(np.int64)
    elif source == "components":
        classes = label.astype(np.int64)
        instances = components(np.where(left_out, 0, label), connectivity)
    else:
        raise UsageError(f"cells come from 'instances' or from 'components', not from {source!r}")
    known = class_weights(classes[~left_out]) if weights is None else {int(k): float(v) for k, v in weights.items()}
    result = border_weights(instances, w0, sigma, spacing)
    for value in np.unique(classes[~left_out]).tolist():
        if value not in known:
            raise UsageError(f"class {value} has no weight", mend=f"weights are given for {sorted(known)}")
        result[classes == value] += known[value]
    result[left_out] = 0.0
    return result.astype(np.float32)


class BorderWeightMapd(MapTransform):  # type: ignore[misc]
    """Put the U-Net's weight map beside each label, as ``KEY_weight``.

    Args:
        keys: labels of one channel, 2-D or 3-D.
        w0: the weight where two cells all but touch.
        sigma: how fast it fades, in ``unit``.
        source: ``instances`` (the label numbers its cells) or ``components`` (cells are connected components of a
            class).
        class_weights: w_c by class, fixed for the cohort; by default the frequencies of each case decide.
        unit: ``voxel``, or ``mm`` by the affine's or ``voxel_size``'s spacing.
        voxel_size: mm per voxel, where the label carries no affine.
        connectivity: which neighbours join a component (1: faces only).
        ignore: voxels of this value weigh 0.
        output_keys: names instead of ``KEY_weight``.

    >>> case = BorderWeightMapd("label")({"label": torch.tensor([[[1, 1, 0, 2]]])})
    >>> case["label_weight"][0, 0, 2].item() > 9
    True
    """

    def __init__(
        self,
        keys: KeysCollection,
        w0: float = 10.0,
        sigma: float = 5.0,
        *,
        source: Literal["instances", "components"] = "instances",
        class_weights: Mapping[int, float] | Sequence[float] | None = None,
        unit: Literal["voxel", "mm"] = "voxel",
        voxel_size: Sequence[float] | None = None,
        connectivity: int = 1,
        ignore: int | None = None,
        output_keys: Sequence[str] | str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if unit not in ("voxel", "mm"):
            raise UsageError(f"unit is voxel or mm, not {unit!r}")
        names = [output_keys] if isinstance(output_keys, str) else output_keys
        names = [f"{key}_weight" for key in self.keys] if names is None else list(names)
        if len(names) != len(self.keys):
            raise UsageError(f"{len(names)} output_keys for {len(self.keys)} keys", mend="one for each key")
        self.names = dict(zip(self.keys, names, strict=True))
        if class_weights is not None and not isinstance(class_weights, Mapping):
            class_weights = dict(enumerate(class_weights))
        if class_weights is not None and not all(0 <= float(w) < np.inf for w in class_weights.values()):
            raise UsageError("class weights must be finite and at least 0")
        _check(w0, sigma)
        self.unit, self.voxel_size = unit, voxel_size
        self.images = Images(self.keys, "nearest")
        self.options: dict[str, Any] = {
            "w0": w0,
            "sigma": sigma,
            "source": source,
            # keys of a mapping from a JSON file are strings
            "weights": None if class_weights is None else {int(k): float(v) for k, v in class_weights.items()},
            "connectivity": connectivity,
            "ignore": ignore,
        }

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        case = dict(data)
        for key, label in self.images.tensors(case, self.key_iterator(case)).items():
            if len(label) != 1:
                raise UsageError(f"a weight map needs a label of one channel, {key} has {len(label)}")
            spacing = None
            if self.unit == "mm":
                shape, spacing = self.images.space(case, {key: label}, self.voxel_size)
                if spacing is None:
                    raise UsageError("a weight map in mm needs the voxels' size", mend="pass voxel_size")
                spacing = per_axis(spacing, len(shape), "voxel_size")
            plain = label.as_tensor() if isinstance(label, MetaTensor) else label
            made = weight_map(plain[0].cpu().numpy(), spacing=spacing, **self.options)
            case[self.names[key]] = self.images.like(torch.as_tensor(made[None], device=plain.device), label)
        return case
