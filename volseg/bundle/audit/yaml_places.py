"""YAML of a config that a stranger wrote: bounded, aliases written out, each text with its place."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.events import NodeEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from volseg.bundle.storage.json_text import Placed
from volseg.errors import BundleError, printable

_LARGEST = 128 * 1024
_DEEPEST = 40
_MOST = 20_000
_TRUE = {"true", "yes", "on"}
_FALSE = {"false", "no", "off"}


def read_yaml_places(raw: bytes, where: str) -> Any:
    """The data in a file's bytes; texts are :class:`Placed`, numbers too.

    Raises:
        BundleError: if they are too many, nested too deep, multiplied by aliases, tagged, or no YAML.
    """
    if len(raw) > _LARGEST:
        raise BundleError(f"more than {_LARGEST >> 10} KiB of YAML, which no config needs", where=where)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BundleError(f"byte {error.start} is not UTF-8", where=where) from None
    try:
        loader = _Composer(text)
        try:
            node = loader.get_single_node()
            return None if node is None else _Writer(where).write(node, 0)
        finally:
            loader.dispose()
    except BundleError as error:
        raise BundleError(error.what, where=where) from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise BundleError(f"{line}not valid YAML: {printable(str(error.problem)[:200])}", where=where) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        raise BundleError("not valid YAML", where=where) from None


class _Composer(yaml.SafeLoader):
    """PyYAML up to the nodes; it constructs nothing."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, NodeEvent) and (tag := getattr(event, "tag", None)) is not None:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise BundleError(f"line {line}: the tag {tag[:100]!a}, which can stand for any object")
        if self.depth >= _DEEPEST:
            raise BundleError(f"nested more than {_DEEPEST} deep")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Writer:
    def __init__(self, where: str) -> None:
        self.where, self.count = where, 0

    def write(self, node: Node, depth: int) -> Any:
        self.count += 1
        if self.count > _MOST:
            raise BundleError(f"more than {_MOST} values once its aliases are written out")
        if depth > _DEEPEST:
            raise BundleError(f"nested more than {_DEEPEST} deep once its aliases are written out")
        if isinstance(node, SequenceNode):
            return [self.write(item, depth + 1) for item in node.value]
        if isinstance(node, MappingNode):
            made: dict[str, Any] = {}
            for key_node, value in node.value:
                key = key_node.value if isinstance(key_node, ScalarNode) else "?"
                if key in made or key == "?":
                    line = key_node.start_mark.line + 1 if key_node.start_mark else 0
                    raise BundleError(f"line {line}: the key {key[:100]!a} stands twice or is no text")
                made[key] = self.write(value, depth + 1)
            return made
        return _scalar(node)


def _scalar(node: Node) -> Any:
    if isinstance(node, ScalarNode) and node.style is None and node.value.lower() in _TRUE | _FALSE:
        return node.value.lower() in _TRUE
    placed = Placed(node.value)
    placed.offset = node.start_mark.index if node.start_mark else 0
    return placed
