"""What a ``$`` expression of a config would do, read off its syntax tree; it is parsed and never evaluated."""

from __future__ import annotations

import ast
import re
import warnings

from volseg.bundle.audit.finding import Weight
from volseg.bundle.audit.python_names import KNOWN_LIBRARY, Judged, judge_module, judge_name

_LONGEST = 4000
_REFERENCE = re.compile(r"@(?:\w*)(?:::\w*)*")
#: where MONAI keeps what references stand for, and what stands for a look-up in it here
_LOOKUPS, _STAND_IN = "__local_refs", "REFERENCE_OF_MONAI"
_QUIET_DUNDERS = {"__version__", "__name__", "__len__", "__file__"}
_PLAIN_NODES = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.Subscript,
    ast.Slice, ast.IfExp, ast.List, ast.Tuple, ast.Dict, ast.operator, ast.unaryop, ast.boolop, ast.cmpop,
    ast.keyword, ast.Call, ast.Attribute, ast.Starred, ast.ListComp, ast.comprehension, ast.Store, ast.JoinedStr,
    ast.FormattedValue,
)  # fmt: skip
_PLAIN_CALLS = KNOWN_LIBRARY | {
    "importlib.util.find_spec",
    "len", "int", "float", "str", "bool", "list", "dict", "tuple", "range", "sorted", "min", "max", "sum", "abs",
    "round", "zip", "torch.device", "torch.cuda.is_available", "torch.cuda.device_count", "Path",
    "monai.utils.set_determinism", "print",
}  # fmt: skip
#: what components are asked to do, each of which is judged where it stands
_PLAIN_METHODS = {
    "parameters", "to", "eval", "train", "run", "strftime", "items", "keys", "values", "get", "state_dict",
    "load_state_dict", "leave_bundle", "judge", "finish", "write", "prepare", "close", "initialize", "finalize", "sort",
}  # fmt: skip
#: what looks whether a package is installed, and loads none
_LOOKED_FOR = {"importlib", "importlib.util"}
_LOOKING = ("importlib", "importlib.util", "importlib.util.find_spec")
#: modules whose calls can be judged only while they go by their own names
_ALWAYS_BY_NAME = {"os", "sys", "operator", "functools", "pathlib"}
_READING = {"r", "rb", "rt"}


def judge_expression(text: str) -> Judged:
    """What ``text``, with its ``$``, would do in MONAI.

    >>> judge_expression("$@epochs * 2").known
    True
    >>> judge_expression("$__import__('os').system('id')").weight
    <Weight.REFUSE: 'refuse'>
    """
    if len(text) > _LONGEST:
        return Judged(Weight.REFUSE, f"an expression of {len(text)} letters, too long to be judged")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an escape that Python does not know, in the stranger's text
            statements = ast.parse(_as_evaluated(text).strip())
        folded = _Unfolded().visit(statements)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Judged(Weight.REFUSE, "is evaluated by MONAI but is no Python that could be judged")
    first = statements.body[0] if len(statements.body) == 1 else None
    if isinstance(first, ast.Import | ast.ImportFrom):
        return _judge_import(first)
    if not isinstance(first, ast.Expr):
        return Judged(Weight.REFUSE, "is evaluated by MONAI but is no single expression that could be judged")
    return _judge_tree(folded)


def _as_evaluated(text: str) -> str:
    """The Python that MONAI makes of an expression: `#` is an old spelling of `::`, and references become look-ups.

    They do so wherever they stand, within quotes too, where they end the text that they stand in.

    >>> _as_evaluated("$@a#b + 1")
    "__local_refs['a::b'] + 1"
    """
    body = text[1:].replace("#", "::")
    for reference in sorted(_REFERENCE.findall(body), key=len, reverse=True):
        body = body.replace(reference, f"{_LOOKUPS}['{reference[1:]}']")
    return body


def _judge_import(node: ast.Import | ast.ImportFrom) -> Judged:
    if isinstance(node, ast.ImportFrom):
        if node.level:
            return Judged(Weight.RUNS, "imports a file of the bundle")
        judged = judge_module(node.module or "")
        for alias in node.names:
            part = judge_name(f"{node.module}.{alias.name}")
            if part.weight is Weight.REFUSE:
                return part
        return judged
    for alias in node.names:
        judged = judge_module(alias.name)
        if judged.weight is Weight.REFUSE:
            return judged
        renamed = alias.asname not in (None, alias.name)
        if renamed and (alias.name in ("torch", "monai") or alias.name.partition(".")[0] in _ALWAYS_BY_NAME):
            return Judged(Weight.REFUSE, f"imports {alias.name} under another name, which hides what is called")
    return judged


