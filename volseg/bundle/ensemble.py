"""What a bundle holds beside one network's weights: further members of an ensemble, and a trust score.

``models/model.safetensors`` is the first member, ``models/member_1.safetensors`` the next, and so on; every mask is
of their mean probability. ``models/trust.json`` is the score's.
"""

from __future__ import annotations

from collections.abc import Iterable

TRUST = "models/trust.json"


def member_name(number: int) -> str:
    """Where the weights of a further member lie; the first network is no further one.

    >>> member_name(1)
    'models/member_1.safetensors'
    """
    return f"models/member_{number}.safetensors"


def member_names(paths: Iterable[str]) -> tuple[str, ...]:
    """The further members among a bundle's files, in their order.

    >>> member_names(["models/member_1.safetensors", "models/member_3.safetensors", "models/model.pt"])
    ('models/member_1.safetensors',)
    """
    there = set(paths)
    found: list[str] = []
    while member_name(len(found) + 1) in there:
        found.append(member_name(len(found) + 1))
    return tuple(found)
