"""A configuration of MONAI's as data with places, so that whatever is not understood is told where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from volseg.bundle.audit.yaml_places import read_yaml_places
from volseg.bundle.storage.files import BundleFiles, read_whole
from volseg.bundle.storage.json_text import Placed, read_json, walk
from volseg.errors import BundleError, printable

Path = tuple[str | int, ...]
_NAMES = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)
_NONE = {"null", "none", "~", ""}


@dataclass(frozen=True, eq=False)
class Config:
    """What a bundle's inference configuration holds.

    Attributes:
        file: its path in the bundle.
        data: its content; texts know their places.
        text: as it was written.
    """

    file: str
    data: dict[str, Any]
    text: str

    def refusal(self, path: Path, why: str) -> BundleError:
        """The error that names file, line, key and reason."""
        line = self._line(path)
        key = "::".join(map(str, path))
        what = ", ".join(([f"line {line}"] if line else []) + ([key] if key else []))
        return BundleError(f"{what}: {printable(why)}", where=self.file)

    def at(self, path: Path) -> Any:
        """The value that lies there.

        Raises:
            KeyError: if none does.
        """
        value: Any = self.data
        for step in path:
            if isinstance(value, list):
                number = int(step) if str(step).isdigit() and len(str(step)) < 6 else -1
                if not 0 <= number < len(value):
                    raise KeyError(step)
                value = value[number]
            elif isinstance(value, dict):
                value = value[str(step)]
            else:
                raise KeyError(step)
        return value

    def _line(self, path: Path) -> int | None:
        """The line of the value, or of the first text beside or above it: numbers do not know where they stand."""
        for length in range(len(path), -1, -1):
            try:
                here = self.at(path[:length])
            except KeyError:
                continue
            if isinstance(here, dict) and isinstance(here.get("_target_"), Placed):
                here = here["_target_"]
            placed = next(_placed(here), None) if length else None
            if placed is not None:
                return self.text.count("\n", 0, placed.offset) + 1
        return None


def read_config(files: BundleFiles) -> Config:
    """The inference configuration of a bundle; JSON where there are several.

    Raises:
        BundleError: if there is none, or it cannot be read.
    """
    file = next((name for name in _NAMES if name in files.sizes), None)
    if file is None:
        raise BundleError(f"has none of {', '.join(_NAMES)}: nothing says how it predicts", where=files.where)
    raw = read_whole(files, file)
    data = read_json(raw, file) if file.endswith(".json") else _typed(read_yaml_places(raw, file))
    if not isinstance(data, dict):
        raise BundleError("is no mapping", where=file)
    for path, _ in walk(data):
        odd = next((key for key in path if isinstance(key, str) and re.search("::|#|^[+~]", key)), None)
        if odd is not None:
            raise BundleError(f"the key {odd!a} reaches into other keys, which is not followed here", where=file)
    return Config(file, data, raw.decode("utf-8-sig"))


def _placed(value: Any) -> Iterator[Placed]:
    return (inner for _, inner in walk(value) if isinstance(inner, Placed))


def _typed(value: Any) -> Any:
    """YAML's numbers and nulls, which come as texts."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if isinstance(value, Placed):
        if value.lower() in _NONE:
            return None
        if len(value) < 40 and _NUMBER.fullmatch(value):
            return int(value) if re.fullmatch(r"[-+]?\d+", value) else float(value)
    return value