class _Unfolded(ast.NodeTransformer):
    """A look-up of MONAI's as one name, and ``__import__("os")``, with the name written out, as ``os``."""

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        self.generic_visit(node)
        of_monai = isinstance(node.value, ast.Name) and node.value.id == _LOOKUPS
        if of_monai and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
            return ast.copy_location(ast.Name(_STAND_IN, ast.Load()), node)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        named = node.args[0] if len(node.args) == 1 and not node.keywords else None
        is_import = isinstance(node.func, ast.Name) and node.func.id == "__import__"
        if not is_import or not isinstance(named, ast.Constant) or not isinstance(named.value, str):
            return node
        # of `a.b` it gives `a`
        if judge_module(named.value).weight is Weight.REFUSE and named.value not in _LOOKED_FOR:
            return node
        return ast.copy_location(ast.Name(named.value.partition(".")[0], ast.Load()), node)


def _judge_tree(tree: ast.AST) -> Judged:
    plain = True
    why = "is evaluated by MONAI"
    switches = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and _sets_a_switch(node)}
    switches |= {id(name) for node in ast.walk(tree) if _dotted(node) == _LOOKING[-1] for name in ast.walk(node)}
    # of `a.b.c` the whole is judged; what is called, as a call
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    inner |= {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if id(node) in switches:
            continue
        if danger := _danger(node):
            return Judged(Weight.REFUSE, danger)
        if isinstance(node, ast.Call):
            plain = plain and _is_plain_call(node)
        elif not isinstance(node, (*_PLAIN_NODES, ast.Module, ast.Expr)):
            plain = False
        if isinstance(node, ast.Attribute) and id(node) not in inner and (dotted := _dotted(node)):
            judged = judge_name(dotted)
            if not (judged.known or dotted in _PLAIN_CALLS):
                plain = False
                # what a reference names is no package
                if judged.weight is Weight.RUNS and not dotted.startswith(_STAND_IN):
                    why = judged.why
    return Judged(Weight.RUNS, why + (", as in many bundles" if plain else ""), known=plain)


def _danger(node: ast.AST) -> str | None:
    if isinstance(node, ast.Attribute) and _dotted(node) in _LOOKING:
        return None
    if isinstance(node, ast.Name | ast.Attribute):
        names = [node.id] if isinstance(node, ast.Name) else [node.attr]
        if any(name.startswith("__") and name not in _QUIET_DUNDERS for name in names):
            return f"uses {names[0]}, a way into Python's insides"
        if not names[0].isascii():
            return "holds names whose letters pass for others"
    if isinstance(node, ast.Name) and node.id != "open":
        judged = judge_name(node.id) if not node.id.startswith("_") else None
        return judged.why if judged and judged.weight is Weight.REFUSE else None
    if isinstance(node, ast.Attribute):
        dotted = _dotted(node)
        if dotted is None:  # of a call's result: only the method's name is known
            judged = judge_name(f"x.{node.attr}") if not node.attr.startswith("_") else None
        elif dotted.startswith(_STAND_IN):
            judged = judge_name(f"x.{dotted.partition('.')[2]}")
        else:
            judged = judge_name(dotted) if not node.attr.startswith("__") else None
        return judged.why if judged and judged.weight is Weight.REFUSE else None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open":
        modes = [*node.args[1:2], *(k.value for k in node.keywords if k.arg in ("mode", None, "opener"))]
        if any(not (isinstance(mode, ast.Constant) and mode.value in _READING) for mode in modes):
            return "opens a file for writing"
    return None


def _sets_a_switch(node: ast.Call) -> bool:
    """Whether a call is ``setattr(torch.backends.…, "a plain name", …)``, with which many configs begin."""
    if not (isinstance(node.func, ast.Name) and node.func.id == "setattr" and len(node.args) == 3):
        return False
    holder, name, value = node.args
    return (
        (_dotted(holder) or "").startswith("torch.backends.")
        and isinstance(name, ast.Constant)
        and isinstance(name.value, str)
        and not name.value.startswith("_")
        and isinstance(value, ast.Constant)
    )


def _is_plain_call(node: ast.Call) -> bool:
    dotted = _dotted(node.func)
    if dotted is not None and (dotted.partition(".")[0] != _STAND_IN or dotted.count(".") != 1):
        return dotted in _PLAIN_CALLS or (dotted.partition(".")[0] in ("monai", "torch") and judge_name(dotted).known)
    return isinstance(node.func, ast.Attribute) and node.func.attr in _PLAIN_METHODS


def _dotted(node: ast.AST) -> str | None:
    """``a.b.c`` as it is written; none where it begins with anything but a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None
