"""Planes into stacks: by series, by what a volume cannot mix, and by what tells images in one place apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from volseg.io.dicom.headers import Plane

# Direction cosines are written with six digits or more; a real change of orientation is a hundred times larger.
SAME_DIRECTION = 1e-3
# Two images lie in one place when less than this many millimetres apart.
SAME_PLACE = 1e-3


@dataclass(frozen=True)
class Stack:
    """Planes that may form one volume; ``key`` is how a person asks for it, ``apart`` what sets it off from others."""

    key: str
    planes: tuple[Plane, ...]
    apart: str = ""

    @property
    def first(self) -> Plane:
        return self.planes[0]

    @property
    def description(self) -> str:
        """The stack in a few words, none of them typed in by a person."""
        rows, columns = self.first.shape
        parts = [f"{self.first.modality} {columns}x{rows}x{len(self.planes)}"]
        if self.first.spacing is not None:
            parts.append("x".join(f"{s:.4g}" for s in reversed(self.first.spacing)) + " mm")
        if self.apart:
            parts.append(self.apart)
        elif len(self.first.image_type) > 2:
            parts.append(self.first.image_type[2].lower())
        return ", ".join(part for part in parts if part)


def stacks_of(planes: Iterable[Plane]) -> list[Stack]:
    """Every stack in the planes, in the order of the series' UIDs; parts of one series are numbered ``UID#1``, …"""
    by_series: dict[str, list[Plane]] = defaultdict(list)
    for plane in planes:
        by_series[plane.series].append(plane)
    found: list[Stack] = []
    for series, members in sorted(by_series.items()):
        parts = [
            part
            for alike in _alike(sorted(members, key=lambda p: (p.number, p.file, p.frame)))
            for part in _one_place_each(alike)
        ]
        if len(parts) == 1:
            found.append(Stack(series, parts[0][0], ""))
        else:
            found += [
                Stack(f"{series}#{count}", members_, apart) for count, (members_, apart) in enumerate(parts, start=1)
            ]
    return found


def mixture(stacks: Sequence[Stack]) -> str:
    """What the parts of one series differ in, in words."""
    firsts = [stack.first for stack in stacks]
    if len({p.shape for p in firsts}) > 1:
        return "matrix sizes"
    if any(not _same_direction(p, firsts[0]) for p in firsts):
        return "orientations"
    if len({p.spacing for p in firsts}) > 1:
        return "pixel spacings"
    if len({p.frame_of_reference for p in firsts}) > 1:
        return "frames of reference"
    if len({p.position is None for p in firsts}) > 1:
        return "images with and without a position"
    return "images of the same places"


def place_key(plane: Plane) -> tuple[int, ...]:
    """Equal for images in one place."""
    return tuple(round(x / SAME_PLACE) for x in plane.position or ())


def _alike(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Groups of planes that agree in all that a volume has once: matrix, orientation, spacing, frame of reference."""
    groups: list[list[Plane]] = []
    for plane in planes:
        for group in groups:
            if _may_stack(plane, group[0]):
                group.append(plane)
                break
        else:
            groups.append([plane])
    return groups


def _may_stack(one: Plane, other: Plane) -> bool:
    return (
        one.shape == other.shape
        and one.samples == other.samples
        and one.frame_of_reference == other.frame_of_reference
        and _close(one.spacing, other.spacing)
        and _same_direction(one, other)
        and (one.position is None) == (other.position is None)
    )


def _same_direction(one: Plane, other: Plane) -> bool:
    return _close(one.orientation, other.orientation)


def _close(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    if one is None or other is None:
        return one is other
    return bool(np.abs(np.subtract(one, other)).max() <= SAME_DIRECTION)


def _one_place_each(planes: list[Plane]) -> list[tuple[tuple[Plane, ...], str]]:
    """Split images that share places (time points, echoes) by the first mark that tells them all apart."""
    if planes[0].position is None or _all_apart(planes):
        return [(tuple(planes), "")]
    for name in dict.fromkeys(name for name, _ in planes[0].marks):
        groups: dict[str, list[Plane]] = defaultdict(list)
        for plane in planes:
            groups[dict(plane.marks).get(name, "")].append(plane)
        if len(groups) > 1 and all(_all_apart(group) for group in groups.values()):
            return [
                (tuple(group), f"{name} {value.lower()}") for value, group in sorted(groups.items(), key=_by_number)
            ]
    return [(tuple(planes), "")]


def _all_apart(planes: Sequence[Plane]) -> bool:
    """Whether no two different images lie in one place; copies of one image do not count as different."""
    return len({place_key(plane) for plane in planes}) == len({(p.uid, p.frame, place_key(p)) for p in planes})


def _by_number(item: tuple[str, list[Plane]]) -> tuple[float, str]:
    try:
        return float(item[0]), ""
    except ValueError:
        return float("inf"), item[0]
