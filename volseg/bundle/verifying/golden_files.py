"""Which files of a bundle are its acceptance case, and how far a mask may differ from the one that was kept."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from volseg.errors import BundleError

MASK = "golden/mask.nii"
_IMAGE = re.compile(r"golden/image(_[0-9]{1,3})?\.nii", re.ASCII)
#: of the voxels that either mask gives to a structure, the share that may differ: other processors round differently
TOLERANCE = 0.005
#: a bundle that asks for more would pass with any weights
_LOOSEST = 0.02


@dataclass(frozen=True)
class GoldenFiles:
    """A small image and the mask that the bundle gives for it.

    Attributes:
        images: a path for each channel.
        mask: the path of the mask.
        tolerance: the share of voxels in structures whose label may differ on other hardware.
    """

    images: tuple[str, ...]
    mask: str = MASK
    tolerance: float = TOLERANCE

    @classmethod
    def among(cls, paths: Iterable[str]) -> GoldenFiles | None:
        """The acceptance case among a bundle's files, if there is one.

        >>> GoldenFiles.among(["LICENSE", "golden/mask.nii", "golden/image.nii"]).images
        ('golden/image.nii',)
        """
        here = sorted(paths)
        images = tuple(path for path in here if _IMAGE.fullmatch(path))
        return cls(images) if images and MASK in here else None

    @classmethod
    def from_dict(cls, data: Any, files: Iterable[str], where: str) -> GoldenFiles:
        """What a manifest says of it.

        Raises:
            BundleError: if that is not to be relied on.
        """
        good = isinstance(data, dict) and set(data) == {"images", "mask", "tolerance"}
        found = cls.among(files)
        if not good or found is None or data["images"] != list(found.images) or data["mask"] != found.mask:
            raise BundleError("the manifest's acceptance case is not among its files", where=where)
        tolerance = data["tolerance"]
        if type(tolerance) is not float or not math.isfinite(tolerance) or not 0 <= tolerance <= _LOOSEST:
            raise BundleError(
                f"the manifest lets {tolerance!a} of the labels differ; {_LOOSEST} is the most", where=where
            )
        return cls(found.images, found.mask, tolerance)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"images": list(self.images), "mask": self.mask, "tolerance": self.tolerance}


def image_paths(channels: int) -> tuple[str, ...]:
    """Where the images of so many channels lie.

    >>> image_paths(1), image_paths(2)
    (('golden/image.nii',), ('golden/image_001.nii', 'golden/image_002.nii'))
    """
    if channels == 1:
        return ("golden/image.nii",)
    return tuple(f"golden/image_{number:03d}.nii" for number in range(1, channels + 1))
