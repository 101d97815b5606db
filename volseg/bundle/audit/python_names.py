"""What calling a Python name from somewhere else comes to, judged by the name alone.

This is a list of dangers, not a proof of their absence: what is not on it still runs, and is listed as code that runs.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

from volseg.bundle.audit.finding import Weight


@dataclass(frozen=True)
class Judged:
    """The judgement of a name or an expression."""

    weight: Weight
    why: str
    known: bool = False


_PROCESS = "starts programs, loads code or opens connections"
_DANGEROUS_BUILTINS = {
    "eval", "exec", "compile", "__import__", "breakpoint", "input", "globals", "locals", "vars", "setattr", "delattr",
    "getattr", "open", "memoryview", "help", "quit", "exit",
}  # fmt: skip
#: what honest configs take from the standard library
_COMMON_LIBRARY = {
    "os", "glob", "json", "math", "pathlib", "datetime", "functools", "itertools", "collections", "random", "time",
    "re", "logging", "copy", "operator", "sys", "typing", "statistics", "string", "warnings", "numbers", "enum",
}  # fmt: skip
_COMMON_OS = {
    "path", "getcwd", "environ", "makedirs", "mkdir", "listdir", "sep", "cpu_count", "linesep", "scandir", "walk",
    "fspath", "getpid", "getenv", "name",
}  # fmt: skip
_COMMON_SYS = {"stdout", "stderr", "version_info", "version", "maxsize", "platform", "argv", "byteorder", "exit"}
_DANGEROUS_ENDS = {
    "run_cmd", "run_eval", "instantiate", "optional_import", "load_submodules", "locate", "load_library", "runcall",
    "import_module", "exec_module", "rmtree", "unlink", "rmdir", "write_text", "write_bytes", "methodcaller",
    "attrgetter", "system", "popen", "Popen", "check_output", "check_call", "getoutput", "load_inline", "fileConfig",
    "dictConfig", "extractall", "symlink_to", "hardlink_to", "chmod", "rename", "touch",
}  # fmt: skip
_DANGEROUS_PARTS = (
    "torch.hub", "torch.ops", "torch.classes", "torch.package", "torch.utils.cpp_extension",
    "torch.utils.collect_env", "torch.utils.model_zoo", "torch.multiprocessing", "torch.distributed.rpc",
    "torch.jit.CompilationUnit", "torch.testing", "torch.utils.bundled_inputs", "torch.utils.bottleneck",
    "torch.fx.experimental", "torch.compiler", "torch.distributed.run", "torch.distributed.launch",
    "torch.distributed.elastic", "numpy.distutils", "numpy.f2py", "numpy.testing", "np.testing", "numpy.lib", "pip",
    "setuptools", "pkg_resources", "site", "distutils", "IPython", "cffi", "fire", "joblib", "dill", "cloudpickle",
    "requests", "httpx", "aiohttp", "paramiko", "fabric", "sh", "pexpect", "psutil", "numba", "cupy",
    "monai.bundle.run", "monai.bundle.load", "monai.bundle.download", "monai.bundle.scripts",
    "monai.bundle.run_workflow", "monai.bundle.workflows", "monai.bundle.create_workflow", "monai.bundle.ckpt_export",
    "monai.bundle.push_to_hf_hub", "monai.bundle.config_item", "monai.bundle.config_parser",
    "monai.bundle.ConfigExpression", "monai.bundle.ConfigParser", "monai.bundle.ConfigWorkflow",
    "monai.bundle.download_large_files", "monai.fl", "monai.config.deviceconfig", "monai.auto3dseg",
    "monai.apps.auto3dseg", "monai.apps.nnunet", "monai._extensions",
)  # fmt: skip
_FETCHES = (
    "monai.apps.utils",
    "monai.apps.download",
    "monai.apps.extractall",
    "monai.apps.mmars",
    "monai.apps.datasets",
)
_UNPICKLES = (
    "torch.load",
    "np.load",
    "numpy.load",
    "torch.jit.load",
    "torch.export.load",
    "monai.data.torchscript_utils",
)
_KNOWN_ROOTS = (
    "monai.networks.", "monai.transforms.", "monai.inferers.", "monai.losses.", "monai.metrics.", "monai.data.",
    "monai.handlers.", "monai.engines.", "monai.optimizers.", "monai.utils.set_determinism", "monai.visualize.",
    "torch.nn.", "torch.optim.", "torch.device", "torch.cuda.is_available", "torch.cuda.device_count", "torch.float",
    "torch.half", "torch.bfloat16", "torch.utils.data.", "torch.amp.", "torch.cuda.amp.", "ignite.metrics.",
    "ignite.handlers.", "ignite.engine.", "ignite.contrib.handlers.",
)  # fmt: skip


def judge_name(dotted: str) -> Judged:
    """What calling ``dotted`` comes to.

    >>> judge_name("os.system").weight, judge_name("monai.networks.nets.UNet").known
    (<Weight.REFUSE: 'refuse'>, True)
    """
    parts = dotted.split(".")
    if not all(part.isidentifier() for part in parts):
        return Judged(Weight.REFUSE, "is no Python name")
    if not dotted.isascii():
        return Judged(Weight.REFUSE, "is written with letters that pass for others; Python folds them into plain ones")
    if any(part.startswith("_") for part in parts):
        return Judged(Weight.REFUSE, "reaches into Python's or a library's insides (a name that starts with _)")
    if len(parts) == 1:
        return _judge_short(dotted)
    # torch.os.system is os.system: modules hand out the modules that they use
    for at, part in enumerate(parts):
        rest = parts[at + 1 :]
        if (
            part in sys.stdlib_module_names
            and (at == 0 or part in _POWERFUL)
            and (danger := _library_danger(part, rest))
        ):
            return Judged(Weight.REFUSE, danger)
    if parts[-1] in _DANGEROUS_ENDS:
        return Judged(Weight.REFUSE, _PROCESS)
    if any(dotted == part or dotted.startswith(f"{part}.") for part in _DANGEROUS_PARTS):
        return Judged(Weight.REFUSE, _PROCESS)
    if any(dotted == part or dotted.startswith(f"{part}.") for part in _UNPICKLES):
        return Judged(Weight.RUNS, "opens a file that may be a program (a pickle, a TorchScript archive)")
    if any(dotted == part or dotted.startswith((f"{part}.", f"{part}_")) for part in _FETCHES):
        return Judged(Weight.RUNS, "fetches files from elsewhere")
    return _judge_family(dotted, parts[0])


def _judge_family(dotted: str, root: str) -> Judged:
    if root == "volseg":
        return Judged(Weight.RUNS, "code of volseg", known=True)
    if dotted.startswith(_KNOWN_ROOTS):
        return Judged(Weight.RUNS, f"code of {root}", known=True)
    if root in ("monai", "torch", "ignite", "numpy", "np"):
        return Judged(Weight.RUNS, f"code of {root}, not on the list of what bundles commonly use")
    if root in sys.stdlib_module_names:
        return Judged(Weight.RUNS, "code of Python's library", known=True)
    return Judged(Weight.RUNS, f"code of {root!r}: a package there, or a file of the bundle")


def judge_module(module: str) -> Judged:
    """What importing ``module`` comes to."""
    parts = module.split(".")
    if not module.isascii() or not all(part.isidentifier() for part in parts):
        return Judged(Weight.REFUSE, "is no plain module name")
    if any(part.startswith("_") for part in parts):
        return Judged(Weight.REFUSE, "reaches into Python's or a library's insides (a name that starts with _)")
    root = parts[0]
    if root in sys.stdlib_module_names and root not in _COMMON_LIBRARY:
        return Judged(Weight.REFUSE, f"imports {root}, which no config needs: {_PROCESS}, or can be made to")
    if any(module == part or module.startswith(f"{part}.") for part in _DANGEROUS_PARTS):
        return Judged(Weight.REFUSE, f"imports {module}, which {_PROCESS}")
    if root in sys.stdlib_module_names or root in ("monai", "torch", "ignite", "numpy", "volseg"):
        return Judged(Weight.RUNS, f"imports {module}", known=True)
    return Judged(Weight.RUNS, f"imports {module!r}: a package there, or a file of the bundle")


_POWERFUL = {
    "os", "sys", "subprocess", "builtins", "importlib", "ctypes", "socket", "shutil", "pickle", "marshal", "runpy",
    "pty", "posix", "nt", "multiprocessing", "inspect", "pdb", "code", "tempfile", "io", "urllib", "threading",
    "pydoc", "types", "platform", "webbrowser", "http", "imp", "zipfile", "tarfile", "traceback", "ast", "gc",
    "signal", "linecache", "unittest", "timeit", "shlex", "asyncio", "atexit", "pkgutil", "cProfile", "sysconfig",
    "logging", "textwrap",
}  # fmt: skip


def _library_danger(module: str, rest: list[str]) -> str | None:
    if module not in _COMMON_LIBRARY:
        return f"uses {module}, which no config needs: it {_PROCESS}, or can be made to"
    if module == "os" and rest and rest[0] not in _COMMON_OS:
        return f"os.{rest[0]} {_PROCESS}, or changes files"
    if module == "sys" and rest and rest[0] not in _COMMON_SYS:
        return f"sys.{rest[0]} changes the interpreter itself"
    if module == "logging" and rest and rest[0] == "config":
        return "logging.config evaluates what it reads"
    return None


def _judge_short(name: str) -> Judged:
    if name in _DANGEROUS_BUILTINS:
        return Judged(Weight.REFUSE, f"{name} evaluates text, opens files or changes what names mean")
    if name in _DANGEROUS_ENDS:
        return Judged(Weight.REFUSE, _PROCESS)
    if name in sys.stdlib_module_names and name not in _COMMON_LIBRARY:
        return Judged(Weight.REFUSE, f"is Python's {name}: {_PROCESS}")
    if name[0].isupper():
        return Judged(Weight.RUNS, "a component that MONAI finds by its short name", known=True)
    return Judged(Weight.RUNS, "a function that is found by its short name")
