"""The kinds of value a recipe key can hold, each saying in words what it expects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, PlainSerializer, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from volseg.recipe.frozen import FrozenDict, frozen
from volseg.recipe.units import format_bytes, format_seconds, parse_bytes, parse_seconds

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Says:
    """What a value should be, in the words an error and the reference print."""

    text: str


@dataclass(frozen=True)
class Default:
    """A default that depends on other keys, in words."""

    text: str


def refuse() -> PydanticCustomError:
    """The error of a value that is not what its key says it expects."""
    return PydanticCustomError("unexpected", "not what was expected")


def must(holds: Callable[[Any], bool]) -> AfterValidator:
    """A condition that a value of the right type must meet as well."""

    def check(value: V) -> V:
        if not holds(value):
            raise refuse()
        return value

    return AfterValidator(check)


def _whole(value: object) -> object:
    if type(value) is not int:
        raise refuse()
    return value


Interpolation = Literal["nearest", "linear", "cubic"]
#: the orders of interpolation that recipes write as numbers
INTERPOLATIONS: Mapping[int, Interpolation] = {0: "nearest", 1: "linear", 3: "cubic"}

#: for a choice of whole numbers, where true and 1.0 would pass for 1
Whole = BeforeValidator(_whole)


def one_or_list(value: object) -> str:
    """Which of two forms a value has, so that its errors are those of that form alone."""
    return "<list>" if isinstance(value, (tuple, list)) else "<one>"


def level_or_list(value: object) -> str:
    """As :func:`one_or_list`, for the entries of a list; a tag may stand only once in a schema."""
    return "<axes>" if isinstance(value, (tuple, list)) else "<level>"


def kind_of(default: str | None = None) -> Discriminator:
    """Which variant of a section is meant, by its key ``kind``."""

    def tag(value: object) -> str | None:
        kind = value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", default)
        return f"<{kind}>" if isinstance(kind, str) else None

    return Discriminator(tag)


def _parsed(parse: Callable[[str], int]) -> BeforeValidator:
    def read(value: object) -> object:
        if isinstance(value, str):
            with suppress(ValueError):
                return parse(value)
        raise refuse()

    return BeforeValidator(read)


def _ascending(pair: tuple[float, ...]) -> bool:
    return len(pair) == 2 and pair[0] <= pair[1]


Count = Annotated[int, Field(ge=1)]
Extent = Annotated[int, Field(ge=1, le=16384)]
Width = Annotated[int, Field(ge=1, le=64)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1, max_length=4000), Says("text")]
Line = Annotated[str, must(lambda s: 0 < len(s) <= 500 and s.isprintable()), Says("one line of text")]
Seed = Annotated[int, Field(ge=0, lt=2**32)]

Range = Annotated[tuple[float, ...], must(_ascending), Says("two numbers, the smaller first")]
PositiveRange = Annotated[
    tuple[float, ...], must(lambda r: _ascending(r) and r[0] > 0), Says("two positive numbers, the smaller first")
]
NotNegativeRange = Annotated[
    tuple[float, ...],
    must(lambda r: _ascending(r) and r[0] >= 0),
    Says("two numbers of at least 0, the smaller first"),
]

Size = Annotated[tuple[Extent, ...], Field(min_length=2, max_length=3), Says("a list of whole numbers, one per axis")]
PerAxis = Annotated[
    Annotated[NotNegative, Tag("<one>")]
    | Annotated[tuple[NotNegative, ...], Field(min_length=2, max_length=3), Tag("<list>")],
    Discriminator(one_or_list),
    Says("a number of at least 0, or a list of them, one per axis"),
]
PositivePerAxis = Annotated[
    Annotated[Positive, Tag("<one>")]
    | Annotated[tuple[Positive, ...], Field(min_length=2, max_length=3), Tag("<list>")],
    Discriminator(one_or_list),
    Says("a number above 0, or a list of them, one per axis"),
]
CountPerAxis = Annotated[
    Annotated[Annotated[int, Field(ge=2, le=1024)], Tag("<one>")]
    | Annotated[tuple[Annotated[int, Field(ge=2, le=1024)], ...], Field(min_length=2, max_length=3), Tag("<list>")],
    Discriminator(one_or_list),
    Says("a whole number of at least 2, or a list of them, one per axis"),
]
_Level = Annotated[
    Annotated[Width, Tag("<level>")] | Annotated[tuple[Width, ...], Field(min_length=2, max_length=3), Tag("<axes>")],
    Discriminator(level_or_list),
    Says("a whole number from 1 to 64, or a list of them, one per axis"),
]
PerLevel = Annotated[
    Annotated[Width, Tag("<one>")] | Annotated[tuple[_Level, ...], Field(min_length=1, max_length=12), Tag("<list>")],
    Discriminator(one_or_list),
    Says("a whole number from 1 to 64, or a list with one per level (or, per level, a list with one per axis)"),
]
Axes = Annotated[
    tuple[Annotated[int, Field(ge=0, le=2)], ...],
    must(lambda axes: len(set(axes)) == len(axes)),
    AfterValidator(lambda axes: tuple(sorted(axes))),
    Says("a list of different axes (0, 1, 2)"),
]
Plane = Annotated[
    Axes,
    must(lambda plane: len(plane) == 2),
    Says("two different axes, such as [0, 1]"),
]
Planes = Annotated[tuple[Plane, ...], AfterValidator(lambda planes: tuple(sorted(set(planes))))]

Bytes = Annotated[
    int,
    _parsed(parse_bytes),
    Field(ge=2**20, lt=2**60),
    PlainSerializer(format_bytes),
    WithJsonSchema({"type": "string"}),
    Says("a size of at least 1MiB with its unit, such as 2GiB"),
]
Seconds = Annotated[
    int,
    _parsed(parse_seconds),
    Field(ge=1, lt=2**40),
    PlainSerializer(format_seconds),
    WithJsonSchema({"type": "string"}),
    Says("a length of time with its unit, such as 30min or 1h30min"),
]


def _frozen(mapping: dict[K, V]) -> FrozenDict[K, V]:
    return frozen(mapping)


Frozen = AfterValidator(_frozen)
