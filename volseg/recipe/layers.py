"""A recipe in layers: the file, overlays over it, single keys over those; and who said what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from volseg.errors import RecipeError
from volseg.recipe.anatomy import annotation_of, is_default, keys_of, variants
from volseg.recipe.section import Section
from volseg.recipe.spelling import Key, spell, spell_key


@dataclass(frozen=True)
class Layer:
    """Changes of recipe keys, nested or with dotted keys at the top, and what errors call them."""

    source: str
    changes: Mapping[str, Any]
    #: the one key that the layer sets, where it is a single setting: its errors need not repeat it
    key: Key | None = None


@dataclass
class Merged:
    """Plain data put together from layers, and the layer that each part came from."""

    data: dict[str, Any] = field(default_factory=dict)
    origins: dict[Key, Layer] = field(default_factory=dict)

    def origin(self, key: Key) -> Layer:
        """The layer that set a key, or what it lies in."""
        while key and key not in self.origins:
            key = key[:-1]
        return self.origins[key]


def merge(layers: list[Layer], recipe: type[Section]) -> Merged:
    """Put layers together: mappings are merged key by key, everything else is replaced.

    A layer that changes the ``kind`` of a section drops the keys below it that only the old kind has.

    Raises:
        RecipeError: if a dotted key does not fit the layer's other keys.
    """
    merged = Merged(origins={(): layers[0]})
    for layer in layers:
        changes = _nested(layer)
        _drop_other_kinds(merged.data, changes, recipe)
        _lay(merged.data, changes, (), layer, merged.origins)
    return merged


def _nested(layer: Layer) -> dict[str, Any]:
    """The changes with dotted keys at the top level unfolded, and tuples for lists."""
    nested: dict[str, Any] = {}
    for dotted, value in layer.changes.items():
        parts = dotted.split(".") if isinstance(dotted, str) else [dotted]
        if not all(parts):
            raise RecipeError(f"{spell(dotted)} is no key", where=layer.source)
        _place(nested, parts, _plain(value), layer)
    return nested


def _place(nested: dict[str, Any], parts: list[str], value: Any, layer: Layer) -> None:
    """Set one dotted key beside others of the same layer; the same key twice is a mistake."""
    inner = nested
    for part in parts[:-1]:
        inner = inner.setdefault(part, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{spell_key(tuple(parts))}: set twice", where=layer.source)
    last = parts[-1]
    if last in inner and isinstance(inner[last], dict) and isinstance(value, dict):
        for name, below in value.items():
            _place(nested, [*parts, name], below, layer)
    elif last in inner:
        raise RecipeError(f"{spell_key(tuple(parts))}: set twice", where=layer.source)
    else:
        inner[last] = value


def _lay(below: dict[str, Any], above: Mapping[str, Any], at: Key, layer: Layer, origins: dict[Key, Layer]) -> None:
    for name, value in above.items():
        key = (*at, name)
        if isinstance(value, dict) and isinstance(below.get(name), dict):
            _lay(below[name], value, key, layer, origins)
            continue
        if name in below:
            for old in [old for old in origins if old[: len(key)] == key]:
                del origins[old]
        origins[key] = layer
        below[name] = value


def _drop_other_kinds(below: dict[str, Any], above: Mapping[str, Any], recipe: type[Section]) -> None:
    for name, section_field in keys_of(recipe).items():
        old, new = below.get(name), above.get(name)
        if not (isinstance(old, dict) and isinstance(new, dict) and "kind" in new):
            continue
        known = variants(annotation_of(section_field))
        usual = next((kind for kind, section in known.items() if is_default(section)), None)
        chosen = known.get(str(new["kind"]))
        if chosen is not None and known.get(str(old.get("kind", usual))) is not chosen:
            below[name] = {key: value for key, value in old.items() if key in keys_of(chosen) and key != "kind"}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_plain(item) for item in value)
    return value
