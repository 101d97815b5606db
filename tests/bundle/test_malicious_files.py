"""Weights, arrays, programs and archives that run code when opened: one clear line each, and nothing happens."""

from __future__ import annotations

import io
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.hostile import OLD_TORCH, OLD_TORCH_BY_CALL, Calls, array_of_objects, pickled_command, torch_archive, zip_of
from volseg.bundle.inspect import inspect_bundle

REFUSES, RUNS, DATA = "refuses", "runs listed code", "data only"


def _evil(protocol: int = 2) -> bytes:
    return pickled_command("touch canary", protocol)


def _objects() -> bytes:
    return array_of_objects("touch canary")


def _safetensors(header: Any, size: int = 24) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(size)


def _tensor(begin: int, end: int, shape: list[int]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


def _field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


def _onnx(location: str) -> bytes:
    entry = _field(1, b"location") + _field(2, location.encode())
    return b"\x08\x08" + _field(7, _field(5, _field(13, entry) + b"\x70\x01"))


def _deep_onnx() -> bytes:
    """Graphs within attributes of the nodes of graphs."""
    inner = b""
    for number in (6, 5, 1) * 12:
        inner = _field(number, inner)
    return _field(7, inner)


def _lying_zip() -> bytes:
    """A file of torch's whose table names another pickle than the record in front of it does."""
    good = bytearray(torch_archive(pickle.dumps({})))
    at = good.index(b"model/data.pkl")
    good[at : at + 14] = b"model/atad.pkl"
    return bytes(good)


#: assembled by hand: module and name come out of the memo, where no opcode shows them together
_BY_MEMO = b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x940h\x00h\x01\x93\x8c\x0ctouch canary\x85R."
_BY_EXTENSION = b"\x80\x02\x82\x01)R."
_PUT_TOGETHER = b"\x80\x04N\x8c\x06system\x93."
#: torch's old format: its number is what is loaded, although another stands last; the fourth pickle is the network
_OLD = OLD_TORCH.to_bytes(10, "little")
_BEHIND_A_POP = b"\x80\x02\x8a\x0a" + _OLD + b"K\x050." + b"M\xe9\x03." + pickle.dumps({}, 2) + _evil(2)


def _numbers() -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    return buffer.getvalue()


_SHOUTED = zip_of({"model/DATA.PKL": _evil(), "model/other.pkl": pickle.dumps({})})
_UNNAMED = zip_of({"stats": _objects(), "more.npy": _numbers()})

FILES: dict[str, tuple[dict[str, Any], str, str]] = {
    "torch-in-capitals": ({"models/model.pt": _SHOUTED}, REFUSES, "system"),
    "old-torch-behind-a-call": ({"models/model.pth": OLD_TORCH_BY_CALL + _evil(0)}, REFUSES, "system"),
    "pickle-before-the-damage": ({"models/model.pkl": pickle.dumps({}) + _evil(0)[:-1] + b"x"}, REFUSES, "system"),
    "array-of-objects-unnamed": ({"models/stats.npz": _UNNAMED}, REFUSES, "system"),
    "torch": ({"models/model.pt": torch_archive(_evil())}, REFUSES, "system"),
    "torch-by-another-name": ({"docs/notes.txt": torch_archive(_evil())}, REFUSES, "system"),
    "old-torch": ({"models/model.pth": _evil(2)}, REFUSES, "system"),
    "old-torch-behind-a-pop": ({"models/model.pth": _BEHIND_A_POP}, REFUSES, "system"),
    "a-pickle-too-many": ({"models/model.pkl": pickle.dumps({}, 2) * 8 + _evil(2)}, REFUSES, "one behind the other"),
    "huge-argument": ({"models/model.pkl": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 40)}, REFUSES, "an argument of"),
    "protocol-0": ({"models/model.pkl": _evil(0)}, REFUSES, "system"),
    "protocol-5": ({"models/model.ckpt": _evil(5)}, REFUSES, "system"),
    "pickle-in-a-licence": ({"LICENSE": _evil(4)}, REFUSES, "system"),
    "second-pickle": ({"models/model.pt": pickle.dumps({}) + _evil()}, REFUSES, "system"),
    "by-memo": ({"models/model.pt": torch_archive(_BY_MEMO)}, REFUSES, "posix.system"),
    "by-extension": ({"models/model.pt": torch_archive(_BY_EXTENSION)}, REFUSES, "registry"),
    "put-together": ({"models/model.pt": torch_archive(_PUT_TOGETHER)}, REFUSES, "while it is loaded"),
    "builtins": ({"models/model.pt": torch_archive(pickle.dumps(Calls(eval, "1"), 2))}, REFUSES, "builtins.eval"),
    "attributes": ({"models/model.pt": torch_archive(pickle.dumps(Calls(getattr, 1, "real")))}, REFUSES, "getattr"),
    "cut-short": ({"models/model.pt": torch_archive(_evil()[:-9])}, REFUSES, "cut short"),
    "endless": ({"models/model.pt": torch_archive(b"\x80\x02" + b"N0" * 2**21)}, REFUSES, "more than can be"),
    "own-classes": ({"models/model.pt": torch_archive(b"\x80\x02cmodels.net\nNet\n)R.")}, RUNS, "models.net.Net"),
    "lying-table": ({"models/model.pt": _lying_zip()}, REFUSES, "another name"),
    "array-of-objects": ({"models/stats.npy": _objects()}, REFUSES, "system"),
    "array-of-hidden-objects": (
        {"models/stats.npy": _objects().replace(b"'|O'", rb"'|\x4f'").replace(b"   \n", b"\n")},
        REFUSES,
        "system",
    ),
    "arrays-of-objects": ({"models/stats.npz": zip_of({"arr_0.npy": _objects()})}, REFUSES, "system"),
    "array-of-six-bytes": ({"models/stats.npy": b"\x93NUMPY"}, REFUSES, "no array of NumPy's"),
    "array-cut-short": ({"models/stats.npy": b"\x93NUMPY\1\0v"}, REFUSES, "an array that is cut short"),
    "array-of-headers": ({"models/stats.npy": b"\x93NUMPY\2\0" + struct.pack("<L", 70_000)}, REFUSES, "a header of"),
    "array-of-riddles": ({"models/stats.npy": b"\x93NUMPY\1\0\4\0{f()"}, REFUSES, "header cannot be read"),
    "pythons-own": ({"models/model.pt": torch_archive(b"\x80\x02cglob\nglob\n)R.")}, REFUSES, "calls Python's glob"),
    "torchscript": ({"models/model.ts": torch_archive(pickle.dumps({}), code__torch__py=b"1")}, RUNS, "TorchScript"),
    "torchscript-weights": ({"models/model.pt": torch_archive(pickle.dumps({}), code__net__py=b"")}, RUNS, "Script"),
    "exported": ({"models/model.pt2": torch_archive(pickle.dumps({}), archive_format=b"pt2")}, RUNS, "exported"),
    "exported-machine-code": (
        {"models/model.pt2": torch_archive(pickle.dumps({}), **{"data__aotinductor__m.so": b"\x7fELF"})},
        REFUSES,
        "machine code",
    ),
    "header-bomb": ({"models/model.safetensors": struct.pack("<Q", 2**62) + b"{}"}, REFUSES, "header of"),
    "overlap": (
        {"models/model.safetensors": _safetensors({"a": _tensor(0, 24, [6]), "b": _tensor(0, 24, [6])})},
        REFUSES,
        "shares bytes",
    ),
    "gap": ({"models/model.safetensors": _safetensors({"a": _tensor(8, 24, [4])})}, REFUSES, "belong to none"),
    "short": ({"models/model.safetensors": _safetensors({"a": _tensor(0, 48, [12])})}, REFUSES, "end at byte"),
    "wrong-shape": ({"models/model.safetensors": _safetensors({"a": _tensor(0, 24, [5])})}, REFUSES, "another size"),
    "doubled": (
        {"models/model.safetensors": _safetensors(b'{"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]},"a":1}')},
        REFUSES,
        "stands twice",
    ),
    "deep-header": ({"models/model.safetensors": _safetensors(b'{"a":' + b"[" * 9000)}, REFUSES, "header"),
    "negative": ({"models/model.safetensors": _safetensors({"a": _tensor(-24, 0, [6])})}, REFUSES, "not described"),
    "onnx-outside": ({"models/model.onnx": _onnx("../../../etc/passwd")}, REFUSES, "/etc/passwd"),
    "onnx-absolute": ({"models/model.onnx": _onnx("/etc/passwd")}, REFUSES, "outside of the bundle"),
    "onnx-inside": ({"models/model.onnx": _onnx("w.bin.txt"), "models/w.bin.txt": "0"}, RUNS, "UNet"),
    "onnx-operators": ({"models/model.onnx": b"\x08\x08" + _field(7, _field(1, _field(7, b"evil.ops")))}, RUNS, "evil"),
    "onnx-damaged": ({"models/model.onnx": b"\x3a\xff\xff\xff\xff\x0f"}, REFUSES, "cut short"),
    "onnx-nested": ({"models/model.onnx": _field(7, b"\x0a\x7d" * 40)}, REFUSES, "ONNX"),
    "onnx-deep": ({"models/model.onnx": _deep_onnx()}, REFUSES, "nested more than"),
    "onnx-of-another-kind": ({"models/model.onnx": b"\x3b"}, REFUSES, "no ONNX file"),
    "script": ({"scripts/__init__.py": "import os; os.system('touch canary')\n"}, RUNS, "script"),
    "shadow": ({"monai.py": "import os\n"}, RUNS, "import os"),
    "shell": ({"docs/run": "#!/bin/sh\ntouch canary\n"}, RUNS, "#!/bin/sh"),
    "page": ({"docs/index.html": "<script>1</script>"}, RUNS, "<script>"),
    "elf": ({"models/helper.txt": b"\x7fELF\x02\x01" + bytes(64)}, REFUSES, "machine code"),
    "windows-program": ({"models/data.csv": b"MZ\x90\x00" + bytes(64)}, REFUSES, "machine code"),
    "bytecode": ({"scripts/net.pyc": b"\xa7\r\r\n" + bytes(12)}, REFUSES, "compiled"),
    "extension": ({"scripts/net.so": b"x"}, REFUSES, "compiled"),
    "archive": ({"models/more.zip": torch_archive(b"")[:0] + b"PK\x05\x06" + bytes(18)}, REFUSES, "archive within"),
    "archive-of-scripts": ({"models/more.dat": b"\x1f\x8b\x08" + bytes(30)}, REFUSES, "gzip"),
    "tar": ({"models/more.tar": bytes(257) + b"ustar\x0000" + bytes(248)}, REFUSES, "tar"),
    "keras": ({"models/model.h5": b"\x89HDF\r\n\x1a\n"}, REFUSES, "not read here"),
}  # fmt: skip


