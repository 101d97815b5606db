"""Overlapping windows whose logits are averaged: approximate, for networks that see all of what they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Windows:
    """How windows lie and count; the arguments of MONAI's ``SlidingWindowInferer``.

    Attributes:
        mode: ``gaussian`` trusts the middle of a window, ``constant`` all of it alike.
        overlap: share of a window that its neighbour covers as well.
        outside: what surrounds an image smaller than a window; ``constant`` is 0.
    """

    mode: Literal["gaussian", "constant"] = "gaussian"
    overlap: float = 0.5
    outside: Literal["constant", "reflect", "replicate"] = "constant"
