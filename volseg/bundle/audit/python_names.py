"""What calling a Python name from somewhere else comes to, judged by the name alone.

This is a list of dangers, not a proof of their absence: what is not on it still runs, and is listed as code that runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from volseg.bundle.audit.finding import Weight


@dataclass(frozen=True)
class Judged:
    """The judgement of a name or an expression."""

    weight: Weight
    why: str
    known: bool = False


_PROCESS = "starts programs, loads code or opens connections"
_INSIDES = "reaches into Python's or a library's insides (a name that starts with _)"
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
    "FileHandler", "RotatingFileHandler", "TimedRotatingFileHandler", "WatchedFileHandler", "SocketHandler",
    "DatagramHandler", "SMTPHandler", "HTTPHandler", "SysLogHandler", "basicConfig", "get_type_hints", "ForwardRef",
    "gi_frame", "cr_frame", "ag_frame", "tb_frame", "f_back", "f_globals", "f_builtins", "f_locals", "run_cmd",
    "run_eval", "instantiate", "optional_import", "load_submodules", "locate", "load_library", "runcall",
    "import_module", "exec_module", "rmtree", "unlink", "rmdir", "write_text", "write_bytes", "methodcaller",
    "attrgetter", "system", "popen", "Popen", "check_output", "check_call", "getoutput", "load_inline", "fileConfig",
    "dictConfig", "extractall", "symlink_to", "hardlink_to", "chmod", "rename", "touch", "ForkingPickler",
}  # fmt: skip
_DANGEROUS_PARTS = (
    "torch.hub", "torch.ops", "torch.classes", "torch.package", "torch.utils.cpp_extension",
    "torch.utils.collect_env", "torch.utils.model_zoo", "torch.multiprocessing", "torch.distributed.rpc",
    "torch.jit.CompilationUnit", "torch.testing", "torch.utils.bundled_inputs", "torch.utils.bottleneck",
    "torch.fx.experimental", "torch.compiler", "torch.distributed.run", "torch.distributed.launch",
    "torch.distributed.elastic", "numpy.distutils", "numpy.f2py", "numpy.testing", "np.testing", "numpy.lib", "pip",
    "setuptools", "pkg_resources", "site", "distutils", "IPython", "cffi", "fire", "joblib", "dill", "cloudpickle",
    "requests", "httpx", "aiohttp", "paramiko", "fabric", "sh", "pexpect", "psutil", "numba", "cupy",
    "monai.bundle", "monai.fl", "monai.config.deviceconfig", "monai.auto3dseg",
    "monai.apps.auto3dseg", "monai.apps.nnunet", "monai._extensions", "operator.call",
)  # fmt: skip
#: what MONAI finds by a short name in the modules above
_DANGEROUS_SHORT = {
    "Algo", "AlgoEnsemble", "AlgoEnsembleBestByFold", "AlgoEnsembleBestN", "AlgoEnsembleBuilder", "AlgoGen",
    "Analyzer", "AutoRunner", "BaseClient", "BundleAlgo", "BundleGen", "BundleWorkflow", "ClientAlgo",
    "ClientAlgoStats", "ComponentLocator", "ConfigComponent", "ConfigExpression", "ConfigItem", "ConfigParser",
    "ConfigWorkflow", "DataAnalyzer", "EnsembleRunner", "EnsureSameShaped", "ExchangeObject", "ExtraItems",
    "FgImageStats", "FgImageStatsSumm", "FilenameStats", "FiltersType", "FlPhase", "FlStatistics", "HPOGen",
    "ImageHistogram", "ImageHistogramSumm", "ImageStats", "ImageStatsSumm", "Instantiable", "LabelStats",
    "LabelStatsSumm", "ModelType", "ModelnnUNetWrapper", "MonaiAlgo", "MonaiAlgoStats", "NNIGen", "NNUNETMode",
    "Operations", "OptunaGen", "PythonicWorkflow", "ReferenceResolver", "SampleOperations", "SegSummarizer",
    "SummaryOperations", "WeightType", "algo_from_json", "algo_from_pickle", "algo_to_json", "algo_to_pickle",
    "analyze_data", "check_and_set_optional_args", "ckpt_export", "compute_weight_diff", "concat_multikeys_to_dict",
    "concat_val_to_np", "convert_global_weights", "convert_monai_bundle_to_nnunet",
    "convert_nnunet_to_monai_bundle", "create_new_data_copy", "create_new_dataset_json", "create_workflow",
    "datafold_read", "disable_ckpt_loaders", "download", "download_large_files", "export_bundle_algo_history",
    "fprint", "get_all_bundles_list", "get_bundle_info", "get_bundle_versions", "get_config_values",
    "get_foreground_image", "get_foreground_label", "get_gpu_info", "get_label_ccp", "get_name_from_algo_id",
    "get_network_from_nnunet_plans", "get_nnunet_monai_predictor", "get_nnunet_trainer",
    "get_optional_config_values", "get_system_info", "get_versions", "import_bundle_algo_history", "init_bundle",
    "list_to_python_fire_arg_str", "load", "load_bundle_config", "load_module", "merge_kv", "nnUNetV2Runner",
    "onnx_export", "print_config", "print_debug_info", "print_gpu_info", "print_system_info", "push_to_hf_hub",
    "run", "run_workflow", "strenum_representer", "timeout", "trt_export", "update_kwargs", "verify_metadata",
    "verify_net_in_out", "verify_report_format",
}  # fmt: skip
#: modules of MONAI's that are called as modules of Python's
_OWN_MODULES = ("monai.transforms.io", "monai.transforms.signal")
_OWN_PARTS = {"io", "signal", "array"}
_FETCHES = (
    "monai.apps.utils",
    "monai.apps.download",
    "monai.apps.extractall",
    "monai.apps.mmars",
    "monai.apps.datasets",
)
_FETCHING_ENDS = {"download_url", "download_and_extract", "load_url", "load_state_dict_from_url"}
_UNPICKLES = (
    "torch.load",
    "np.load",
    "numpy.load",
    "torch.jit.load",
    "torch.export.load",
    "monai.data.torchscript_utils",
    "monai.data.load_net_with_metadata",
)
_KNOWN_ROOTS = (
    "monai.networks.", "monai.transforms.", "monai.inferers.", "monai.losses.", "monai.metrics.", "monai.data.",
    "monai.handlers.", "monai.engines.", "monai.optimizers.", "monai.utils.set_determinism", "monai.visualize.",
    "torch.nn.functional.", "torch.nn.", "torch.optim.", "torch.device", "torch.cuda.is_available",
    "torch.cuda.device_count", "torch.float", "torch.half", "torch.bfloat16", "torch.utils.data.", "torch.amp.",
    "torch.cuda.amp.", "ignite.metrics.", "ignite.handlers.", "ignite.engine.", "ignite.contrib.handlers.",
    "volseg.",
)  # fmt: skip
_OF_CLASSES = {name for name in _KNOWN_ROOTS if name.endswith(".")} - {"torch.nn.functional.", "volseg."}
#: of functions below those roots, the ones that many configs call; classes are known by their roots
_KNOWN_FUNCTIONS = {
    "set_determinism", "from_engine", "list_data_collate", "pad_list_data_collate", "decollate_batch", "no_collation",
    "load_decathlon_datalist", "partition_dataset", "partition_dataset_classes", "select_cross_validation_folds",
    "worker_init_fn", "stopping_fn_from_metric", "stopping_fn_from_loss", "write_metrics_reports", "one_hot",
    "resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "densenet121", "normal_init",
}  # fmt: skip
#: of Python's library, what does no more than its name says
KNOWN_LIBRARY = {
    "sys.exit", "os.environ.get", "os.getenv", "os.getcwd", "os.cpu_count", "os.path.join", "os.path.basename",
    "os.path.dirname", "os.path.exists", "os.path.isfile", "os.path.isdir", "os.path.abspath", "os.makedirs",
    "os.listdir", "os.sep", "glob.glob", "pathlib.Path", "datetime.now", "datetime.datetime.now",
    "collections.OrderedDict", "functools.partial", "json.loads", "copy.deepcopy", "itertools.chain",
    "sys.stdout", "sys.stderr", "sys.maxsize", "time.strftime", "time.time", "logging.INFO",
}  # fmt: skip
#: libraries that modules hand out as parts of themselves, as they do with Python's
_HANDED_OUT = {
    "monai", "torch", "ignite", "numpy", "np", "scipy", "skimage", "nib", "nibabel", "pydicom", "yaml", "tqdm",
    *(sys.stdlib_module_names - _OWN_PARTS),
}  # fmt: skip
_FAMILIES = {"monai", "torch", "ignite", "numpy", "np"}
#: of the dangers, those that are found within other modules too; a part called `site` need not be Python's
_DANGEROUS_ANYWHERE = tuple(name for name in _DANGEROUS_PARTS if "." in name)


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
    if len(parts) > 1 and (danger := _danger(parts)):
        return Judged(Weight.REFUSE, danger)
    if any(part.startswith("_") for part in parts):
        return Judged(Weight.REFUSE, _INSIDES)
    if len(parts) == 1:
        return _judge_short(dotted)
    # torch.os.system is os.system: modules hand out the modules that they use
    tails = [".".join(parts[at:]) for at in range(len(parts))]
    if any(_lies_in(tail, _UNPICKLES) for tail in tails):
        return Judged(Weight.RUNS, "opens a file that may be a program (a pickle, a TorchScript archive)")
    if _lies_in(dotted, _FETCHES) or dotted.startswith("monai.apps.download_") or parts[-1] in _FETCHING_ENDS:
        return Judged(Weight.RUNS, "fetches files from elsewhere")
    return _judge_family(dotted, parts)


def _danger(parts: list[str]) -> str | None:
    for at, part in enumerate(parts):
        head, tail = ".".join(parts[: at + 1]), ".".join(parts[at:])
        module = part.lstrip("_")  # libraries import os as _os
        is_module = module in sys.stdlib_module_names and (at == 0 or module in _POWERFUL) and head not in _OWN_MODULES
        if is_module and (danger := _library_danger(module, parts[at + 1 :])):
            return danger
        if _lies_in(tail, _DANGEROUS_ANYWHERE if at else _DANGEROUS_PARTS):
            return _PROCESS
        if at and part in _DANGEROUS_ENDS:
            return _PROCESS
    return None


def _lies_in(dotted: str, names: Iterable[str]) -> bool:
    return any(dotted == name or dotted.startswith(f"{name}.") for name in names)


def _judge_family(dotted: str, parts: list[str]) -> Judged:
    root = parts[0]
    if root in sys.stdlib_module_names:
        known = dotted in KNOWN_LIBRARY or root in ("math", "random", "statistics")
        return Judged(Weight.RUNS, "code of Python's library", known=known)
    if (known_root := next((name for name in _KNOWN_ROOTS if dotted.startswith(name)), None)) is not None:
        handed_out = not _HANDED_OUT.isdisjoint(dotted.removeprefix(known_root).split("."))
        is_function = known_root in _OF_CLASSES and not parts[-1][0].isupper() and parts[-1] not in _KNOWN_FUNCTIONS
        if not handed_out and not is_function:
            return Judged(Weight.RUNS, f"code of {root}", known=True)
    if root in _FAMILIES:
        return Judged(Weight.RUNS, f"code of {root}, not on the list of what bundles commonly use")
    return Judged(Weight.RUNS, f"code of {root!r}: a package there, or a file of the bundle")


def judge_module(module: str) -> Judged:
    """What importing ``module`` comes to."""
    parts = module.split(".")
    if not module.isascii() or not all(part.isidentifier() for part in parts):
        return Judged(Weight.REFUSE, "is no plain module name")
    if any(part.startswith("_") for part in parts):
        return Judged(Weight.REFUSE, _INSIDES)
    root = parts[0]
    if root in sys.stdlib_module_names and root not in _COMMON_LIBRARY:
        return Judged(Weight.REFUSE, f"imports {root}, which no config needs: {_PROCESS}, or can be made to")
    if _lies_in(module, _DANGEROUS_PARTS):
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
    if name in _DANGEROUS_ENDS or name in _DANGEROUS_SHORT:
        return Judged(Weight.REFUSE, _PROCESS)
    if name in sys.stdlib_module_names and name not in _COMMON_LIBRARY:
        return Judged(Weight.REFUSE, f"is Python's {name}: {_PROCESS}")
    if name[0].isupper():
        return Judged(Weight.RUNS, "a component that MONAI finds by its short name", known=True)
    return Judged(Weight.RUNS, "a function that is found by its short name")
