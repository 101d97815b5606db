"""One structure written as different values in different cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

#: how to mend it
MEND = "write the same structure with the same value everywhere"


def contradiction(values: Mapping[str, Sequence[int]]) -> str | None:
    """What contradicts what, where masks of a single structure are not all of one value and some are of 255.

    Args:
        values: of each case's label map, the background among them or not.

    >>> contradiction({"a": [0, 1], "b": [0, 1], "c": [0, 255]})
    'label maps contradict each other: the one value they hold is 1 in 2 (a, …), 255 in 1 (c)'
    >>> contradiction({"a": [0, 1], "b": [0, 2]}) is None
    True
    """
    holders: dict[tuple[int, ...], list[str]] = {}
    for case, found in values.items():
        if present := tuple(value for value in found if value):
            holders.setdefault(present, []).append(case)
    if len(holders) < 2 or (255,) not in holders or any(len(present) > 1 for present in holders):
        return None
    told = [
        f"{value} in {len(cases)} ({cases[0]}{', …' if len(cases) > 1 else ''})"
        for (value,), cases in sorted(holders.items())
    ]
    return f"label maps contradict each other: the one value they hold is {', '.join(told)}"
