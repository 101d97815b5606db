"""Figures as JSON has them: it knows no NaN and no infinity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """The value with what JSON lacks replaced: NaN (does not apply) by null, infinity by the text "Infinity".

    >>> plain({"hd": float("inf"), "dice": [0.5, float("nan")]})
    {'hd': 'Infinity', 'dice': [0.5, None]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
