"""How a verb gets into the program: its docstring is its help, and its examples stand below the options."""

from __future__ import annotations

from collections.abc import Callable
from inspect import cleandoc, signature
from pathlib import Path
from typing import Any, get_args

import typer
from typer.models import OptionInfo

# of values in the help, where an option says none: Typer writes bool, str and list[Path], which are Python's words
_WORDS: dict[Any, str] = {bool: "", str: "TEXT", int: "N", float: "X", Path: "PATH"}


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
    program.command(name, help=prose, epilog="\n".join(["Examples:", *lines]))(name_values(verb))


def name_values(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Put a word for its value beside each option; the annotations become objects, for Typer to find it there."""
    parameters = signature(verb, eval_str=True).parameters.values()
    verb.__annotations__.update({parameter.name: parameter.annotation for parameter in parameters})
    for parameter in parameters:
        kind, *more = get_args(parameter.annotation) or [None]
        while inner := [part for part in get_args(kind) if part is not type(None)]:  # of list[Path] | None
            kind = inner[0]
        for option in more:
            if isinstance(option, OptionInfo) and option.metavar is None:
                option.metavar = _WORDS.get(kind)
    return verb
