"""What the intensities of images are like, inside the structures and over the whole: few numbers that can be pooled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

#: the percentiles that are kept of each case: dense where clipping looks
LEVELS = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.9, 100.0)


@dataclass(frozen=True)
class Intensities:
    """Mean, standard deviation and percentiles (at :data:`LEVELS`) of some voxels."""

    mean: float
    std: float
    percentiles: tuple[float, ...]

    @classmethod
    def of(cls, values: npt.NDArray[Any]) -> Intensities | None:
        """Of these values; none where there are none.

        >>> Intensities.of(np.arange(101)).low
        0.5
        """
        if not values.size:
            return None
        wide = values.astype(np.float64)
        found = np.percentile(wide, LEVELS)
        return cls(float(wide.mean()), float(wide.std()), tuple(float(v) for v in found))

    @property
    def low(self) -> float:
        """The 0.5 percentile."""
        return self.percentiles[LEVELS.index(0.5)]

    @property
    def high(self) -> float:
        """The 99.5 percentile."""
        return self.percentiles[LEVELS.index(99.5)]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class ChannelFingerprint:
    """One channel of one case.

    Attributes:
        whole: every voxel that was measured.
        foreground: those inside the structures; none where there is no label map.
        integers: whether all intensities are whole numbers.
        zeros: the share of voxels that are exactly 0.
        padding: the value that stands for "not measured", if one was found.
    """

    whole: Intensities
    foreground: Intensities | None
    integers: bool
    zeros: float
    padding: float | None = None

    @classmethod
    def of(
        cls, image: npt.NDArray[Any], inside: npt.NDArray[np.bool_] | None, padding: float | None = None
    ) -> ChannelFingerprint:
        """Of a channel's voxels; ``inside`` is where the structures are."""
        measured = image if padding is None else image[image != padding]
        everything = Intensities.of(measured if measured.size else image)
        assert everything is not None  # an image has voxels
        return cls(
            everything,
            None if inside is None else Intensities.of(image[inside]),
            bool(np.issubdtype(image.dtype, np.integer) or (image == np.rint(image)).all()),
            float(np.mean(image == 0)),
            padding,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def pooled(parts: Sequence[Intensities]) -> Intensities | None:
    """The intensities of several cases together, each case counting the same, whatever its size.

    The distribution is the mean of the cases' own, between their percentiles taken as straight lines.

    >>> round(pooled([Intensities.of(np.arange(101)), Intensities.of(np.arange(101) + 101)]).percentiles[8])
    101
    """
    if not parts:
        return None
    mean = float(np.mean([part.mean for part in parts]))
    variance = float(np.mean([part.std**2 + part.mean**2 for part in parts])) - mean**2
    points = np.unique(np.concatenate([part.percentiles for part in parts]))
    shares = np.mean([_share_below(points, part) for part in parts], axis=0)
    found = np.interp(np.asarray(LEVELS) / 100, shares, points)
    return Intensities(mean, max(0.0, variance) ** 0.5, tuple(float(v) for v in found))


def _share_below(points: npt.NDArray[np.float64], part: Intensities) -> npt.NDArray[np.float64]:
    """The share of a case's values below each point."""
    values, last = np.unique(np.asarray(part.percentiles)[::-1], return_index=True)
    levels = (np.asarray(LEVELS)[::-1] / 100)[last]  # where several percentiles are one value, the highest
    return np.interp(points, values, levels, left=0.0, right=1.0)
