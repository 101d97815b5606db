"""``volseg doctor``: what this machine can do, and what to do where it can't."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from volseg.cli import console

REQUIRED = ("torch", "monai", "pytorch-ignite", "numpy", "scipy", "nibabel", "SimpleITK", "pydicom", "highdicom")
EXTRAS = {
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow-skinny",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "dicom-codecs": ("pylibjpeg", "pylibjpeg-openjpeg", "pyjpegls", "python-gdcm"),
    "signing": ("model-signing", "pyOpenSSL"),
}
# torch 2.9 runs 3-D convolutions under mixed precision about four times slower; before 2.10 `weights_only` has holes
OLDEST_TORCH = (2, 10)


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show versions, devices, memory and readers, and say what to do about what is missing.

    Examples:
        volseg doctor
        volseg doctor --json
    """
    found = examine()
    if as_json:
        console.result_json(found)
    else:
        rows = [
            [part, name, str(value)]
            for part in ("versions", "machine", "devices", "readers")
            for name, value in found[part].items()
        ]
        console.result_table(["part", "what", "found"], rows)
        for advice in found["advice"] or ["nothing is missing"]:
            console.result(f"- {advice}")
    if found["broken"]:
        raise typer.Exit(console.FAILED)


def examine() -> dict[str, Any]:
    """Everything ``doctor`` tells, as plain data."""
    import importlib.util
    import os
    import platform
    import shutil

    from volseg.cli.app import version_line

    versions = {name: _version(name) for name in REQUIRED}
    missing = [name for name, found in versions.items() if found is None]
    advice = [f"{name} is missing: pip install volseg again, in a fresh environment" for name in missing]
    machine: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": _gib(_memory()),
        "free disk here": _gib(shutil.disk_usage(".").free),
    }
    devices: dict[str, Any] = {}
    if versions["torch"]:
        devices, about_devices = _devices()
        advice += about_devices
    readers: dict[str, Any] = {
        "gzip": "isal" if importlib.util.find_spec("isal") else "zlib",
        "NIfTI": versions["nibabel"],
        "NRRD, MHA": versions["SimpleITK"],
        "DICOM": versions["highdicom"],
    }
    if readers["gzip"] == "zlib":
        advice.append("reading .nii.gz is slower without isal: pip install isal")
    for extra, packages in EXTRAS.items():
        absent = [package for package in packages if _version(package) is None]
        readers[f"extra {extra}"] = "missing " + ", ".join(absent) if absent else "installed"
        if absent:
            advice.append(f"""for {extra}: pip install ".[{extra}]" in the folder of volseg's source""")
    return {
        "volseg": version_line(),
        "versions": versions,
        "machine": machine,
        "devices": devices,
        "readers": readers,
        "advice": advice,
        "broken": bool(missing),
    }


def _devices() -> tuple[dict[str, Any], list[str]]:
    import torch

    devices: dict[str, Any] = {"cpu": f"{torch.get_num_threads()} threads"}
    advice = []
    for index in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(index)
        devices[f"cuda:{index}"] = f"{about.name}, {_gib(about.total_memory)}"
    if torch.cuda.device_count() == 0:
        advice.append(f"no CUDA device: training and prediction run on the CPU; {_without_cuda()}")
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < OLDEST_TORCH:
        advice.append(f"torch {torch.__version__} is too old: pip install 'torch>=2.10'")
    return devices, advice


def _without_cuda() -> str:
    import torch

    if torch.version.cuda is None and torch.version.hip is None:
        return "with a GPU in this machine, install a build of torch that knows it: this one is for the CPU alone"
    return "with a GPU in this machine, see that nvidia-smi lists it and that CUDA_VISIBLE_DEVICES does not hide it"


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory() -> int:
    import os

    if not hasattr(os, "sysconf"):
        return 0
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
