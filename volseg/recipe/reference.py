"""The recipe's reference, written from its own structure: its keys, a JSON Schema, Markdown for the documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic.fields import FieldInfo

from volseg.recipe.anatomy import annotation_of, describe, keys_of, named_section, variants
from volseg.recipe.kinds import Default
from volseg.recipe.model import Recipe
from volseg.recipe.section import Section
from volseg.recipe.spelling import spell

_HEAD = "| key | expects | default | meaning |\n| --- | --- | --- | --- |"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe, for editors and validators."""
    schema = Recipe.model_json_schema(by_alias=True)
    _as_written(schema, Recipe)
    named = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "volseg recipe"}
    return {key: _with_none(value) for key, value in named.items()}


def _as_written(schema: dict[str, Any], section: type[Section], defs: dict[str, Any] | None = None) -> None:
    """Take the keys whose default follows from others off the required ones: nobody needs to write them."""
    defs = schema["$defs"] if defs is None else defs
    derived = {name for name, field in keys_of(section).items() if _derived(field)}
    if "required" in schema:
        schema["required"] = [name for name in schema["required"] if name not in derived]
    for field in keys_of(section).values():
        for below in set(variants(annotation_of(field)).values()):
            _as_written(defs[below.__name__], below, defs)


def recipe_reference() -> str:
    """Every key of a recipe with its type, default and meaning, as Markdown tables."""
    return "\n\n".join(_parts()) + "\n"


def _with_none(schema: Any) -> Any:
    """Where a recipe may say null, it may say none, which YAML to others is a word."""
    if isinstance(schema, list):
        options = [_with_none(item) for item in schema]
        return [*options, {"const": "none"}] if {"type": "null"} in options else options
    if isinstance(schema, dict):
        # variants are told apart by their kind, which a schema of alternatives need not know
        return {"anyOf" if key == "oneOf" else key: _with_none(value) for key, value in schema.items()}
    return schema


def _derived(field: FieldInfo) -> list[str]:
    """In words, the default that follows from other keys, if there is one."""
    return [item.text for item in field.metadata if isinstance(item, Default)]


@dataclass(frozen=True)
class RecipeKey:
    """A key of a recipe.

    Attributes:
        key: with dots; ``NAME`` stands where a recipe names a structure.
        expects: what may stand there, in words.
        default: what holds where it is not given.
        meaning: what it is for.
        kinds: of the section that it lies in, where there are several.
    """

    key: str
    expects: str
    default: str
    meaning: str
    kinds: tuple[str, ...] = ()


def recipe_keys() -> Iterator[RecipeKey]:
    """Every key of a recipe, in its order; one that several kinds of a section have once for each."""
    for key, field in keys_of(Recipe).items():
        yield RecipeKey(key, describe(annotation_of(field)), default_text(field), field.description or "")
        for prefix, section, kinds in _sections(key, field):
            yield from _keys(prefix, section, kinds)


def _parts() -> Iterator[str]:
    for key, field in keys_of(Recipe).items():
        yield f"## `{key}`"
        yield _sentence(field.description or "")
        if default_text(field) == "none":
            yield "Default: `none`."
        for prefix, section, kinds in _sections(key, field):
            if kinds:
                yield "### " + ", ".join(f"`{key}.kind: {kind}`" for kind in kinds)
            yield _sentence(section.__doc__ or "")
            yield "\n".join([_HEAD, *map(_row, _keys(prefix, section, kinds))])


def _sections(key: str, field: FieldInfo) -> Iterator[tuple[str, type[Section], tuple[str, ...]]]:
    """What may stand below a key at the top: its prefix, the section, and the kinds that it goes by beside others."""
    named = named_section(annotation_of(field))
    found = variants(annotation_of(field) if named is None else named)
    for section in dict.fromkeys(found.values()):
        several = len(set(found.values())) > 1
        kinds = tuple(kind for kind, variant in found.items() if several and variant is section)
        yield key if named is None else f"{key}.NAME", section, kinds


def _keys(prefix: str, section: type[Section], kinds: tuple[str, ...]) -> Iterator[RecipeKey]:
    for name, field in keys_of(section).items():
        annotation, meaning = annotation_of(field), field.description or ""
        yield RecipeKey(f"{prefix}.{name}", describe(annotation), default_text(field), meaning, kinds)
        for below in variants(annotation).values():
            yield from _keys(f"{prefix}.{name}", below, kinds)


def _row(one: RecipeKey) -> str:
    cells = (f"`{one.key}`", one.expects, one.default, one.meaning)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def default_text(field: FieldInfo) -> str:
    """What stands where a key is not given, in words."""
    if said := _derived(field):
        return said[0]
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "as below" if isinstance(value, Section) else "empty" if value in ((), {}) else spell(value)


def _sentence(text: str) -> str:
    first = " ".join(re.sub(r":\w+:(?=`)", "", text.split("\n\n")[0]).split())  # Sphinx's roles are not Markdown
    return first[:1].upper() + first[1:] + ("" if first.endswith(".") else ".")
