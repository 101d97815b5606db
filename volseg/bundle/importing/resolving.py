"""What each place of a configuration stands for: references followed, known expressions interpreted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from volseg.bundle.importing.config import Config, Path
from volseg.bundle.importing.expressions import Unknown, meaning
from volseg.bundle.importing.meanings import Listed, Part
from volseg.bundle.storage.json_text import walk

#: what stands for the bundle's own folder in paths
ROOT = "<bundle>"
_DEEPEST = 40
_LARGEST = 4096


class Resolver:
    """The values of a configuration.

    Args:
        config: the configuration.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self._known: dict[Path, Any] = {}
        self._open: list[Path] = []

    def value(self, path: Path) -> Any:
        """What stands at a place: a plain value, a component, or a meaning.

        Raises:
            BundleError: if it leads nowhere, in a circle, or to what is not understood.
        """
        if path == ("bundle_root",):
            return ROOT
        if path in self._known:
            return self._known[path]
        if path in self._open or len(self._open) > _DEEPEST:
            raise self.config.refusal(path, "leads in a circle of references, or too deep")
        self._open.append(path)
        try:
            found = self._known[path] = self._resolved(path, self.config.at(path))
        finally:
            self._open.pop()
        return found

    def plain(self, path: Path) -> Any:
        """The same with lists and mappings followed to their last items; components stay."""
        return self._plain(self.value(path))

    def check_everything(self) -> None:
        """Raise for any expression or reference of the configuration that is not understood, used or not."""
        for path, value in walk(self.config.data):
            if path and isinstance(value, str) and value[:1] in "$@%":
                self.value(path)

    def _resolved(self, path: Path, value: Any) -> Any:
        if isinstance(value, dict):
            return Part(path, value) if "_target_" in value else Listed(path, [*value])
        if isinstance(value, list):
            return Listed(path, value)
        if not isinstance(value, str):
            return value
        if value.startswith("$"):
            try:
                return meaning(value, lambda reference: self._plain(self._looked_up(path, reference)))
            except Unknown as error:
                raise self.config.refusal(path, f"needs {error}, which is not interpreted here: {value}") from None
        if value.startswith("@"):
            return self._looked_up(path, value[1:])
        if value.startswith("%"):
            if re.search(r"\.(json|ya?ml)", value, re.IGNORECASE):
                raise self.config.refusal(path, f"takes a part from another file: {value}")
            return self._looked_up(path, value[1:])
        return str(value)

    def _looked_up(self, path: Path, reference: str) -> Any:
        target: Path = tuple(re.split("::|#", reference))
        if target == ("bundle_root",):
            return ROOT
        try:
            self.config.at(target)
        except KeyError:
            raise self.config.refusal(path, f"refers to {reference}, which is not there") from None
        return self.value(target)

    def _plain(self, found: Any) -> Any:
        if not isinstance(found, Listed):
            return found
        here = self.config.at(found.path)
        if isinstance(here, dict):
            return {str(key): self.plain((*found.path, key)) for key in here}
        if len(here) > _LARGEST:
            raise self.config.refusal(found.path, f"a list of more than {_LARGEST}")
        return [self.plain((*found.path, index)) for index in range(len(here))]

    def items(self, listed: Any, path: Path) -> Iterator[tuple[Path, Any]]:
        """The items of a list with their places.

        Raises:
            BundleError: if it is no list that is written out.
        """
        if not isinstance(listed, Listed) or not isinstance(self.config.at(listed.path), list):
            raise self.config.refusal(path, "is no list that is written out")
        for index in range(len(listed.value)):
            yield (*listed.path, index), self.value((*listed.path, index))
