"""What all tests share: the folder of real data, and a command line run as a person would."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# a busy machine is no failure: time is never what a property is about
settings.register_profile("volseg", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("volseg")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder that ``VOLSEG_TEST_DATA`` names; tests that need it skip without it."""
    named = os.environ.get("VOLSEG_TEST_DATA")
    if not named:
        pytest.skip("real data: set VOLSEG_TEST_DATA to its folder")
    folder = Path(named).resolve()
    assert folder.is_dir(), f"VOLSEG_TEST_DATA={named} is no folder"
    return folder


@pytest.fixture
def volseg() -> Run:
    """Run ``volseg …`` in a process of its own; warnings on stderr are part of what a person sees."""

    def run(*words: object, **more: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "volseg.cli", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, **more)

    return run
