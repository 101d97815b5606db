"""The recipe's own structure: which section a key lies in, and in words what its value should be."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Tag
from pydantic.fields import FieldInfo

from volseg.recipe.kinds import Says
from volseg.recipe.section import Section


def keys_of(section: type[Section]) -> dict[str, FieldInfo]:
    """The keys of a section as they are written in a recipe."""
    return {field.alias or name: field for name, field in section.model_fields.items()}


def annotation_of(field: FieldInfo) -> Any:
    """The type of a key with all that qualifies it."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def variants(annotation: Any) -> dict[str, type[Section]]:
    """The sections that can stand where this annotation is, by their ``kind``.

    A section that has no other kind is listed under its own name.
    """
    tag, inner, _ = _opened(annotation)
    if isinstance(inner, type) and issubclass(inner, Section):
        return {tag.tag.strip("<>") if tag else inner.__name__: inner}
    return {name: found for member in _members(inner) for name, found in variants(member).items()}


def named_section(annotation: Any) -> Any:
    """The type of what stands under each name, where the names are free; none elsewhere."""
    _, inner, _ = _opened(annotation)
    return get_args(inner)[1] if get_origin(inner) is dict else None


def is_default(section: type[Section]) -> bool:
    """Whether this variant is meant where no ``kind`` is given."""
    kind = section.model_fields.get("kind")
    return kind is not None and not kind.is_required()


def follow(
    root: type[Section], loc: Sequence[str | int], *, unknown: bool = False
) -> tuple[Any, type[Section], tuple[str | int, ...]]:
    """What pydantic's location means: the annotation there, the section it lies in, and the key without tags.

    The annotation is None where the section has no such key. With ``unknown`` the last part is a key that somebody
    made up, whatever it looks like.
    """
    annotation: Any = root
    section, key = root, list[str | int]()
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        _, inner, _ = _opened(annotation)
        members = {_tag_of(member): member for member in _members(inner)}
        if part in members and not (last and unknown):
            if last:
                break  # the value is none of the forms it may have: all of them are told
            annotation = members[str(part)]
            continue
        if last and part == "[key]" and not unknown:
            break  # it is the name before it that is wrong
        key.append(part)
        if isinstance(inner, type) and issubclass(inner, Section):
            section = inner
            field = keys_of(inner).get(str(part))
            if field is None:
                return None, section, tuple(key)
            annotation = annotation_of(field)
        else:
            annotation = next(iter(get_args(inner)[-1:] if get_origin(inner) is dict else get_args(inner)[:1]), None)
    return annotation, section, tuple(key)


def describe(annotation: Any) -> str:
    """What a value of this type is, in words.

    >>> describe(Literal["batch", "instance"] | None)
    "none, 'batch' or 'instance'"
    """
    options = list(dict.fromkeys(_options(annotation)))
    return " or ".join(filter(None, [", ".join(options[:-1]), options[-1]]))


def key_annotation(annotation: Any) -> Any:
    """The type of a mapping's keys."""
    return get_args(_opened(annotation)[1])[0]


def words(annotation: Any) -> list[str]:
    """The words that a value may be, where it is one of a few words."""
    _, inner, _ = _opened(annotation)
    if get_origin(inner) is Literal:
        return [word for word in get_args(inner) if isinstance(word, str)]
    return [word for member in _members(inner) for word in words(member)]


def _options(annotation: Any) -> Iterator[str]:
    _, inner, metadata = _opened(annotation)
    says = [item.text for item in metadata if isinstance(item, Says)]
    if _is_optional(annotation):
        yield "none"
    if says:
        yield says[-1]
    elif get_origin(inner) is Literal:
        yield from (f"'{word}'" if isinstance(word, str) else str(word) for word in get_args(inner))
    elif _members(inner):
        for member in _members(inner):
            yield from _options(member)
    elif isinstance(inner, type) and issubclass(inner, Section):
        yield "a mapping of keys"
    elif get_origin(inner) is dict:
        yield f"a mapping of names, each {describe(get_args(inner)[1])}"
    elif get_origin(inner) is tuple:
        yield f"a list, each {describe(get_args(inner)[0])}"
    else:
        yield _PLAIN[inner] + _bounds(metadata)


_PLAIN: Mapping[Any, str] = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _bounds(metadata: Sequence[Any]) -> str:
    least = next((m.ge for m in metadata if isinstance(m, Ge)), None)
    most = next((m.le for m in metadata if isinstance(m, Le)), None)
    if least is not None and most is not None:
        return f" from {least} to {most}"
    low = next((f" of at least {m.ge}" for m in metadata if isinstance(m, Ge)), "")
    low = next((f" above {m.gt}" for m in metadata if isinstance(m, Gt)), low)
    high = next((f"up to {m.le}" for m in metadata if isinstance(m, Le)), "")
    high = next((f"below {m.lt}" for m in metadata if isinstance(m, Lt)), high)
    return low + (" and " if low and high else " " if high else "") + high


def _opened(annotation: Any) -> tuple[Tag | None, Any, list[Any]]:
    """A type without its qualifiers and without "or none": its tag, itself, and the qualifiers."""
    metadata: list[Any] = []
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *outer = get_args(annotation)
            flat = [part for item in outer for part in (item.metadata if isinstance(item, FieldInfo) else [item])]
            metadata = flat + metadata
        elif _is_union(annotation) and len(rest := [m for m in get_args(annotation) if m is not types.NoneType]) == 1:
            annotation = rest[0]
        else:
            break
    return next((item for item in metadata if isinstance(item, Tag)), None), annotation, metadata


def _members(annotation: Any) -> list[Any]:
    return [m for m in get_args(annotation) if m is not types.NoneType] if _is_union(annotation) else []


def _tag_of(annotation: Any) -> str | None:
    tag, _, _ = _opened(annotation)
    return tag.tag if tag else None


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _is_optional(annotation: Any) -> bool:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return _is_union(annotation) and types.NoneType in get_args(annotation)
