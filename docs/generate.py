"""Reference pages made from the code itself, so that they cannot drift from it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import typer

from volseg.cli.app import app
from volseg.recipe import json_schema, recipe_reference

# help texts are the same on every machine: no colours, one width
PLAIN = {"NO_COLOR": "1", "COLUMNS": "90", "TERM": "dumb", "LC_ALL": "C.UTF-8", "PYTHONUTF8": "1"}


def write_all(docs: Path) -> None:
    """Write every generated page below ``docs/reference/_generated``."""
    made = docs / "reference" / "_generated"
    made.mkdir(parents=True, exist_ok=True)
    _write(made / "cli.md", command_line())
    _write(made / "recipe.md", f"# Recipe\n\n{RECIPE}\n\n{recipe_reference()}")
    _write(docs / "_static" / "recipe.schema.json", json.dumps(json_schema(), indent=1) + "\n")


RECIPE = """Every key of a recipe, made from the code. The same as
<a href="../../_static/recipe.schema.json">JSON Schema</a>, for editors that complete and check YAML."""


def verbs(program: typer.Typer = app) -> list[tuple[str, ...]]:
    """The verbs in the order the help lists them, those of a group behind its name."""
    own = [(command.name or command.callback.__name__,) for command in program.registered_commands if command.callback]
    groups = [group.typer_instance for group in program.registered_groups if group.typer_instance]
    return own + [(str(group.info.name), *verb) for group in groups for verb in [(), *verbs(group)]]


def command_line() -> str:
    """The help of the program and of each verb."""
    pages = ["# Command line\n"]
    for verb in [(), *verbs()]:
        call = [*verb, "--help"]
        shown = subprocess.run(
            [sys.executable, "-m", "volseg.cli", *call], capture_output=True, text=True, check=True, env=PLAIN
        ).stdout
        pages.append(f"## {' '.join(['volseg', *verb])}\n\n```text\n{shown.strip()}\n```\n")
    return "\n".join(pages)


def _write(path: Path, text: str) -> None:
    # untouched when unchanged, so that an incremental build stays incremental
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
