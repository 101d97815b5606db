"""One choice of a plan: the recipe's key, its value, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Choice:
    """A key of the recipe, dotted, with its value and the reason; without a value the reason alone is told."""

    key: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Choices:
    """Choices in the order in which they were made; a later one for the same key replaces an earlier."""

    made: tuple[Choice, ...] = ()
    by_key: Mapping[str, Choice] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_key", {choice.key: choice for choice in self.made})

    def __iter__(self) -> Iterator[Choice]:
        return iter(self.by_key.values())

    def __getitem__(self, key: str) -> Any:
        return self.by_key[key].value

    def plus(self, more: Iterable[Choice]) -> Choices:
        """These and others."""
        return Choices((*self.made, *more))

    @property
    def data(self) -> dict[str, Any]:
        """What the recipe is made of: dotted keys and values."""
        return {choice.key: choice.value for choice in self}

    @property
    def reasons(self) -> dict[str, str]:
        """The reason of each key."""
        return {choice.key: choice.reason for choice in self}
