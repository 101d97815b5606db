"""Random changes of grey values: drawn in one place, for a case or for each sample of a batch."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, RandomizableTransform

from volseg.errors import UsageError
from volseg.transforms import intensity
from volseg.transforms.mapping import Images
from volseg.transforms.randomness import Random

Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class IntensityChange:
    """What was drawn for one sample. None means that part is left out; the parts act in this order."""

    bias: np.ndarray[Any, np.dtype[np.float64]] | None = None
    blur: tuple[float, ...] | None = None
    low_resolution: tuple[float, ...] | None = None
    noise: float | None = None
    noise_kind: Literal["gaussian", "rician"] = "gaussian"
    noise_seed: int = 0
    brightness: float | None = None
    contrast: float | None = None
    gamma: float | None = None
    gamma_inverted: bool = False


def change_batch(batch: torch.Tensor, changes: Sequence[IntensityChange]) -> torch.Tensor:
    """A batch (B, C, *spatial) of floats with each sample changed as drawn; samples left alone keep their bits.

    >>> images = torch.zeros(2, 1, 4, 4)
    >>> change_batch(images, [IntensityChange(), IntensityChange(brightness=1.0)]).mean(dim=(1, 2, 3)).tolist()
    [0.0, 1.0]
    """
    if len(batch) != len(changes):
        raise UsageError(f"{len(batch)} samples need as many changes, not {len(changes)}")
    if not batch.is_floating_point():
        raise UsageError(f"grey values are changed as floats, not as {batch.dtype}", mend="scale the image first")
    half = batch.dtype in (torch.float16, torch.bfloat16)
    result = batch.float() if half else batch.clone()

    def part(
        chosen: str, change: Callable[[torch.Tensor, list[IntensityChange]], torch.Tensor], kind: Any = None
    ) -> None:
        rows = [
            row
            for row, c in enumerate(changes)
            if getattr(c, chosen) is not None and (kind is None or c.noise_kind == kind)
        ]
        if rows:
            index = torch.as_tensor(rows, device=result.device)
            result[index] = change(result[index], [changes[row] for row in rows])

    part("bias", lambda x, of: intensity.bias_field(x, [c.bias for c in of if c.bias is not None]))
    part("blur", lambda x, of: intensity.blur(x, [c.blur or 0.0 for c in of]))
    part("low_resolution", lambda x, of: intensity.low_resolution(x, [c.low_resolution or 1.0 for c in of]))
    for kind, add in (("gaussian", intensity.gaussian_noise), ("rician", intensity.rician_noise)):
        part("noise", lambda x, of, add=add: add(x, [c.noise or 0.0 for c in of], [c.noise_seed for c in of]), kind)  # type: ignore[misc]
    part("brightness", lambda x, of: intensity.brightness(x, [c.brightness or 0.0 for c in of]))
    part("contrast", lambda x, of: intensity.contrast(x, [1.0 if c.contrast is None else c.contrast for c in of]))
    part(
        "gamma",
        lambda x, of: intensity.gamma(
            x, [1.0 if c.gamma is None else c.gamma for c in of], [c.gamma_inverted for c in of]
        ),
    )
    return result.to(batch.dtype)


@dataclass(frozen=True)
class Intensities:
    """How changes of grey values are drawn. A part happens as often as its ``…_prob`` says: by default never.

    Args:
        bias: largest weight of a Legendre polynomial in the logarithm of the bias field.
        bias_prob: how often there is a bias field.
        bias_degree: the polynomials' highest degree along each axis.
        blur: (least, largest) sigma, in voxels.
        blur_prob: how often.
        low_resolution: (least, largest) share of the voxels along each axis.
        low_resolution_prob: how often.
        axes: axes that are blurred and lowered in resolution; all by default (leave out an axis of thick slices).
        noise: (least, largest) standard deviation, in the image's units.
        noise_prob: how often.
        noise_kind: ``gaussian`` or ``rician``.
        brightness: (least, largest) constant added, in the image's units.
        brightness_prob: how often.
        contrast: (least, largest) factor about the mean.
        contrast_prob: how often.
        gamma: (least, largest) exponent.
        gamma_prob: how often.
        gamma_inverted_prob: how many of these act on the negative image.
    """

    bias: float = 0.3
    bias_prob: float = 0.0
    bias_degree: int = 3
    blur: Range = (0.5, 1.0)
    blur_prob: float = 0.0
    low_resolution: Range = (0.5, 1.0)
    low_resolution_prob: float = 0.0
    axes: tuple[int, ...] | None = None
    noise: Range = (0.0, 0.1)
    noise_prob: float = 0.0
    noise_kind: Literal["gaussian", "rician"] = "gaussian"
    brightness: Range = (-0.2, 0.2)
    brightness_prob: float = 0.0
    contrast: Range = (0.75, 1.25)
    contrast_prob: float = 0.0
    gamma: Range = (0.7, 1.5)
    gamma_prob: float = 0.0
    gamma_inverted_prob: float = 0.0

    def __post_init__(self) -> None:
        for name in ("blur", "low_resolution", "noise", "brightness", "contrast", "gamma"):
            limits = tuple(getattr(self, name))
            if len(limits) != 2 or not limits[0] <= limits[1]:
                raise UsageError(f"{name} is (least, largest), not {limits}")
            if name != "brightness" and (limits[0] < 0 or (name in ("low_resolution", "gamma") and limits[0] == 0)):
                raise UsageError(f"{name} must not reach below 0, as in {limits}")
            object.__setattr__(self, name, limits)
        if self.axes is not None:
            object.__setattr__(self, "axes", tuple(self.axes))
        if self.low_resolution[1] > 1:
            raise UsageError(f"low_resolution is a share of the voxels, at most 1, not {self.low_resolution[1]}")
        for name in self.__dataclass_fields__:
            if name.endswith("_prob") and not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} lies between 0 and 1, not at {getattr(self, name)}")
        if self.noise_kind not in ("gaussian", "rician"):
            raise UsageError(f"noise is gaussian or rician, not {self.noise_kind!r}")

    def draw(self, random: Random, ndim: int) -> IntensityChange:
        """One sample's change.

        >>> Intensities(contrast=(0.5, 0.5), contrast_prob=1.0).draw(np.random.default_rng(0), 2).contrast
        0.5
        """
        chosen = range(ndim) if self.axes is None else self.axes
        if any(not 0 <= axis < ndim for axis in chosen):
            raise UsageError(f"axes {tuple(chosen)} are not all among the {ndim} of the image")

        def maybe(name: str) -> float | None:
            happens = random.uniform() < getattr(self, f"{name}_prob")
            return float(random.uniform(*getattr(self, name))) if happens else None

        def along(value: float | None, others: float) -> tuple[float, ...] | None:
            return None if value is None else tuple(value if axis in chosen else others for axis in range(ndim))

        bias = None
        if random.uniform() < self.bias_prob:
            bias = np.asarray(random.uniform(-self.bias, self.bias, (self.bias_degree + 1,) * ndim))
            bias[sum(np.indices(bias.shape)) > self.bias_degree] = 0.0
            bias.flat[0] = 0.0  # the field's mean is brightness, not bias
        return IntensityChange(
            bias=bias,
            blur=along(maybe("blur"), 0.0),
            low_resolution=along(maybe("low_resolution"), 1.0),
            noise=maybe("noise"),
            noise_kind=self.noise_kind,
            noise_seed=int(random.uniform(0, 2**31)),
            brightness=maybe("brightness"),
            contrast=maybe("contrast"),
            gamma=maybe("gamma"),
            gamma_inverted=bool(random.uniform() < self.gamma_inverted_prob),
        )


class RandIntensityd(RandomizableTransform, MapTransform):  # type: ignore[misc]
    """Change the grey values of one case, all keys alike; labels are not among the keys.

    Args:
        keys: channel-first images of floats.
        prob: how often anything happens.
        options: what is drawn (see :class:`Intensities`).

    >>> change = RandIntensityd("image", noise_prob=1.0, gamma_prob=0.5).set_random_state(seed=0)
    >>> change({"image": torch.zeros(1, 8, 8)})["image"].std().item() > 0
    True
    """

    def __init__(
        self, keys: KeysCollection, prob: float = 1.0, *, allow_missing_keys: bool = False, **options: Any
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        RandomizableTransform.__init__(self, prob)
        self.images = Images(self.keys, "linear")
        self.intensities = Intensities(**options)
        self.drawn: IntensityChange | None = None

    def randomize(self, ndim: int) -> None:
        """Draw the next change, or none."""
        super().randomize(None)
        self.drawn = self.intensities.draw(self.R, ndim) if self._do_transform else None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        case = dict(data)
        tensors = self.images.tensors(case, self.key_iterator(case))
        self.randomize(max((tensor.ndim - 1 for tensor in tensors.values()), default=0))
        for key, tensor in tensors.items():
            case[key] = tensor
            if self.drawn is not None:
                plain = tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor
                case[key] = self.images.like(change_batch(plain[None], [self.drawn])[0], tensor)
        return case
