"""In which axes a mirrored image is as plausible as the image itself: asked of the data, not assumed.

Two structures may be told apart by their intensities, by what lies beside them, or by where they lie alone. Those of
the last kind lose their difference in a mirror that swaps their sides: such a flip would teach the network that either
may be the other. So an axis may be flipped unless two structures that look alike lie along it in the same order in
(nearly) every case. In a plane that scanners show one way, as hearts are shown in short axis, the order of any two
structures counts: mirrored images do no harm there, but none will ever come, and learning them takes a network's time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

from volseg.data.fingerprint import Fingerprint
from volseg.data.fingerprint_case import CaseFingerprint
from volseg.data.fingerprint_structure import StructureFingerprint
from volseg.planning.choice import Choice
from volseg.planning.space import Space

# two intensities are alike below so many standard deviations, two surroundings below so much of their border
_ALIKE, _SAME_BORDER = 1.0, 0.6
# an order is one that so large a share of the cases has, and a shift one of at least so many millimetres per extent
_ORDERED, _SHIFT = 0.9, 0.15
_SIDE = re.compile(r"\b(left|right|l|r)\b", re.IGNORECASE)


def symmetry_choices(found: Fingerprint, space: Space, names: Mapping[int, str]) -> Iterator[Choice]:
    """The flips, and right angles where axes are alike."""
    allowed, reasons = [], []
    for axis in range(space.dims):
        against = _against(found, space, axis, names)
        if against is None:
            allowed.append(axis)
        else:
            reasons.append(f"not axis {axis}: {against}")
    reason = "no two structures are told apart by their side alone" if allowed else "no axis may be mirrored"
    if found.instances or len(names) == 1:
        reason = "one structure has no side" if allowed else reason
    told = "; ".join([reason, *reasons])
    yield Choice("augmentation.flips", allowed, told)
    if (
        found.modality.modality == "microscopy"
        and space.dims == 2
        and len(allowed) == 2
        and space.voxel[0] == space.voxel[1]
    ):
        yield Choice("augmentation.right_angles", [[0, 1]], "under a microscope no direction is special")


def _against(found: Fingerprint, space: Space, axis: int, names: Mapping[int, str]) -> str | None:
    """Why an axis may not be flipped, if it may not."""
    if space.thick and axis == 2:
        return "it runs across thick slices, from one end of the anatomy to the other"
    told_apart: set[int] = set()
    for first, second in combinations(sorted(names), 2):
        pairs = pairs_of(found.labelled, first, second)
        if not pairs:
            continue
        alike, ordered = _look_alike(pairs, first, second), _ordered(pairs, space.order[axis])
        if alike and ordered:
            return f"{names[first]} and {names[second]} look alike, and their order along it tells which is which"
        if ordered and space.is_plane:
            return f"{names[first]} and {names[second]} lie along it in one order, and are never met mirrored"
        if not alike:
            told_apart |= {first, second}
    if len(space.shape) == 3 and space.order[axis] == 0:
        sided = [name for value, name in names.items() if _SIDE.search(name) and value not in told_apart]
        if sided:
            return f"'{sided[0]}' names a side, and nothing but the side is known to tell it from its counterpart"
    if not _may_be_turned(found, space, axis):
        return "a body does not lie upside down or back to front in a scanner"
    return None


def _may_be_turned(found: Fingerprint, space: Space, axis: int) -> bool:
    """Whether the world's axes mean nothing for what is shown: under a microscope, in stacks, in crops."""
    if len(space.shape) == 2 or space.thick or space.order[axis] == 0:
        return True
    body = 200.0  # millimetres: what shows less is a part of a body, and parts lie any way
    return all(extent < body for extent in found.labelled[0].extent)


def pairs_of(
    cases: Sequence[CaseFingerprint], first: int, second: int
) -> list[tuple[StructureFingerprint, StructureFingerprint]]:
    """Two structures in every case that holds both."""
    both = ((case.structure(first), case.structure(second)) for case in cases)
    return [(a, b) for a, b in both if a is not None and b is not None]


def _look_alike(pairs: Sequence[tuple[StructureFingerprint, StructureFingerprint]], first: int, second: int) -> bool:
    """Whether neither intensity nor surroundings tell the two apart, in most cases."""
    alike = 0
    for a, b in pairs:
        spread = ((a.std**2 + b.std**2) / 2) ** 0.5
        same_grey = abs(a.mean - b.mean) < _ALIKE * max(spread, 1e-12)
        mine = {second if value == first else value: share for value, share in b.neighbours.items()}
        apart = sum(abs(a.neighbours.get(v, 0.0) - mine.get(v, 0.0)) for v in {*a.neighbours, *mine})
        alike += same_grey and apart < _SAME_BORDER
    return alike >= len(pairs) / 2


def _ordered(pairs: Sequence[tuple[StructureFingerprint, StructureFingerprint]], axis: int) -> bool:
    """Whether one of the two lies on the same side of the other in nearly every case."""
    shifts = [(a.centre[axis] - b.centre[axis]) / max((a.extent[axis] + b.extent[axis]) / 2, 1e-9) for a, b in pairs]
    before = sum(shift < -_SHIFT for shift in shifts)
    after = sum(shift > _SHIFT for shift in shifts)
    return max(before, after) >= _ORDERED * len(shifts)
