"""Layouts made of empty files: to be found, a case needs a name only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest


@pytest.fixture
def lay(tmp_path: Path) -> Callable[..., Path]:
    """Create empty files below a folder."""

    def build(names: Iterable[str]) -> Path:
        root = tmp_path / "data"
        root.mkdir(exist_ok=True)
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        return root

    return build


@pytest.fixture
def describe() -> Callable[[Path, object], None]:
    """Write ``dataset.json``."""

    def write(root: Path, told: object) -> None:
        (root / "dataset.json").write_text(told if isinstance(told, str) else json.dumps(told))

    return write


@pytest.fixture
def dicom_file() -> Callable[[Path], None]:
    """Write a file that begins as DICOM does."""

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 64)

    return write


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data, or a skip that says so."""
    where = os.environ.get("VOLSEG_TEST_DATA")
    if not where:
        pytest.skip("VOLSEG_TEST_DATA is not set")
    return Path(where)
