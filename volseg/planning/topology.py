"""The network's levels: how a patch is halved, which axes wait for others, how wide each level is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

from volseg.planning.choice import Choice
from volseg.planning.space import Space

# a level is left when halving would leave fewer positions than this along every axis
_SMALLEST = {2: 8, 3: 4}
_MOST_LEVELS, _WIDEST = 5, 256
# an axis joins in when its voxels are no more than so many times as long as the shortest
_AS_LONG = 2.0


@dataclass(frozen=True)
class Topology:
    """Patch, strides and kernels of a network that fit each other; one entry per network axis.

    >>> Topology.of((35, 53, 36), (1.0, 1.0, 1.0)).patch
    (32, 56, 32)
    """

    patch: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, wanted: Sequence[int], voxel: Sequence[float]) -> Topology:
        """The topology for a patch of about this size.

        Args:
            wanted: voxels along each axis.
            voxel: millimetres.
        """
        dims = len(wanted)
        size, length = [max(1, n) for n in wanted], list(voxel)
        strides: list[tuple[int, ...]] = []
        kernels: list[tuple[int, ...]] = []
        while True:
            shortest = min(length)
            kernels.append(tuple(3 if mm < _AS_LONG * shortest else 1 for mm in length))
            large = [n >= 2 * _SMALLEST[dims] for n in size]
            if not any(large):
                large = [n >= 4 for n in size] if not strides else large  # at least two levels, whatever the size
            shortest = min((mm for mm, room in zip(length, large, strict=True) if room), default=shortest)
            stride = tuple(
                2 if room and mm < _AS_LONG * shortest else 1 for room, mm in zip(large, length, strict=True)
            )
            if len(kernels) == _MOST_LEVELS or (strides and prod(stride) == 1):
                break
            strides.append(stride)
            size = [n / s for n, s in zip(size, stride, strict=True)]  # type: ignore[misc]
            length = [mm * s for mm, s in zip(length, stride, strict=True)]
        total = [prod(s[axis] for s in strides) for axis in range(dims)]
        # to the nearest that can be halved so often: where an image is a little larger, parts of it at random places
        # teach as much as the whole, and what a patch has more than the image is computed for nothing
        patch = tuple(max(1, (2 * n + t - 1) // (2 * t)) * t for n, t in zip(wanted, total, strict=True))
        return cls(patch, tuple(strides), tuple(kernels))

    @property
    def levels(self) -> int:
        """How many."""
        return len(self.kernels)

    @property
    def voxels(self) -> int:
        """Of a patch."""
        return prod(self.patch)

    def channels(self, width: int) -> tuple[int, ...]:
        """The width of each level: doubled from level to level, up to a bound."""
        return tuple(min(_WIDEST, width * 2**level) for level in range(self.levels))


def wanted_patch(space: Space, object_diameter: float | None) -> tuple[tuple[int, ...], str]:
    """The patch that shows enough, before time and memory are asked; and why.

    Args:
        space: where.
        object_diameter: in voxels, where the label maps tell objects apart or the structure is in many parts.
    """
    shape, reach = space.shape[: space.dims], space.reach[: space.dims]
    if object_diameter is not None:
        side = round(max(128.0, 6 * object_diameter))
        return tuple(
            min(n, side) for n in shape
        ), "six objects across, or 128 voxels: what is further away does not matter"
    patch = []
    for axis, (n, far) in enumerate(zip(shape, reach, strict=True)):
        across = space.thick and axis == 2
        patch.append(n if across else min(n, max(2 * far, 32)))
    if all(p >= 0.85 * n for p, n in zip(patch, shape, strict=True)):
        return shape, "about the typical image"
    told = "x".join(map(str, reach))
    return tuple(patch), f"twice as far as the structures reach together ({told} voxels), or all of the image"


def shrunk(patch: Sequence[int], most: int, *, keep: int | None = None) -> tuple[int, ...]:
    """A patch of at most so many voxels, about the same in shape; the axis ``keep`` (thick slices) stays.

    >>> shrunk((128, 128, 64), 131072)
    (64, 64, 32)
    """
    factor = (most / prod(patch)) ** (1 / (len(patch) - (keep is not None)))
    if factor >= 1:
        return tuple(patch)
    return tuple(n if axis == keep else max(min(n, 8), int(n * factor)) for axis, n in enumerate(patch))


def topology_choices(topology: Topology, space: Space) -> Iterator[Choice]:
    """Strides and kernels, where they are not the plain ones."""
    plain_kernels = all(set(kernel) == {3} for kernel in topology.kernels)
    plain_strides = all(set(stride) == {2} for stride in topology.strides)
    if not plain_kernels:
        yield Choice(
            "network.kernel_sizes",
            [_short(kernel) for kernel in topology.kernels],
            "convolutions stay within the slice until voxels are about as deep as wide",
        )
    if not plain_strides:
        yield Choice(
            "network.strides",
            [_short(stride) for stride in topology.strides],
            "an axis is halved while it is long enough and its voxels are among the shortest",
        )


def _short(entry: tuple[int, ...]) -> int | list[int]:
    return entry[0] if len(set(entry)) == 1 else list(entry)
