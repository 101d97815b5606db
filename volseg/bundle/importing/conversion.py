"""Weights of another laboratory's, from torch's pickles to safetensors: in a process of its own, without a network.

The pickle is read as opcodes first, and must name nothing but the parts of plain tensors. Then a child process reads it
with torch's reader that builds nothing else, in bounded memory, and writes the tensors as safetensors.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from volseg.bundle.audit.budget import Budget
from volseg.bundle.audit.contents import audit_file
from volseg.bundle.audit.finding import Weight
from volseg.bundle.storage.files import BundleFiles
from volseg.bundle.storage.limits import GIB, MIB
from volseg.bundle.storage.safetensors_header import read_safetensors_header
from volseg.errors import BundleError

#: bytes of a file of weights
LARGEST = 2 * GIB
_SECONDS = 600


def convert_weights(files: BundleFiles, path: str, key: str, out: Path) -> None:
    """Write the weights in a bundle's file as safetensors.

    Args:
        files: of the bundle.
        path: the file of weights.
        key: what a checkpoint calls the network; a plain state dict needs none.
        out: the file to write.

    Raises:
        BundleError: if they are anything but plain tensors.
    """
    if path not in files.sizes:
        raise BundleError(f"has no {path}, which its configuration loads", where=files.where)
    if files.sizes[path] > LARGEST:
        raise BundleError(f"more than {LARGEST // GIB} GiB of weights", where=path)
    require_plain_tensors(files, path)
    with TemporaryDirectory(prefix="volseg-import-") as folder:
        raw = Path(folder) / ("weights.safetensors" if path.endswith(".safetensors") else "weights.pt")
        with files.open(path) as source, raw.open("xb") as file:
            while piece := source.read(MIB):
                file.write(piece)
        made = Path(folder) / "made.safetensors"
        if raw.suffix == ".safetensors":
            with raw.open("rb") as file:
                read_safetensors_header(file, raw.stat().st_size, path)
            made = raw
        else:
            _in_a_child(raw, made, key, path)
        out.write_bytes(made.read_bytes())


def require_plain_tensors(files: BundleFiles, path: str) -> None:
    """Refuse weights that hold code, or anything that loading would call.

    Raises:
        BundleError: naming what.
    """
    for finding in audit_file(path, files, Budget()):
        if finding.weight is not Weight.DATA:
            text = finding.text if len(finding.text) <= 200 else f"{finding.text[:200]}…"
            raise BundleError(
                f"is not plain tensors: {finding.kind}, {text}: {finding.why}",
                where=path,
                mend="ask its makers for a plain state dict, or for safetensors",
            )


def _in_a_child(raw: Path, made: Path, key: str, path: str) -> None:
    command = [sys.executable, "-I", "-m", "volseg.bundle.importing.child", str(raw), str(made), key]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            env={"PATH": "", "OMP_NUM_THREADS": "1"},
            cwd=raw.parent,
        )
    except subprocess.TimeoutExpired:
        raise BundleError(f"took more than {_SECONDS} s to read", where=path) from None
    if done.returncode != 0 or not made.is_file():
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = said[-1][:200] if said else f"the process that read it ended with {done.returncode}"
        raise BundleError(f"cannot be read as plain tensors: {why}", where=path)
