"""Changes of place that the anatomy and the slices allow; their sizes follow the patch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from volseg.planning.choice import Choice
from volseg.planning.pose import Pose
from volseg.planning.space import Space
from volseg.planning.topology import Topology


def augmentation_choices(space: Space, topology: Topology, flips: list[int], pose: Pose | None) -> Iterator[Choice]:
    """Rotation, scaling, shifts and deformation."""
    plane = min(topology.patch[:2])
    turn, why = _turn(space, flips, pose)
    shift = max(1, round(plane / 16))
    std = round(max(1.0, plane / 40), 1)
    nodes = 5 if plane >= 64 else 4
    elastic: dict[str, Any] = {"grid": nodes, "std": std, "prob": 0.3}
    spatial: dict[str, Any] = {"prob": 0.8, "rotation": turn, "scale": [0.8, 1.25], "translation": shift}
    if space.thick and space.dims == 3:
        across = max(2, min(4, topology.patch[2] // 4))
        elastic |= {"grid": [nodes, nodes, across], "std": [std, std, 0]}
        spatial |= {"rotation": [0, 0, turn], "translation": [shift, shift, 0]}
        why += ", within the slice alone, where voxels are fine"
    spatial["elastic"] = elastic
    yield Choice(
        "augmentation.spatial",
        spatial,
        f"turned {why}; shifts of a 16th and deformations of a 40th of the patch keep anatomy plausible",
    )


def _turn(space: Space, flips: list[int], pose: Pose | None) -> tuple[int, str]:
    """By how many degrees at most, and why."""
    if pose is not None:
        # what cases already differ by is learnt from them: half as much again covers those that differ more
        return min(45, max(15, 5 * round(pose.spread / 10))), f"beyond what is met: {pose}"
    if space.is_plane and {0, 1} <= set(flips):
        return 180, "by any angle, since no direction of the plane is special (see flips)"
    return 20, "by as much as patients lie differently"
