"""Simple points, and warping one segmentation onto another through them.

A point is simple when flipping it between foreground and background changes no topology: no component, hole or tunnel
is made, lost, split or merged. Warping flips simple points only, so what cannot be warped is a topological difference.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt

from volseg.errors import UsageError
from volseg.metrics.masks import Mask, require_same_shape

#: the foreground's neighbours: across faces alone, or corners too; the background's are the other kind
Connectivity = Literal["faces", "corners"]


def warp(source: Mask, target: Mask, foreground: Connectivity = "faces") -> Mask:
    """``source`` brought as near to ``target`` as flipping simple points, one at a time, can bring it.

    What differs from the target afterwards is no simple point: a local optimum, as in Jain et al. 2010. Beyond the
    image's border is background. Regions give way layer by layer, so that lines end up in the middle of what they
    thinned from. The result depends on nothing but its arguments.

    The points of one of the 2^d sublattices of every second point per axis are no neighbours, so that flipping all its
    simple points at once is flipping them one by one.

    >>> bar = np.array([[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=bool)
    >>> warp(bar, np.roll(bar, 1, axis=0)).astype(int)
    array([[0, 0, 0, 0],
           [1, 1, 1, 1],
           [1, 1, 1, 1]])
    """
    require_same_shape(source, target)
    if source.ndim not in (2, 3) or foreground not in ("faces", "corners"):
        raise UsageError("warping is for 2-D and 3-D masks, connected by 'faces' or 'corners'")
    ndim = source.ndim
    padded = np.pad(source.astype(np.uint8), 1)
    now, goal = padded.reshape(-1), np.pad(target.astype(np.uint8), 1).reshape(-1)
    steps = np.array(_offsets(ndim)) @ (np.array(padded.strides) // padded.itemsize)
    lattice = np.zeros(padded.shape, dtype=np.uint8)
    for axis, size in enumerate(padded.shape):
        parity = (np.arange(size) % 2 << axis).astype(np.uint8)
        lattice |= parity.reshape([-1 if a == axis else 1 for a in range(ndim)])
    sublattice = lattice.reshape(-1)
    candidates = np.flatnonzero(now != goal)
    while candidates.size:
        flipped = []
        for part in range(2**ndim):
            points = candidates[sublattice[candidates] == part]
            codes = np.zeros(points.size, dtype=np.int32)
            for bit, step in enumerate(steps):
                codes |= now[points + step].astype(np.int32) << bit
            points = points[simple(codes, ndim, foreground)]
            now[points] ^= 1
            flipped.append(points)
        changed = np.concatenate(flipped)
        # only a point with a flipped neighbour can have become simple; the frame never differs from the goal
        near = np.unique((changed[:, None] + steps).reshape(-1))
        candidates = near[now[near] != goal[near]]
    result: Mask = padded[(slice(1, -1),) * ndim].astype(bool)
    return result


def thin_background(mask: Mask, foreground: Connectivity = "faces") -> Mask:
    """The mask grown through simple points until what lies between its parts is a line (a sheet in 3-D) of one voxel.

    >>> walls = np.ones((1, 9), dtype=bool)
    >>> walls[0, 3:6] = False
    >>> thin_background(walls).astype(int)
    array([[1, 1, 1, 1, 0, 1, 1, 1, 1]])
    """
    return warp(mask, np.ones_like(mask), foreground)


def simple(codes: npt.NDArray[np.integer], ndim: int, foreground: Connectivity = "faces") -> Mask:
    """Whether points are simple, from the codes of their neighbourhoods.

    Bit k of a code says whether the k-th neighbour (of all but the centre, in the order of ``itertools.product``) is
    foreground; the point's own value does not matter.
    """
    kinds, places = np.unique(codes, return_inverse=True)
    flags = np.array([_is_simple(int(code), ndim, foreground) for code in kinds], dtype=bool)
    found: Mask = flags[places]
    return found


@lru_cache(maxsize=1 << 20)
def _is_simple(code: int, ndim: int, foreground: Connectivity) -> bool:
    """One component of foreground and one of background meet the point (its two topological numbers are 1)."""
    ones = {k for k in range(3**ndim - 1) if code >> k & 1}
    zeros = set(range(3**ndim - 1)) - ones
    by_faces, by_corners = (ones, zeros) if foreground == "faces" else (zeros, ones)
    return _components(by_faces, ndim, faces=True) == 1 and _components(by_corners, ndim, faces=False) == 1


def _components(points: set[int], ndim: int, *, faces: bool) -> int:
    """How many components of neighbours touch the centre.

    Across faces, only neighbours with at most two coordinates off the centre's link components (18 of 26 in 3-D).
    """
    links, reach, seeds = _neighbourhood(ndim, faces)
    left = points & reach
    count = 0
    for seed in seeds:
        if seed not in left:
            continue
        count += 1
        left.discard(seed)
        edge = [seed]
        while edge:
            found = links[edge.pop()] & left
            left -= found
            edge.extend(found)
    return count


@lru_cache(maxsize=4)
def _neighbourhood(ndim: int, faces: bool) -> tuple[tuple[frozenset[int], ...], frozenset[int], tuple[int, ...]]:
    """Who is linked to whom around a point, who is within reach of it, and who touches it."""
    offsets = np.array(_offsets(ndim))
    apart = np.abs(offsets[:, None] - offsets[None])
    linked = apart.sum(-1) == 1 if faces else apart.max(-1) == 1
    links = tuple(frozenset(np.flatnonzero(row).tolist()) for row in linked)
    order = np.abs(offsets).sum(1)
    reach = frozenset(np.flatnonzero(order <= 2 if faces else order > 0).tolist())
    seeds = tuple(np.flatnonzero(order == 1 if faces else order > 0).tolist())
    return links, reach, seeds


@lru_cache(maxsize=2)
def _offsets(ndim: int) -> tuple[tuple[int, ...], ...]:
    return tuple(offset for offset in product((-1, 0, 1), repeat=ndim) if any(offset))
