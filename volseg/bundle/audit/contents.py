"""What a file is, by its first bytes as much as by its name, and the findings in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from volseg.bundle.audit.budget import Budget
from volseg.bundle.audit.configs import SUFFIXES, audit_config
from volseg.bundle.audit.finding import Finding, Weight
from volseg.bundle.audit.logging_conf import SUFFIXES as LOGGING_SUFFIXES
from volseg.bundle.audit.logging_conf import audit_logging, is_logging_conf
from volseg.bundle.audit.numpy_files import ARRAY_MARK, audit_npy
from volseg.bundle.audit.onnx_files import audit_onnx
from volseg.bundle.audit.pickles import audit_pickle
from volseg.bundle.audit.torch_files import audit_zip
from volseg.bundle.storage.files import BundleFiles, read_whole
from volseg.bundle.storage.safetensors_header import read_safetensors_header

#: steps that a finding takes, or a tensor, and bytes of text that are read in one
_FINDING, _TENSOR, _BYTES = 100, 10, 128
_SCRIPTS = {
    ".py", ".pyw", ".sh", ".bash", ".zsh", ".bat", ".cmd", ".ps1", ".js", ".ipynb", ".pl", ".rb", ".r", ".lua", ".m",
    ".cu", ".cpp", ".c", ".html", ".htm", ".svg", ".xhtml", ".service", ".desktop", ".toml", ".mk",
}  # fmt: skip
_SCRIPT_NAMES = {"makefile", "dockerfile", "conftest.py"}
_PROGRAMS = {
    ".pyc", ".pyo", ".pyd", ".so", ".dll", ".dylib", ".exe", ".msi", ".jar", ".class", ".whl", ".egg", ".a", ".o",
    ".lib", ".com", ".scr", ".lnk", ".app", ".bin.sh", ".pyz", ".wasm",
}  # fmt: skip
_SEALED = {
    ".h5",
    ".hdf5",
    ".keras",
    ".pb",
    ".engine",
    ".plan",
    ".trt",
    ".mar",
    ".nemo",
    ".tflite",
    ".mlmodel",
    ".gguf",
    ".ort",
}
_PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".dill", ".p", ".pck", ".ts", ".pt2", ".sav"}
_IMAGES = {".nii.gz", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".nii", ".nrrd", ".mha", ".tif", ".tiff", ".pdf"}
_MACHINE_CODE = {
    b"\x7fELF": "Linux", b"MZ": "Windows", b"\xfe\xed\xfa": "macOS", b"\xcf\xfa\xed\xfe": "macOS",
    b"\xce\xfa\xed\xfe": "macOS", b"\xca\xfe\xba\xbe": "Java or macOS", b"\0asm": "WebAssembly",
}  # fmt: skip
_ARCHIVES = {
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"7z\xbc\xaf": "7-zip", b"Rar!": "RAR",
    b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4", b"PK\x05\x06": "zip", b"\x1f\x9d": "compress",
}  # fmt: skip


def audit_file(path: str, files: BundleFiles, budget: Budget) -> Iterator[Finding]:
    """Findings in one file of a bundle.

    Args:
        path: the file.
        files: all files of the bundle.
        budget: the work that may be done, which is counted.

    Raises:
        BundleError: if it is of a kind that must be read and cannot be, or that is too much work.
    """
    for finding in _findings(path, files, budget):
        budget.spend(_FINDING)
        yield finding


def _findings(path: str, files: BundleFiles, budget: Budget) -> Iterator[Finding]:
    suffix, size = _suffix(path), files.sizes[path]
    with files.open(path) as stream:
        front = stream.read(512)
        stream.seek(0)
        if suffix == ".safetensors":
            header = read_safetensors_header(stream, size, path)
            budget.spend(_TENSOR * len(header.tensors) + header.length // _BYTES)
        elif suffix == ".onnx":
            yield from audit_onnx(path, stream, size, dict(files.sizes), budget)
        elif suffix in SUFFIXES:
            yield from audit_config(path, read_whole(files, path), files.sizes, budget)
        elif suffix in LOGGING_SUFFIXES:
            yield from audit_logging(path, read_whole(files, path))
        elif front.startswith(b"PK\x03\x04"):
            yield from audit_zip(path, stream, budget)
        elif front.startswith(ARRAY_MARK):
            yield from audit_npy(path, stream, budget)
        elif (front[:1] == b"\x80" and front[1:2] in b"\2\3\4\5") or suffix in _PICKLES:
            yield from audit_pickle(path, stream, budget)
        elif program := _program(path, suffix, front):
            yield program
        elif size <= 2**16 and is_logging_conf(path, whole := read_whole(files, path)):
            yield from audit_logging(path, whole)


def _program(path: str, suffix: str, front: bytes) -> Finding | None:
    for mark, system in _MACHINE_CODE.items():
        if front.startswith(mark):
            return Finding(
                path, "program", Weight.REFUSE, system, "machine code, which nobody can judge", door="whoever runs it"
            )
    for mark, kind in _ARCHIVES.items():
        if front.startswith(mark) and suffix != ".nii.gz":
            return Finding(path, "archive", Weight.REFUSE, kind, "an archive within the bundle")
    if front[257:262] == b"ustar":
        return Finding(path, "archive", Weight.REFUSE, "tar", "an archive within the bundle")
    if suffix in _PROGRAMS:
        return Finding(
            path, "program", Weight.REFUSE, suffix, "compiled code, which nobody can judge", door="whoever runs it"
        )
    if suffix in _SEALED:
        return Finding(
            path, "program", Weight.REFUSE, suffix, "a model in a format that can hold programs, and is not read here"
        )
    if suffix in _SCRIPTS or PurePosixPath(path).name.lower() in _SCRIPT_NAMES or front.startswith(b"#!"):
        first = front.split(b"\n", 1)[0].decode("utf-8", "replace") if suffix not in _IMAGES else suffix
        why = "a script; MONAI puts the bundle's folder on Python's path, so configs can import it"
        return Finding(path, "script", Weight.RUNS, first, why, door="python, and python -m monai.bundle")
    return None


def _suffix(path: str) -> str:
    lower = path.lower()
    if lower.endswith(".nii.gz"):
        return ".nii.gz"
    # MONAI reads a file called `.json` as one
    stem, dot, end = PurePosixPath(lower).name.rpartition(".")
    return dot + end if stem or dot + end in SUFFIXES else ""
