"""Reference pages made from the code itself, so that they cannot drift from it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

VERBS = ("doctor", "phantom", "check")
# help texts are the same on every machine: no colours, one width
PLAIN = {"NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb", "LC_ALL": "C.UTF-8"}


def write_all(docs: Path) -> None:
    """Write every generated page below ``docs/reference/_generated``."""
    made = docs / "reference" / "_generated"
    made.mkdir(parents=True, exist_ok=True)
    _write(made / "cli.md", command_line())
    _write(made / "recipe.md", recipe())


def command_line() -> str:
    """The help of the program and of each verb."""
    pages = ["# Command line\n"]
    for verb in (None, *VERBS):
        call = [*([verb] if verb else []), "--help"]
        shown = subprocess.run(
            [sys.executable, "-m", "volseg.cli", *call], capture_output=True, text=True, check=True, env=PLAIN
        ).stdout
        pages.append(f"## volseg {verb or ''}\n\n```text\n{shown.strip()}\n```\n")
    return "\n".join(pages)


def recipe() -> str:
    """Every key of a recipe, from the schema."""
    from volseg.recipe import recipe_reference

    return recipe_reference()


def _write(path: Path, text: str) -> None:
    # untouched when unchanged, so that an incremental build stays incremental
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
