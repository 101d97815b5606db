"""How a verb gets into the program: its docstring is its help, and its examples stand below the options."""

from __future__ import annotations

from collections.abc import Callable
from inspect import cleandoc
from typing import Any

import typer


def add_verb(program: typer.Typer, verb: Callable[..., Any], name: str | None = None) -> None:
    """Add a verb; prose flows to the width of the terminal, an example keeps its line.

    >>> def wave(): \"\"\"Wave.
    ...
    ...     Examples:
    ...         volseg wave
    ...     \"\"\"
    >>> program = typer.Typer()
    >>> add_verb(program, wave)
    >>> program.registered_commands[0].help, program.registered_commands[0].epilog
    ('Wave.', 'Examples:\\nvolseg wave')
    """
    about, _, examples = cleandoc(verb.__doc__ or "").partition("\n\nExamples:\n")
    prose = "\n\n".join(" ".join(paragraph.split()) for paragraph in about.split("\n\n"))
    lines = [line.strip() for line in examples.splitlines()]
    program.command(name, help=prose, epilog="\n".join(["Examples:", *lines]))(verb)
