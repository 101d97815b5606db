"""The handful of expressions that honest configurations hold, interpreted from their syntax trees.

Python never evaluates them. What is not on the list has no meaning here, and the bundle that needs it is refused.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from volseg.bundle.importing.meanings import Meaning, Part

_LONGEST = 1000
_LARGEST = 4096
_REFERENCE = re.compile(r"@(\w+(?:::\w+)*)")
_STAND_IN = "reference_of_monai_"
_MODULES = {"glob", "os", "numpy", "torch", "monai", "json", "pathlib", "ignite", "math", "datetime", "sys", "logging"}
_DTYPE = re.compile(r"(numpy|np|torch)\.(float16|float32|float64|u?int(8|16|32|64)|half|float|bool)")
_SWITCHES = {"torch.backends.cudnn"}
_PARTS = {"to", "run", "eval"}

Lookup = Callable[[str], Any]


class Unknown(ValueError):
    """An expression without a meaning here; the text says which part of it."""


def meaning(text: str, lookup: Lookup) -> Any:
    """What an expression, with its ``$``, stands for.

    Args:
        text: the expression.
        lookup: gives what an id stands for.

    Raises:
        Unknown: if it is not one of those that are known.

    >>> meaning("$@root + '/models/model.pt'", {"root": "here"}.__getitem__)
    'here/models/model.pt'
    >>> meaning("$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')", {}.__getitem__)
    <Meaning.DEVICE: 'a device'>
    >>> meaning("$__import__('os').system('id')", {}.__getitem__)
    Traceback (most recent call last):
    volseg.bundle.importing.expressions.Unknown: a call of __import__('os').system
    """
    if len(text) > _LONGEST:
        raise Unknown(f"an expression of {len(text)} letters")
    names: dict[str, str] = {}

    def stand_in(found: re.Match[str]) -> str:
        name = f"{_STAND_IN}{len(names)}"
        names[name] = found[1]
        return name

    # MONAI takes `#` for an old spelling of `::`
    body = _REFERENCE.sub(stand_in, text[1:].replace("#", "::")).strip()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an escape that Python does not know, in the stranger's text
            tree = ast.parse(body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise Unknown("no Python that can be read") from None
    node = tree.body[0] if len(tree.body) == 1 else None
    if isinstance(node, ast.Import | ast.ImportFrom):
        return _import(node)
    if not isinstance(node, ast.Expr):
        raise Unknown("no single expression")
    return _Interpreter(names, lookup).value(node.value)


def _import(node: ast.Import | ast.ImportFrom) -> Meaning:
    modules = [node.module or "."] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    foreign = next((name for name in modules if name.split(".")[0] not in _MODULES), None)
    if foreign is not None:
        raise Unknown(f"an import of {foreign}")
    return Meaning.STEP


class _Interpreter:
    def __init__(self, names: Mapping[str, str], lookup: Lookup) -> None:
        self.names, self.lookup = names, lookup

    def value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool | None):
            return node.value
        if isinstance(node, ast.Name) and node.id in self.names:
            return self.lookup(self.names[node.id])
        if isinstance(node, ast.List | ast.Tuple):
            return [self.value(item) for item in node.elts]
        if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
            keys = [key.value for key in node.keys if isinstance(key, ast.Constant)]
            return dict(zip(keys, map(self.value, node.values), strict=True))
        if isinstance(node, ast.UnaryOp):
            return self._unary(node)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return self._sum(node)
        if isinstance(node, ast.IfExp):
            chosen = self.value(node.test)
            if not isinstance(chosen, bool):
                raise Unknown("a choice by something else than true or false")
            return self.value(node.body if chosen else node.orelse)
        if isinstance(node, ast.Attribute) and (dtype := _DTYPE.fullmatch(ast.unparse(node))):
            return dtype[2]
        if isinstance(node, ast.ListComp):
            return self._cases(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        raise Unknown(ast.unparse(node)[:120])

    def _unary(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if isinstance(node.op, ast.Not) and isinstance(value, bool):
            return not value
        if isinstance(node.op, ast.USub) and isinstance(value, int | float) and not isinstance(value, bool):
            return -value
        raise Unknown(ast.unparse(node)[:120])

    def _sum(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        if (isinstance(left, str) and isinstance(right, str)) or (isinstance(left, list) and isinstance(right, list)):
            if len(left) + len(right) > _LARGEST:  # references can double without end
                raise Unknown(f"a sum of more than {_LARGEST} letters or items")
            return [*left, *right] if isinstance(left, list) else f"{left}{right}"
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in (left, right)):
            return left + right
        raise Unknown(ast.unparse(node)[:120])

    def _cases(self, node: ast.ListComp) -> Meaning:
        """``[{'image': i} for i in @datalist]``."""
        part, each = node.elt, node.generators[0]
        plain = (
            len(node.generators) == 1
            and not each.ifs
            and isinstance(each.target, ast.Name)
            and isinstance(part, ast.Dict)
            and len(part.keys) == 1
            and isinstance(part.keys[0], ast.Constant)
            and isinstance(part.values[0], ast.Name)
            and part.values[0].id == each.target.id
        )
        if plain and self.value(each.iter) is Meaning.FILES:
            return Meaning.DATA
        raise Unknown(ast.unparse(node)[:120])

    def _call(self, node: ast.Call) -> Any:
        name = ast.unparse(node.func)
        if any(isinstance(argument, ast.Starred) for argument in node.args) or any(
            k.arg is None for k in node.keywords
        ):
            raise Unknown(f"a call of {name[:100]}")
        if isinstance(node.func, ast.Name) and node.func.id in self.names:
            return self._step(node.func, node)  # @checkpointloader(@evaluator)
        if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
            owner = node.func.value
            if owner.id in self.names and node.func.attr in _PARTS:
                return self._method(owner, node.func.attr, node)
        if name == "torch.device":
            return self._device(node)
        if name == "setattr":
            return _switch(node)
        known = _CALLS.get(name)
        if known is None:
            raise Unknown(f"a call of {name[:100]}")
        values = [self.value(argument) for argument in node.args]
        keywords = {str(keyword.arg): self.value(keyword.value) for keyword in node.keywords}
        try:
            return known(*values, **keywords)
        except TypeError as error:
            raise Unknown(f"a call of {name} with other arguments") from error

    def _device(self, node: ast.Call) -> Meaning:
        for argument in node.args:
            choice = argument.test if isinstance(argument, ast.IfExp) else None
            if choice is not None and ast.unparse(choice) != "torch.cuda.is_available()":
                raise Unknown(ast.unparse(argument)[:120])
            leaves = [argument.body, argument.orelse] if isinstance(argument, ast.IfExp) else [argument]
            if not all(isinstance(leaf, ast.Constant) for leaf in leaves):
                raise Unknown(ast.unparse(argument)[:120])
        if node.keywords:
            raise Unknown("a call of torch.device with other arguments")
        return Meaning.DEVICE

    def _method(self, owner: ast.Name, method: str, node: ast.Call) -> Any:
        part = self.value(owner)
        values = [self.value(argument) for argument in node.args]
        if isinstance(part, Part) and not node.keywords:
            if method == "to" and values == [Meaning.DEVICE]:
                return part
            if method in ("run", "eval") and not values:
                return Meaning.STEP if method == "run" else part
        raise Unknown(f"a call of @{self.names[owner.id]}.{method} with these arguments")

    def _step(self, owner: ast.Name, node: ast.Call) -> Meaning:
        values = [self.value(argument) for argument in (owner, *node.args)]
        if all(isinstance(value, Part) for value in values) and not node.keywords:
            return Meaning.STEP
        raise Unknown(f"a call of @{self.names[owner.id]} with these arguments")


def _switch(node: ast.Call) -> Meaning:
    """``setattr(torch.backends.cudnn, 'benchmark', True)``: how fast, not what."""
    if len(node.args) == 3 and ast.unparse(node.args[0]) in _SWITCHES:
        name, value = node.args[1:]
        named = isinstance(name, ast.Constant) and name.value in ("benchmark", "deterministic")
        if named and isinstance(value, ast.Constant) and isinstance(value.value, bool) and not node.keywords:
            return Meaning.STEP
    raise Unknown(ast.unparse(node)[:120])


def _length(value: Any) -> int:
    if isinstance(value, list | dict | str):
        return len(value)
    raise Unknown("the length of something that has none here")


def _files(*found: Any) -> Meaning:
    if found == (Meaning.FILES,):
        return Meaning.FILES
    raise Unknown("a list of something else than files")


def _glob(pattern: Any, recursive: bool = False) -> Meaning:
    if isinstance(pattern, str):
        return Meaning.FILES
    raise Unknown("files of a pattern that is no text")


def _joined(*parts: Any) -> str:
    if parts and all(isinstance(part, str) for part in parts):
        return "/".join(parts)
    raise Unknown("a path of something else than texts")


def _datalist(*parts: Any, **options: Any) -> Meaning:
    if all(isinstance(part, str | bool) for part in (*parts, *options.values())):
        return Meaning.DATA
    raise Unknown("a list of cases from something else than texts")


def _determinism(seed: Any = None) -> Meaning:
    return Meaning.STEP


_CALLS: Mapping[str, Callable[..., Any]] = {
    "len": _length,
    "list": _files,
    "sorted": _files,
    "glob.glob": _glob,
    "os.path.join": _joined,
    "monai.data.load_decathlon_datalist": _datalist,
    "monai.utils.set_determinism": _determinism,
}
