"""What expressions of configurations stand for, where it is neither a number nor a text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from volseg.bundle.importing.config import Path


class Meaning(Enum):
    """Things that a prediction needs and that whoever runs it chooses, or that change nothing in the masks."""

    DEVICE = "a device"
    FILES = "a list of files"
    DATA = "a list of cases"
    STEP = "a step of the run"


@dataclass(frozen=True, eq=False)
class Part:
    """A component of the configuration, made by ``_target_``."""

    path: Path
    value: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Listed:
    """A list whose items are components, or are not made out yet."""

    path: Path
    value: list[Any]
