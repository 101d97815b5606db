"""What every benchmark shares: a process for each contender, the machine's name, the result as JSON.

A benchmark is a module ``benchmarks/NAME.py`` with ``run(argv) -> int``. Contenders are top-level functions of plain
arguments that return plain data; :func:`child` calls one in a process of its own, so that allocator, caches and peak
memory of one never help or hurt the other.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

# where results go that are not the record: those of smaller work, say
RESULTS_VARIABLE = "VOLSEG_BENCHMARK_RESULTS"
RESULTS = Path(os.environ.get(RESULTS_VARIABLE) or Path(__file__).parent / "results")
# glibc keeps large blocks instead of mapping and unmapping them: half of the time of a CPU convolution net
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1", "MALLOC_TOP_PAD_": str(256 << 20)}
_CALL = """
import importlib, json, sys, traceback
module, function, given, made = sys.argv[1:]
try:
    told = {"result": getattr(importlib.import_module(module), function)(**json.load(open(given)))}
except Exception as error:
    told = {"error": str(error) or type(error).__name__, "trace": traceback.format_exc()}
json.dump(told, open(made, "w"))
"""


def child(
    module: str, function: str, *, env: dict[str, str] | None = None, timeout: float = 3600, **arguments: Any
) -> Any:
    """Call ``module.function(**arguments)`` in a fresh process and return what it returned (plain data).

    Raises:
        RuntimeError: in the words of what it raised, its traceback as a note.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "given.json"), Path(folder, "made.json")
        given.write_text(json.dumps(arguments))
        command = [sys.executable, "-c", _CALL, module, function, str(given), str(made)]
        subprocess.run(command, check=True, env=os.environ | (env or {}), timeout=timeout)
        told = json.loads(made.read_text())
    if "error" in told:
        failure = RuntimeError(told["error"])
        failure.add_note(told["trace"])
        raise failure
    return told["result"]


def attempt(table: dict[str, dict[str, Any]], name: str, module: str, function: str, **arguments: Any) -> bool:
    """Let a contender into the table; one that fails, for want of memory say, is told and left out."""
    try:
        table[name] = child(module, function, **arguments)
    except Exception as error:
        print(f"{name}: not measured ({str(error) or type(error).__name__})", flush=True)
        return False
    return True


def computes(precision: str, device: str) -> bool:
    """Whether the device has instructions for it: a figure taken without them would be no figure of it."""
    import torch

    from volseg.inference.arithmetic import native

    return precision in native(torch.device(device))


def volseg(*words: str | Path) -> None:
    """One command of ours in a process of its own, on two threads, silent but for what is wrong."""
    command = [sys.executable, "-m", "volseg.cli", "-q", *map(str, words)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "2"})


def machine() -> dict[str, Any]:
    """The machine a figure was measured on."""
    cpu = platform.processor() or platform.machine()
    if sys.platform == "linux":
        names = [
            x.split(":", 1)[1].strip() for x in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in x
        ]
        cpu = names[0] if names else cpu
    found = {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_GiB": round(_memory() / 2**30)}
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        found["gpu"] = sys.modules["torch"].cuda.get_device_name(0)
    return found


def versions(*packages: str) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("torch", "monai", "numpy", "volseg", *packages):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def record(
    name: str, *, work: str, ours: Any, peer: Any, ratio: Any, packages: tuple[str, ...] = (), **more: Any
) -> Path:
    """Write ``benchmarks/results/NAME.json``; every figure quoted anywhere is read from there."""
    result = {
        "work": work,
        "ours": ours,
        "peer": peer,
        "ratio": ratio,
        "machine": machine(),
        "versions": versions(*packages),
        "date": date.today().isoformat(),
        **more,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, sort_keys=False) + "\n")
    print(f"written: {path}")
    return path


def peak_rss() -> int:
    """The largest resident size of this process so far, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
