"""From files to a recipe and back."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from volseg.errors import RecipeError, nearest
from volseg.recipe.layers import Layer
from volseg.recipe.model import Recipe
from volseg.recipe.spelling import spell
from volseg.recipe.yaml_text import LARGEST, commented, parse_yaml, read_yaml, write_yaml

StrPath = str | os.PathLike[str]


def load_recipe(path: StrPath, overlays: Iterable[StrPath] = (), sets: Iterable[str] = ()) -> Recipe:
    """The recipe in a file, with overlays over it in their order, and single keys over those.

    Args:
        path: a recipe in YAML.
        overlays: files of changes of recipe keys, nested or dotted.
        sets: single keys as ``training.epochs=20``; the value is YAML.

    Raises:
        RecipeError: one line per mistake, naming the file or setting it stands in.
    """
    layers = [_layer(path), *map(_layer, _several(overlays)), *map(_setting, _several(sets))]
    return Recipe.from_layers(layers)


def change_recipe(recipe: Recipe, overlays: Iterable[StrPath] = (), sets: Iterable[str] = ()) -> Recipe:
    """A recipe with overlays over it in their order, and single keys over those.

    Raises:
        RecipeError: one line per mistake, naming the file or setting it stands in.
    """
    # without its defaults, so that a change of kind brings the defaults of the new kind
    written = Layer("recipe", recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    return Recipe.from_layers([written, *map(_layer, _several(overlays)), *map(_setting, _several(sets))])


def dump_recipe(recipe: Recipe, *, given: bool = False, comments: Mapping[str, str] | None = None) -> str:
    """The recipe as YAML, always the same text for the same recipe; it loads back equal.

    Args:
        recipe: the recipe.
        given: whether only those keys are written that were given, with whatever value.
        comments: lines above keys, such as the reason of a choice, by dotted key; of a key that is not written, or
            not on a line of its own, above the nearest that it lies in.
    """
    text = write_yaml(recipe.model_dump(mode="json", by_alias=True, exclude_unset=given))
    return commented(text, comments) if comments else text


def _several(given: Iterable[StrPath]) -> Iterable[StrPath]:
    """One path or setting, given alone, is a list of one and not a sequence of letters."""
    return [given] if isinstance(given, str | os.PathLike) else given


def _layer(path: StrPath) -> Layer:
    where = os.fspath(path)
    data = read_yaml(_read(Path(path), where), where)
    if data is None:
        raise RecipeError("empty", where=where, mend="a recipe is a mapping of keys")
    if not isinstance(data, dict):
        raise RecipeError(f"expected a mapping of keys, not {spell(data)}", where=where)
    return Layer(where, data)


def _setting(setting: StrPath) -> Layer:
    text = os.fspath(setting)
    where = f"--set {text}"
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key:
        raise RecipeError("expected KEY=VALUE, such as training.epochs=20", where=where)
    return Layer(where, {key: parse_yaml(value, where)}, tuple(key.split(".")))


def _read(path: Path, where: str) -> bytes:
    try:
        if not path.exists():
            raise RecipeError("no such file", where=where, mend=_near(path))
        if not path.is_file():
            raise RecipeError("not a file", where=where)
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise RecipeError(f"cannot be read ({error.strerror or error})", where=where) from None


def _near(path: Path) -> str | None:
    near = nearest(path.name, [entry.name for entry in path.parent.glob("*.yaml")]) if path.parent.is_dir() else None
    return f"did you mean '{near}'?" if near else None
