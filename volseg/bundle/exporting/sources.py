"""The modules that some of this package's modules need, copied under another package's name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from volseg.errors import BundleError

_SCIPY = re.compile(r"^from scipy import ndimage$", re.MULTILINE)
_OWN = re.compile(r"^(\s*)(from|import) volseg(?=[. ])", re.MULTILINE)
_STAND_IN = "volseg.bundle.exporting.components"
#: what a laboratory with MONAI has
ALLOWED = {"torch", "numpy", "monai", "ignite", "nibabel"}


def copied(modules: Iterable[str], package: str) -> dict[str, bytes]:
    """Every module that ``modules`` need, as files of a package that needs no volseg.

    Packages' own ``__init__`` are empty, but for those that some module takes names from.

    Args:
        modules: dotted names of volseg's.
        package: the new package's name.

    Raises:
        BundleError: if one of them needs what a laboratory with MONAI need not have.
    """
    root = _file("volseg").parent
    files: dict[str, bytes] = {}
    for module in sorted(_closure(modules)):
        source = _file(module)
        text = source.read_text(encoding="utf-8")
        foreign = sorted(_foreign(text) - ALLOWED - {"scipy"})
        if foreign:
            raise BundleError(f"{module} needs {', '.join(foreign)}, and cannot be vendored")
        # cleaning up masks is all that SciPy is for
        text = _SCIPY.sub(f"from {_STAND_IN.rpartition('.')[0]} import components as ndimage", text)
        path = source.relative_to(root).as_posix()
        files[f"{package}/{path}"] = _OWN.sub(rf"\1\2 {package}", text).encode()
    for path in list(files):
        for folder in Path(path).parents[:-1]:
            files.setdefault(f"{folder.as_posix()}/__init__.py", b"")
    return dict(sorted(files.items()))


def _closure(modules: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found or module == "volseg":
            continue
        found.add(module)
        text = _file(module).read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("volseg"):
                for alias in node.names:
                    inner = f"{node.module}.{alias.name}"
                    waiting.append(inner if _is_module(inner) else str(node.module))
        if _SCIPY.search(text):
            waiting.append(_STAND_IN)
    return found


def _foreign(text: str) -> set[str]:
    import sys

    names: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"volseg"}


def _is_module(name: str) -> bool:
    folder = _file(name.rpartition(".")[0])
    here = folder.parent / name.rpartition(".")[2]
    return folder.name == "__init__.py" and (here.with_suffix(".py").is_file() or (here / "__init__.py").is_file())


def _file(module: str) -> Path:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise BundleError(f"{module} is not installed as a file, and cannot be vendored")
    return Path(spec.origin)
