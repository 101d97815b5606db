"""What is imported when a bundle is inspected, verified or run holds no call that could run the bundle's code."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

FORBIDDEN_CALLS = {
    "eval", "exec", "compile", "__import__", "breakpoint", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "torch.load", "torch.jit.load", "torch.hub.load", "marshal.load", "marshal.loads", "importlib.import_module",
    "import_module", "runpy.run_path", "runpy.run_module", "os.system", "os.popen", "np.load", "numpy.load",
    "yaml.load", "yaml.unsafe_load", "yaml.full_load", "shelve.open", "logging.config.fileConfig",
}  # fmt: skip
FORBIDDEN_MODULES = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "runpy", "code", "subprocess", "socket",
    "multiprocessing", "ctypes",
}  # fmt: skip

#: what each of these does has nothing to do with what a bundle holds
EXCEPTED = {
    # classes of volseg by names that volseg itself writes down; it refuses any other package
    ("volseg.engine.compose", "importlib.import_module"),
    # the public names of packages of volseg, from tables in their files
    ("volseg.later", "import_module"),
    # the child that parses DICOM, always the same command
    ("volseg.io.dicom.isolate", "subprocess"),
    # glibc's own switches for memory
    ("volseg.inference.allocator", "ctypes"),
}
#: verify compares the weights for MONAI's door, which torch reads with weights_only, once the audit found only tensors
IN_VERIFY = EXCEPTED | {("volseg.bundle.state_dict", "torch.load")}

_RUN = """
import json, sys
from volseg.cli.app import main
sys.argv = ["volseg", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
files = {name: module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "volseg"}
print("\\n" + json.dumps({name: file for name, file in files.items() if file}))
"""


def _imported(*words: object) -> dict[str, ast.Module]:
    """The modules of volseg that a verb, run to its end, has imported."""
    command = [sys.executable, "-c", _RUN, *map(str, words)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return {
        name: ast.parse(Path(file).read_text("utf-8")) for name, file in json.loads(ran.stdout.splitlines()[-1]).items()
    }


def _found(name: str, tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) in FORBIDDEN_CALLS:
            yield name, ast.unparse(node.func)
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for module in names:
            if module.partition(".")[0] in FORBIDDEN_MODULES:
                yield name, module.partition(".")[0]
            elif module == "monai.bundle" or module.startswith("monai.bundle."):
                yield name, "monai.bundle"
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "monai.bundle":
            yield name, "monai.bundle"


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["inspect", "predict", "verify"])
def test_nothing_that_is_imported_could_run_a_bundle(verb: str, packed: Path, built: Path, tmp_path: Path) -> None:
    """No eval, exec, pickle, torch.load or MONAI bundle in any module of volseg that the verb has loaded."""
    image = built / "golden" / "image.nii"
    words = {
        "inspect": ("bundle", "inspect", packed),
        "predict": ("predict", "-i", image, "-o", tmp_path / "out", "-b", packed, "--device", "cpu"),
        "verify": ("bundle", "verify", packed),
    }[verb]
    modules = _imported(*words)
    assert {"volseg.bundle.storage.manifest", "volseg.bundle.storage.archive", "volseg.recipe.model"} <= set(modules)
    assert ("volseg.networks.unet" in modules) == (verb != "inspect")
    allowed = IN_VERIFY if verb == "verify" else EXCEPTED
    found = {hit for name, tree in modules.items() for hit in _found(name, tree)}
    assert found - allowed == set()


def test_parts_of_other_packages_are_not_built() -> None:
    """The one place that imports by a name takes none but volseg's."""
    from volseg.engine.compose import build
    from volseg.errors import UsageError

    for target in ("os.system", "volsegs.x", "builtins.eval", "monai.networks.nets.UNet"):
        with pytest.raises(UsageError, match="is no part of volseg"):
            build({"_target_": target})


def test_torch_reads_nothing_but_tensors() -> None:
    """The call that verify is allowed says weights_only."""
    import volseg.bundle.state_dict as module

    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and ast.unparse(n.func) == "torch.load"]
    assert [{k.arg: ast.unparse(k.value) for k in call.keywords}["weights_only"] for call in calls] == ["True"]


def test_the_lint_sees_what_it_is_for() -> None:
    """A call, an import in the depth of a function, and MONAI's bundles under any spelling are found."""
    tree = ast.parse(
        "def f():\n    import pickle\n    from monai.bundle import ConfigParser\n    import monai\n"
        "    monai.bundle.run()\n    return eval('1')"
    )
    assert [what for _, what in _found("x", tree)] == ["pickle", "monai.bundle", "monai.bundle", "eval", "monai.bundle"]
