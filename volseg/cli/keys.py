"""``volseg keys``: what may stand in a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli import console
from volseg.errors import UsageError, nearest

if TYPE_CHECKING:
    from volseg.recipe import RecipeKey


def keys(
    key: Annotated[
        str | None, typer.Argument(help="A key, for it and those below it: training, loss.dice.", show_default="all")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON Schema of recipes, for editors.")] = False,
) -> None:
    """Show the keys of recipes: what each expects, what holds without it, what it means.

    Each can be set by --set KEY=VALUE where a verb takes a recipe.

    Examples:
        volseg keys
        volseg keys training
        volseg keys --json
    """
    from volseg.recipe import json_schema, recipe_keys

    if as_json:
        console.result_json(json_schema())
        return
    known = list(recipe_keys())
    wanted = [one for one in known if key is None or one.key == key or one.key.startswith(f"{key}.")]
    if key is not None and not wanted:
        near = nearest(key, [one.key for one in known])
        raise UsageError(f"no key of a recipe is called {key}", mend=f"did you mean {near}?" if near else "volseg keys")
    for one in wanted:
        console.result(_told(one))


def _told(one: RecipeKey) -> str:
    kinds = f" (kind {' or '.join(one.kinds)})" if one.kinds else ""
    return f"{one.key}{kinds}: {one.expects}; {_without(one.default)}\n    {one.meaning}"


def _without(default: str) -> str:
    return default if default in ("required", "as below") else f"else {default}"
