"""YAML of a recipe to plain data and back: only mappings, lists and plain scalars, and no surprises.

Scalars mean what YAML 1.2 says: ``1e-4`` is a number, ``yes`` and ``on`` are text, ``010`` is ten; ``none`` is
null. Anchors, aliases, tags, several documents and keys that stand twice are refused, each with its line.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from yaml.events import AliasEvent, NodeEvent
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from volseg.errors import RecipeError, printable
from volseg.recipe.spelling import shorten, spell

LARGEST = 128 * 1024
DEEPEST = 20

_YAML = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|none|None|NONE|", re.ASCII)
_BOOLEAN = re.compile(r"true|True|TRUE|false|False|FALSE", re.ASCII)
_INTEGER = re.compile(r"[-+]?[0-9]{1,400}", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]{1,400}|[0-9]{1,400}(?:\.[0-9]{0,400})?)(?:[eE][-+]?[0-9]{1,4})?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    re.ASCII,
)
_ILL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def read_yaml(raw: bytes, where: str) -> Any:
    """The plain data in a file's bytes.

    Raises:
        RecipeError: if they are too many, no text, no YAML, or YAML that a recipe has no use for.
    """
    if len(raw) > LARGEST:
        raise RecipeError(f"more than {LARGEST // 1024} KiB, which no recipe needs", where=where)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"byte {error.start} is not UTF-8", where=where, mend="save it as UTF-8 text") from None
    return parse_yaml(text, where)


def parse_yaml(text: str, where: str) -> Any:
    """The plain data in a text.

    >>> parse_yaml("{lr: 1e-4, on: yes, norm: none}", "recipe.yaml")
    {'lr': 0.0001, 'on': 'yes', 'norm': None}
    """
    if ill := _ILL.search(text):
        number = text.count("\n", 0, ill.start()) + 1
        raise RecipeError(f"line {number}: the character {ill[0]!a} has no place here", where=where)
    loader = _Composer(text)
    try:
        node = loader.get_single_node()
        return None if node is None else _plain(node)
    except _Refused as refused:
        raise RecipeError(f"line {refused.line}: {refused.what}", where=where, mend=refused.mend) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise RecipeError(f"{line}not valid YAML: {_problem(error)}", where=where) from None
    except (ValueError, OverflowError):  # what PyYAML itself does not catch: "\UFFFFFFFF", %YAML 9999…
        raise RecipeError("not valid YAML: a number or an escaped character is out of range", where=where) from None
    finally:
        loader.dispose()


def write_yaml(data: Any) -> str:
    """Plain data as YAML that :func:`parse_yaml` reads back equal; the same data give the same text."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True)


def commented(text: str, comments: Mapping[str, str]) -> str:
    """``text``, which :func:`write_yaml` wrote, with comments above the lines of dotted keys.

    >>> print(commented("a:\\n  b: 1\\n", {"a.b": "the only one"}), end="")
    a:
      # the only one
      b: 1
    """
    lines = text.splitlines()
    places = dict(_lines(yaml.compose(text, Loader=yaml.SafeLoader)))
    above: dict[int, list[str]] = {}
    for key, comment in comments.items():
        parts = key.split(".")
        known = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
        line = next((places[place] for place in known if place in places), 0)
        indent = lines[line][: len(lines[line]) - len(lines[line].lstrip())]
        told = textwrap.wrap(printable(" ".join(comment.split())), 110 - len(indent)) or [""]
        above.setdefault(line, []).extend(f"{indent}# {part}".rstrip() for part in told)
    return "".join(f"{line}\n" for i, old in enumerate(lines) for line in (*above.get(i, []), old))


def _lines(node: Node | None, at: str = "") -> Iterator[tuple[str, int]]:
    """The line that each dotted key stands in."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield f"{at}{key.value}", key.start_mark.line
            yield from _lines(value, f"{at}{key.value}.")


class _Refused(Exception):
    def __init__(self, what: str, node: Node | NodeEvent, mend: str | None = None) -> None:
        super().__init__(what)
        self.what, self.mend = what, mend
        self.line = node.start_mark.line + 1 if node.start_mark else 0


class _Composer(yaml.SafeLoader):
    """PyYAML up to the nodes, with a bound on their depth; it constructs nothing."""

    depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _Refused("anchors and aliases are not read", event, "write the value out")
        if getattr(event, "tag", None) is not None:
            raise _Refused(
                f"the tag {shorten(event.tag.replace(_YAML, '!!'))} is not read",
                event,
                "recipes hold plain values only",
            )
        if self.depth >= DEEPEST:
            raise _Refused(f"nested more than {DEEPEST} deep", event)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _plain(node: Node) -> Any:
    if isinstance(node, SequenceNode):
        return [_plain(item) for item in node.value]
    if not isinstance(node, MappingNode):
        return _scalar(node)
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = _key(key_node)
        if key in mapping:
            raise _Refused(f"the key {spell(key)} stands twice", key_node)
        mapping[key] = _plain(value_node)
    return mapping


def _key(node: Node) -> str:
    if not isinstance(node, ScalarNode):
        raise _Refused("a key must be text", node)
    # a name such as `none` or `true` is text where a key stands; a number is a slip (a label's value for its name)
    if _is_plain(node) and (not node.value or _FLOAT.fullmatch(node.value)):
        raise _Refused("a key must be text", node, f"write '{shorten(node.value)}' in quotes if it is a name")
    return str(node.value)


def _scalar(node: Node) -> Any:
    text = node.value
    if any("\ud800" <= c <= "\udfff" for c in text):
        raise _Refused("half a character (a lone surrogate)", node)
    if not _is_plain(node):
        return text
    if _NULL.fullmatch(text):
        return None
    if _BOOLEAN.fullmatch(text):
        return text.lower() == "true"
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _is_plain(node: Node) -> bool:
    """Whether a scalar stands without quotes."""
    return isinstance(node, ScalarNode) and node.style is None


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or ""
    told = f"{error.context} {problem}" if problem.startswith("but ") and error.context else problem
    return printable(" ".join(told.split())[:200])


class _Dumper(yaml.SafeDumper):
    """Quotes whatever our reading or YAML 1.1 would take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_implicit_resolver(_YAML + "null", re.compile(f"(?:{_NULL.pattern})$"), ["~", "n", "N", ""])
_Dumper.add_implicit_resolver(_YAML + "float", re.compile(f"(?:{_FLOAT.pattern})$"), list("-+.0123456789"))
