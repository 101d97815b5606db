"""Which build this is: the commit that it was made from."""

from __future__ import annotations

import subprocess
from importlib.resources import files
from pathlib import Path

#: where a wheel says it; ``hatch_build.py`` writes it there
FILE = "build.txt"


def build() -> str | None:
    """What the wheel says; in a checkout, what git says; none where neither is there."""
    said = files("volseg").joinpath(FILE)
    if said.is_file():
        return said.read_text().strip() or None
    return commit(Path(str(files("volseg"))).parent)


def commit(checkout: Path) -> str | None:
    """The commit of a checkout, with ``+changes`` where files differ from it."""
    if not (checkout / ".git").exists():  # else git would tell of a repository further up
        return None
    try:
        head = _git(checkout, "rev-parse", "--short=12", "HEAD")
        return head + ("+changes" if _git(checkout, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(checkout: Path, *words: str) -> str:
    command = ["git", "-C", str(checkout), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
