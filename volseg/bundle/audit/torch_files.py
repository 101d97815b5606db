"""What loading a file of torch's would run: the pickles in it, TorchScript, exported programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from volseg.bundle.audit.budget import Budget
from volseg.bundle.audit.finding import Finding, Weight
from volseg.bundle.audit.numpy_files import ARRAY_MARK, audit_npy
from volseg.bundle.audit.pickles import audit_pickle
from volseg.bundle.storage.archive import ZipFiles
from volseg.bundle.storage.files import told

_SCRIPT_DOOR = "torch.jit.load"
_EXPORT_DOOR = "torch.export.load"
#: steps that an entry takes, and bytes that are unpacked in one
_ENTRY, _UNPACKED = 10, 2048
_LIBRARIES = (".so", ".dll", ".dylib", ".cubin", ".ptx", ".o", ".cpp")


def audit_zip(file: str, stream: BinaryIO, budget: Budget) -> Iterator[Finding]:
    """Findings in a zip within a bundle: weights of torch's, arrays of NumPy's, or an archive that hides things.

    Raises:
        BundleError: if it is no zip that can be read.
    """
    inner = ZipFiles.of(stream, file)
    for problem in inner.problems:
        yield Finding(file, "entry", Weight.REFUSE, told(problem), "two programs can see two different contents in it")
    if inner.problems:
        return
    names = list(inner.sizes)
    budget.spend(_ENTRY * len(names))
    folder = f"{inner.name}/" if inner.name and inner.name not in names else ""
    # torch finds a record whatever the case of its name, NumPy an array by its first bytes
    pickles = [name for name in names if name.lower().endswith(".pkl")]
    arrays = [name for name in names if name.lower().endswith(".npy") or _is_array(inner, name)]
    code = [name for name in names if name.lower().startswith("code/") or "/code/" in name.lower()]
    exported = [name for name in names if _is_exported(name.lower())]
    if not (pickles or arrays or code or exported):
        yield Finding(file, "archive", Weight.REFUSE, ", ".join(names[:20]), "an archive within the bundle")
        return
    if code or any(name.lower().endswith("constants.pkl") for name in names):
        shown = ", ".join(folder + name for name in code if name.lower().endswith(".py")) or "TorchScript"
        yield Finding(
            file, "torchscript", Weight.RUNS, shown, "TorchScript is a program, and can write files", door=_SCRIPT_DOOR
        )
    if exported:
        why = "an exported program, which loading builds and running calls"
        yield Finding(file, "pt2", Weight.RUNS, ", ".join(exported[:20]), why, door=_EXPORT_DOOR)
    for name in names:
        if name.lower().endswith(_LIBRARIES):
            yield Finding(
                file, "program", Weight.REFUSE, name, "machine code, which nobody can judge", door=_EXPORT_DOOR
            )
    for name in (*pickles, *arrays):
        budget.spend(inner.sizes[name] // _UNPACKED)
    for name in pickles:
        with inner.open(name) as member:
            for finding in audit_pickle(file, member, budget, inside=folder + name):
                # TorchScript's own pickles name the classes of its own code
                if not (code and finding.text.startswith("__torch__.")):
                    yield finding
    for name in arrays:
        with inner.open(name) as member:
            yield from audit_npy(f"{file}/{name}", member, budget)


def _is_array(inner: ZipFiles, name: str) -> bool:
    return inner.front(name, len(ARRAY_MARK)) == ARRAY_MARK


def _is_exported(name: str) -> bool:
    last = name.rpartition("/")[2]
    return last in ("archive_format", "serialized_exported_program.json") or "aotinductor" in name