def test_each_is_judged_and_none_runs(
    make_bundle: Callable[..., Path], watched: Callable[[Path], dict[str, dict[str, Any]]], tmp_path: Path
) -> None:
    """Every file gets its verdict and its one line; it is not opened by what it was made for."""
    given = tmp_path / "given"
    given.mkdir()
    for name, (changes, _, _) in FILES.items():
        make_bundle(changes, name=name).rename(given / name)
    looked_at = watched(given)
    wrong = []
    for name, (_, verdict, words) in FILES.items():
        found = looked_at[name]["found"]
        assert looked_at[name]["noted"] == [], name
        # nothing runs: so it is safe to look at it in this process too, and the same is found
        assert json.loads(json.dumps(inspect_bundle(given / name).to_dict())) == found
        lines = [f"{f['file']} {f['text']}: {f['why']}" for f in found["findings"] if f["weight"] != "data"]
        assert all("\n" not in line for line in lines)
        if found["verdict"] != verdict or not any(words in line for line in lines):
            wrong.append((name, words, found["verdict"], lines))
    assert wrong == []
    assert not list(tmp_path.rglob("canary"))


@pytest.mark.parametrize("linked", ["file", "folder", "outside", "pipe"])
def test_links_and_pipes_in_a_folder_are_refused(make_bundle: Callable[..., Path], tmp_path: Path, linked: str) -> None:
    """A folder is not read through links, nor are pipes waited for."""
    import os

    from volseg.bundle.audit import Verdict

    bundle = make_bundle()
    (tmp_path / "secret").write_text("x")
    target = {"file": bundle / "LICENSE", "folder": bundle / "docs", "outside": tmp_path / "secret"}.get(linked)
    if target is None:
        os.mkfifo(bundle / "more")
    else:
        (bundle / "more").symlink_to(target)
    found = inspect_bundle(bundle).audit
    assert found.verdict is Verdict.REFUSE
    assert found.first is not None
    assert found.first.file == "more"
    assert ("symbolic link" if target else "special file") in found.first.why


def test_torch_writes_what_is_known_as_plain_tensors(tmp_path: Path) -> None:
    """Weights that torch itself saved, in today's format and the one before, are data; whole modules are code."""
    import torch

    from volseg.bundle.audit.budget import Budget
    from volseg.bundle.audit.pickles import audit_pickle
    from volseg.bundle.audit.torch_files import audit_zip

    network = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3), torch.nn.BatchNorm3d(4)).half()
    torch.save(network.state_dict(), tmp_path / "new.pt")
    torch.save(network.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    torch.save(network, tmp_path / "whole.pt")
    with (tmp_path / "new.pt").open("rb") as new, (tmp_path / "old.pt").open("rb") as old:
        for finding in (*audit_zip("new.pt", new, Budget()), *audit_pickle("old.pt", old, Budget())):
            assert (finding.weight.value, finding.why) == ("data", "a pickle of plain tensors")
    with (tmp_path / "whole.pt").open("rb") as whole:
        found = list(audit_zip("whole.pt", whole, Budget()))
    assert {f.weight.value for f in found} == {"runs"}
    assert "torch.nn.modules.conv.Conv3d" in {f.text for f in found}
