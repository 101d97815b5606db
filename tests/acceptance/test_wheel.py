"""What is shipped: the wheel holds what the package needs, and works outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(build, check=True, timeout=300)
    (made,) = folder.glob("volseg-*.whl")
    return made


def test_the_wheel_holds_every_module_and_the_typing_marker(wheel: Path) -> None:
    """Each module of the checkout, ``py.typed`` and the licence are in the wheel; tests and benchmarks are not."""
    held = set(ZipFile(wheel).namelist())
    modules = {str(p.relative_to(ROOT)) for p in (ROOT / "volseg").rglob("*.py")}
    assert modules <= held
    assert "volseg/py.typed" in held
    assert any(name.endswith("licenses/LICENSE") for name in held)
    assert not [name for name in held if name.startswith(("tests", "benchmarks", "docs"))]


def test_the_wheel_works_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """Unpacked elsewhere, with the checkout out of sight, the command line runs and writes a cohort."""
    ZipFile(wheel).extractall(tmp_path / "site")
    env = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"}
    where = "import volseg; print(volseg.__file__)"
    shown = subprocess.run(
        [sys.executable, "-c", where], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert shown.stdout.startswith(str(tmp_path))
    make = [sys.executable, "-m", "volseg.cli", "phantom", "-o", "cohort", "--kind", "cells", "-n", "1"]
    subprocess.run(make, cwd=tmp_path, env=env, check=True, timeout=300)
    assert list((tmp_path / "cohort").rglob("*.png"))
