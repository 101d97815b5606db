"""What is shipped: the wheel holds what the package needs, and works outside the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from volseg.cli.build import commit

ROOT = Path(__file__).parents[2]
Python = Callable[..., str]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, ROOT]
    subprocess.run(build, check=True, timeout=300)
    (made,) = folder.glob("volseg-*.whl")
    return made


@pytest.fixture
def outside(wheel: Path, tmp_path: Path) -> Python:
    """Run Python elsewhere, with the wheel in place of the checkout."""
    ZipFile(wheel).extractall(tmp_path / "site")
    env = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "PYTHONSAFEPATH": "1"}

    def run(*words: str | Path) -> str:
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, encoding="utf-8", timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("-c", "import volseg; print(volseg.__file__)").startswith(str(tmp_path))
    return run


def test_the_wheel_holds_all_of_the_package_and_nothing_else(wheel: Path) -> None:
    """Each module, template, script, style and recipe beside them, ``py.typed`` and the licence; no tests, no docs."""
    held = set(ZipFile(wheel).namelist())
    package = {str(p.relative_to(ROOT)) for p in (ROOT / "volseg").rglob("*") if p.is_file() and p.suffix != ".pyc"}
    assert {Path(name).suffix for name in package} >= {".py", ".pyi", ".typed", ".html", ".js", ".css", ".yaml"}
    inside = {name for name in held if ".dist-info/" not in name}
    assert inside - {"volseg/build.txt"} == package
    assert any(name.endswith("licenses/LICENSE") for name in held)


def test_the_wheel_works_outside_the_checkout(outside: Python, tmp_path: Path) -> None:
    """The command line writes a cohort, and a bundle with its documents from templates."""
    outside("-m", "volseg.cli", "phantom", "-o", "cohort", "--kind", "cells", "-n", "1")
    assert list((tmp_path / "cohort").rglob("*.png"))
    outside("-m", "volseg.cli", "bundle", "build", ROOT / "configs" / "cells_unet2d.yaml", "-o", "bundle")
    assert (tmp_path / "bundle" / "docs" / "README.md").is_file()


@pytest.mark.skipif(commit(ROOT) is None, reason="needs the checkout's commit")
def test_the_wheel_tells_its_commit(outside: Python) -> None:
    """The commit of the checkout that it was built in, which it no longer sees."""
    assert f"(build {commit(ROOT)}, python " in outside("-m", "volseg.cli", "--version")
