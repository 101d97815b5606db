"""The process that reads a stranger's pickle of tensors: no network, no other program, no file but its own two.

``python -m volseg.bundle.importing.child WEIGHTS.pt OUT.safetensors KEY``
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
_SPARE = 512 * 2**20
#: what Python would tell of before it happened
_FORBIDDEN = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.remove", "os.rename",
    "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown", "ctypes.", "shutil.",
    "urllib.", "ftplib.", "http.", "smtplib.", "webbrowser.", "pty.", "exec", "compile", "import", "code.__new__",
)  # fmt: skip


def convert(source: Path, target: Path, key: str) -> None:
    """Read a state dict, or what a checkpoint calls ``key``, and write it as safetensors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Any = torch.load(source, map_location="cpu", weights_only=True)
    if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
        found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(name, str) for name in found):
        raise ValueError("is no state dict")
    wrong = next(
        (name for name, value in found.items() if not isinstance(value, Tensor) or value.layout != torch.strided), None
    )
    if wrong is not None:
        raise ValueError(f"{wrong!a} is no plain tensor")
    # tensors can share one storage, and a small storage can pass for a large tensor: each gets numbers of its own
    total = sum(value.numel() * value.element_size() for value in found.values())
    if total > 4 * source.stat().st_size + _SPARE // 8:
        raise ValueError("holds tensors far larger than the file")
    target.write_bytes(save({name: value.detach().clone().contiguous() for name, value in found.items()}))


def shut_in(target: Path, memory: int) -> None:
    """Give up what reading tensors does not need, as far as the system allows; Python itself refuses the rest."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "unshare"):
        libc.unshare(_NEW_USER | _NEW_NETWORK)  # where it is not allowed, the hook below stands alone
    try:
        import resource
    except ImportError:  # not on this system
        pass
    else:
        now = _address_space()
        resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (memory, memory))
    allowed = os.fspath(target)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        writes = event == "open" and len(arguments) > 2 and _writes(arguments)
        if (writes and os.fspath(arguments[0]) != allowed) or event.startswith(_FORBIDDEN):
            raise PermissionError(f"reading tensors does not need {event}")

    sys.addaudithook(watch)


def _writes(arguments: tuple[Any, ...]) -> bool:
    _, mode, flags = arguments[:3]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _address_space() -> int:
    known = Path("/proc/self/statm")
    return int(known.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") if known.exists() else 16 << 30


def main(arguments: list[str]) -> int:
    """Convert, and tell in a line what went wrong."""
    source, target, key = Path(arguments[0]), Path(arguments[1]), arguments[2]
    _warm_up(target)
    shut_in(target, 4 * source.stat().st_size + _SPARE)
    try:
        convert(source, target, key)
    except MemoryError:
        sys.stderr.write("it needs more memory than its size explains\n")
        return 1
    except UnpicklingError:
        sys.stderr.write("it holds more than plain tensors\n")
        return 1
    except Exception as error:  # damaged bytes make torch's reader raise whatever they happen to hit
        sys.stderr.write(f"{(str(error).strip().splitlines() or [type(error).__name__])[0]}\n")
        return 1
    return 0


def _warm_up(target: Path) -> None:
    """Read and write a tensor of our own: what torch imports on the way is imported before the door is shut."""
    own = target.with_name("own.pt")
    torch.save({"own": torch.zeros(1)}, own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        convert(own, own.with_suffix(".safetensors"), "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
