"""Keys and values as they are printed in an error: on one line, as one would write them in a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from volseg.errors import printable

Key = tuple[str | int, ...]
_LONGEST = 60


def spell_key(key: Key) -> str:
    """A key with dots, list positions in brackets.

    >>> spell_key(("training", "patch", 1))
    'training.patch[1]'
    """
    spelled = ""
    for part in key:
        if isinstance(part, int):
            spelled += f"[{part}]"
        else:
            shown = shorten(printable(part))
            spelled += ("." if spelled else "") + (f"'{shown}'" if "." in part or not part.strip() else shown)
    return spelled


def spell(value: object) -> str:
    """A value as YAML on one line, cut where it is long.

    >>> spell((1, "a", None, True))
    "[1, 'a', none, true]"
    """
    return shorten(_spelled(value))


def shorten(text: str) -> str:
    """``text``, cut to what fits on a line."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _spelled(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{printable(value[: 2 * _LONGEST])}'"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{printable(str(k))}: {_spelled(v)}" for k, v in list(value.items())[:_LONGEST]) + "}"
    if isinstance(value, Sequence):
        return "[" + ", ".join(_spelled(item) for item in value[:_LONGEST]) + "]"
    return printable(str(value)[: 2 * _LONGEST])
