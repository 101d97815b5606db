"""What is said of a file that is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from volseg.errors import VolsegError


def refusal(read: Callable[..., Any], path: Path, kind: type[VolsegError] = VolsegError, **options: Any) -> str:
    """The one line with which reading ``path`` ends, behind its name."""
    with pytest.raises(kind) as caught:
        read(path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}: ")
