"""What a user sees of a recipe's mistakes: one line each, with the key, the value, what was expected, and the mend."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from volseg.errors import RecipeError, nearest, printable
from volseg.recipe.anatomy import annotation_of, describe, follow, key_annotation, keys_of, variants, words
from volseg.recipe.layers import Merged
from volseg.recipe.section import Section
from volseg.recipe.spelling import Key, spell, spell_key

SHOWN = 8
_SYNONYMS = {"fp32": "float32", "float16": "fp16", "half": "fp16", "bfloat16": "bf16"}
_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def recipe_error(error: ValidationError, recipe: type[Section], merged: Merged) -> RecipeError:
    """The error that a user sees, at most :data:`SHOWN` lines and how many more there are."""
    details = error.errors(include_url=False)
    count = sum(len(detail["ctx"]["found"]) if _is_contradictions(detail) else 1 for detail in details)
    # thousands of mistakes are told as fast as eight
    lines = [_line(key, text, merged) for key, text in islice(_mistakes(details, recipe), SHOWN)]
    more = [f"… and {count - SHOWN} more"] if count > SHOWN else []
    return RecipeError("\n".join(lines + more))


def _mistakes(details: Sequence[ErrorDetails], recipe: type[Section]) -> Iterator[tuple[Key, str]]:
    for detail in details:
        if _is_contradictions(detail):
            yield from detail["ctx"]["found"]
        else:
            yield _mistake(detail, recipe)


def _is_contradictions(detail: ErrorDetails) -> bool:
    return detail["type"] == "contradictions"


def _line(key: Key, text: str, merged: Merged) -> str:
    layer = merged.origin(key)
    place = "" if layer.key == key else f"{spell_key(key)}: "
    return f"{printable(layer.source)}: {place}{text}"


def _mistake(detail: ErrorDetails, recipe: type[Section]) -> tuple[Key, str]:
    kind, value = detail["type"], detail["input"]
    annotation, section, key = follow(recipe, detail["loc"], unknown=kind == "extra_forbidden")
    if kind == "extra_forbidden":
        return key, _unknown_key(str(key[-1]), section, recipe)
    if kind == "missing":
        return key, f"missing; {section.model_fields[_attribute(section, str(key[-1]))].description}"
    if detail["loc"][-1:] == ("[key]",):
        annotation, _, _ = follow(recipe, detail["loc"][:-2])
        return key, f"cannot be a name; expected {describe(key_annotation(annotation))}"
    if kind in ("union_tag_invalid", "union_tag_not_found") and isinstance(value, dict):
        known = list(variants(annotation))
        return (*key, "kind"), _expected(_choices(known), value.get("kind"), known)
    if kind == "invalid_key":
        return key, "a key must be text"
    return key, _expected(describe(annotation), value, words(annotation), _kinds(annotation))


def _expected(what: str, value: Any, known: Sequence[str], kinds: Sequence[str] = ()) -> str:
    mend = ""
    if isinstance(value, str) and value in kinds:
        mend = f"; did you mean {{kind: {value}}}?"
    elif isinstance(value, str) and "true or false" in what and value.lower() in _BOOLEANS:
        mend = f"; did you mean {_BOOLEANS[value.lower()]}?"
    elif isinstance(value, str) and (near := _nearest(value, known)):
        mend = f"; did you mean '{near}'?"
    elif what in ("text", "one line of text", "a name without dots") and isinstance(value, (int, float)):
        mend = "; write it in quotes"
    return f"expected {what}, not {spell(value)}{mend}"


def _unknown_key(name: str, section: type[Section], recipe: type[Section]) -> str:
    known = list(keys_of(section))
    if "." in name:
        return "unknown key; a key with dots stands only at the top level"
    if kinds := _other_kinds(name, section, recipe):
        return f"unknown key; it belongs to kind {_choices(kinds)}"
    if near := _nearest(name, known):
        return f"unknown key; did you mean '{near}'?"
    if elsewhere := _elsewhere(name, recipe):
        return f"unknown key; did you mean '{elsewhere}'?"
    return f"unknown key; known are {', '.join(known)}"


def _kinds(annotation: Any) -> list[str]:
    """The kinds that a section can be, where it has kinds."""
    fields = [section.model_fields.get("kind") for section in variants(annotation).values()]
    return [kind for field in fields if field for kind in words(annotation_of(field))]


def _nearest(word: str, known: Sequence[str]) -> str | None:
    lowered = {name.lower(): name for name in known}
    small = word[:100].lower()
    meant = _SYNONYMS.get(small)
    near = meant if meant in lowered else nearest(small, list(lowered))
    if near is None and len(small) > 3:
        near = next((name for name in lowered if name.startswith(small[:4])), None)
    return None if near is None or lowered[near] == word else lowered[near]


def _other_kinds(name: str, section: type[Section], recipe: type[Section]) -> list[str]:
    """The kinds of this section that do have the key."""
    for field in keys_of(recipe).values():
        found = variants(annotation_of(field))
        if section in found.values():
            return [kind for kind, other in found.items() if name in keys_of(other)]
    return []


def _elsewhere(name: str, recipe: type[Section]) -> str | None:
    """Where the recipe has a key of this name, if not here."""
    for top, section_field in keys_of(recipe).items():
        for section in variants(annotation_of(section_field)).values():
            if name in keys_of(section):
                return f"{top}.{name}"
    return None


def _attribute(section: type[Section], key: str) -> str:
    return next((name for name, field in section.model_fields.items() if (field.alias or name) == key), key)


def _choices(known: Sequence[str]) -> str:
    return " or ".join(filter(None, [", ".join(f"'{k}'" for k in known[:-1]), f"'{known[-1]}'"]))
