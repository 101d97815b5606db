"""How a verb gets into the program: its docstring is its help, and its examples stand below the options."""

from __future__ import annotations

from collections.abc import Callable
from inspect import cleandoc, signature
from pathlib import Path
from typing import Any, get_args

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import OptionInfo

# of values in the help, where an option says none: Typer writes str and list[Path], which are Python's words
_WORDS: dict[Any, str] = {str: "TEXT", int: "N", float: "X", Path: "PATH"}


class Verb(TyperCommand):
    """A verb whose flags have no value beside them in the help, where Typer writes <bool> beside its own."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, those that Typer adds among them."""
        return _valueless(super().get_params(ctx))


class Group(TyperGroup):
    """The same of a program with verbs."""

    def get_params(self, ctx: Any) -> list[Any]:
        """All parameters, those that Typer adds among them."""
        return _valueless(super().get_params(ctx))


def _valueless(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
    return params


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
    program.command(name, cls=Verb, help=prose, epilog="\n".join(["Examples:", *lines]))(name_values(verb))


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
