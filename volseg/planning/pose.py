"""Whether the anatomy lies one way in a plane: asked of the direction in which one structure lies from another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from volseg.data.fingerprint import Fingerprint
from volseg.planning.space import Space
from volseg.planning.symmetry import pairs_of

# middles that are nearer to each other than this share of the structures' extents have no direction
_APART = 0.3
# nearly all cases: their middles must be apart, and their directions make the spread
_NEARLY_ALL = 0.95
# degrees; where directions differ by more the anatomy does not lie one way
_ONE_WAY = 75.0


@dataclass(frozen=True)
class Pose:
    """One structure lies from another in one direction, give or take.

    Attributes:
        first: the structure's name.
        second: that of the one it is seen from.
        spread: degrees by which the direction differs from its mean, in nearly all cases.
    """

    first: str
    second: str
    spread: float

    def __str__(self) -> str:
        return (
            f"{self.second} lies in one direction from {self.first}, within {self.spread:.0f} degrees"
            f" in {_NEARLY_ALL:.0%} of the cases"
        )


def pose_of(found: Fingerprint, space: Space, names: Mapping[int, str]) -> Pose | None:
    """The two structures whose direction from each other differs least; none if it differs much, or is no plane's."""
    if not space.is_plane:
        return None
    poses = []
    for first, second in combinations(sorted(names), 2):
        pairs = pairs_of(found.labelled, first, second)
        if len(pairs) < 2:
            continue
        plane = list(space.order[:2])
        apart = np.array([np.subtract(b.centre, a.centre)[plane] for a, b in pairs])
        extent = np.array([np.add(a.extent, b.extent)[plane].mean() / 2 for a, b in pairs])
        if np.mean(np.linalg.norm(apart, axis=1) >= _APART * extent) >= _NEARLY_ALL:
            poses.append(Pose(names[first], names[second], _spread(np.arctan2(apart[:, 1], apart[:, 0]))))
    best = min(poses, key=lambda pose: pose.spread, default=None)
    return best if best is not None and best.spread <= _ONE_WAY else None


def _spread(angles: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """Degrees from the mean direction that nearly all angles stay within."""
    directions = np.exp(1j * angles)
    mean = directions.mean()
    if abs(mean) < 1e-6:
        return 180.0
    return float(np.quantile(np.degrees(np.abs(np.angle(directions / mean))), _NEARLY_ALL))
