"""Sizes of memory and lengths of time as people write them: ``2GiB``, ``1h30min``."""

from __future__ import annotations

import re

_BYTES = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_BY_LOWER = {unit.lower(): factor for unit, factor in _BYTES.items()}
_SECONDS = {"d": 86400, "h": 3600, "min": 60, "s": 1}
_TIME = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)min)?(?:(\d+)s)?", re.ASCII)


def parse_bytes(text: str) -> int:
    """The number of bytes in ``text``; a unit is needed, and 1024 and 1000 are told apart.

    >>> parse_bytes("2GiB"), parse_bytes("1.5 GB")
    (2147483648, 1500000000)

    Raises:
        ValueError: if the text is no size.
    """
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([a-zA-Z]+)\s*", text, re.ASCII)
    if not found or found[2].lower() not in _BY_LOWER:
        raise ValueError(f"{text!r} is no size")
    return round(float(found[1]) * _BY_LOWER[found[2].lower()])


def format_bytes(size: int) -> str:
    """The shortest exact way to write ``size``; :func:`parse_bytes` reads it back.

    >>> format_bytes(2 * 2**30), format_bytes(1_500_000)
    ('2GiB', '1500kB')
    """
    exact = [f"{size // factor}{unit}" for unit, factor in _BYTES.items() if size % factor == 0 and size >= factor]
    return min(exact, key=lambda text: (len(text.rstrip("BkKMGTi")), text), default="0B")


def readable_bytes(size: float) -> str:
    """An amount of memory as a person reads it.

    >>> readable_bytes(2.5 * 2**30), readable_bytes(3 * 2**20), readable_bytes(5000)
    ('2.50 GiB', '3 MiB', '5 KiB')
    """
    if size >= 2**30:
        return f"{size / 2**30:.2f} GiB"
    return f"{size / 2**20:.0f} MiB" if size >= 2**20 else f"{size / 2**10:.0f} KiB"


def parse_seconds(text: str) -> int:
    """The seconds in ``text``: days, hours, minutes and seconds in that order.

    >>> parse_seconds("1h30min"), parse_seconds("45s")
    (5400, 45)

    Raises:
        ValueError: if the text is no length of time.
    """
    found = _TIME.fullmatch(text.replace(" ", ""))
    if not found or not any(found.groups()) or len(text) > 40:
        raise ValueError(f"{text!r} is no length of time")
    return sum(int(n or 0) * factor for n, factor in zip(found.groups(), _SECONDS.values(), strict=True))


def format_seconds(seconds: int) -> str:
    """A length of time in words that :func:`parse_seconds` reads back.

    >>> format_seconds(5400), format_seconds(0)
    ('1h30min', '0s')
    """
    parts = []
    for unit, factor in _SECONDS.items():
        count, seconds = divmod(seconds, factor)
        parts += [f"{count}{unit}"] if count else []
    return "".join(parts) or "0s"
