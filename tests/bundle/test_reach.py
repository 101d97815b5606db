"""No door of ours leads to code that a bundle brings: held by the syntax of every module that the doors reach."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOORS = (
    "volseg.cli.bundle.inspect", "volseg.cli.bundle.unpack", "volseg.bundle.inspect",
    "volseg.bundle.packing", "volseg.bundle.storage.manifest", "volseg.bundle.storage.safetensors_header",
)  # fmt: skip
FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load",
    "torch.jit.load", "marshal.load", "marshal.loads", "importlib.import_module", "runpy.run_path", "os.system",
    "os.popen", "np.load", "numpy.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "shelve.open",
    "logging.config.fileConfig",
}  # fmt: skip
FORBIDDEN_MODULES = (
    "pickle",
    "marshal",
    "shelve",
    "runpy",
    "monai",
    "torch",
    "ignite",
    "subprocess",
    "socket",
    "ctypes",
)

#: comes in with volseg.io, whose writing is used here: the child that parses DICOM, always the same command
EXCEPTED = {("volseg.io.dicom.isolate", "subprocess")}

#: these list every verb, and each verb imports its own parts when it runs
FRAMES = {"volseg.cli", "volseg.cli.app", "volseg.cli.bundle"}


def _file(module: str) -> Path | None:
    place = ROOT.joinpath(*module.split("."))
    return next((p for p in (place / "__init__.py", place.with_suffix(".py")) if p.is_file()), None)


def _tree(module: str) -> ast.Module:
    file = _file(module)
    assert file is not None, module
    return ast.parse(file.read_text("utf-8"))


def _imports(tree: ast.Module) -> Iterator[str]:
    """Every module that is imported anywhere, within functions too; not what only a type checker reads."""
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _reached() -> dict[str, ast.Module]:
    found: dict[str, ast.Module] = {}
    waiting = list(DOORS)
    while waiting:
        module = waiting.pop()
        if module in found or _file(module) is None:
            continue
        found[module] = _tree(module)
        if module in FRAMES:
            continue
        parents = [module.rpartition(".")[0]] if "." in module else []
        waiting += [*parents, *(name for name in _imports(found[module]) if name.startswith("volseg"))]
    return found


def test_nothing_reached_evaluates_unpickles_or_imports_by_name() -> None:
    """`inspect`, `unpack` and packing, with all that they import of volseg, hold no call that could run a bundle."""
    reached = _reached()
    ours = {name: tree for name, tree in reached.items() if not name.startswith("volseg.cli.") or ".bundle." in name}
    assert {"volseg.bundle.audit.pickles", "volseg.recipe.model", "volseg.io.atomic"} <= set(ours)
    wrong = [
        f"{name}:{node.lineno} calls {ast.unparse(node.func)}"
        for name, tree in ours.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in FORBIDDEN_CALLS
    ]
    wrong += [
        f"{name} imports {module}"
        for name, tree in ours.items()
        for module in _imports(tree)
        if module.split(".")[0] in FORBIDDEN_MODULES and (name, module) not in EXCEPTED
    ]
    assert wrong == []


def test_the_lint_sees_what_it_is_for() -> None:
    """A call and an import in the depth of a function are found."""
    tree = ast.parse("def f():\n    import pickle\n    return eval('1')")
    assert list(_imports(tree)) == ["pickle"]
    assert any(isinstance(n, ast.Call) and ast.unparse(n.func) in FORBIDDEN_CALLS for n in ast.walk(tree))


@pytest.mark.parametrize(
    "module", ["volseg.bundle", "volseg.bundle.inspect", "volseg.bundle.packing", "volseg.cli.bundle"]
)
def test_importing_needs_neither_torch_nor_monai(module: str) -> None:
    """What looks at a bundle loads without the libraries that would run it."""
    code = f"import {module}, sys; assert not {{'torch', 'monai', 'ignite'}} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
