"""Bundles that a stranger made to harm, each whole and with a manifest that is right about it: no door runs them.

Whoever can change a file can write a manifest too, so that hashes stop none of these. Every verb looks at each, in one
process, as a person types it; the kernel's own record tells what that process did.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load, save

from tests.hostile import (
    ALIAS_BOMB,
    OLD_TORCH_BY_CALL,
    Files,
    array_of_objects,
    pickled_command,
    torch_archive,
    with_a_name_twice,
    with_bomb,
    with_link,
    with_many,
    with_name,
    with_shared_bytes,
    zip_of,
)
from volseg.bundle.packing import pack_bundle
from volseg.bundle.storage.manifest import MANIFEST

INFERENCE, TRAIN = "configs/inference.json", "configs/train.json"
WEIGHTS, STATE, RECIPE = "models/model.safetensors", "models/model.pt", "configs/recipe.yaml"
TOUCH = "touch CANARY"

Change = Callable[[Files], object]
#: the exit codes of inspect, verify, unpack and predict
REFUSED, LISTED, IGNORED = (1, 1, 1, 1), (0, 1, 0, 0), (1, 1, 0, 0)
UNUSABLE = (1, 1, 0, 1)
#: a recipe that is none is a mistake of its own kind
NO_RECIPE, ODD_RECIPE = (1, 1, 2, 2), (0, 1, 2, 2)


def _config(**keys: Any) -> Change:
    """Keys added to the configuration of inference."""

    def change(files: Files) -> None:
        files[INFERENCE] = json.dumps({**json.loads(files[INFERENCE]), **keys}).encode()

    return change


def _put(path: str, content: bytes | str) -> Change:
    return lambda files: files.update({path: content.encode() if isinstance(content, str) else content})


def _recipe(old: str, new: str) -> Change:
    def change(files: Files) -> None:
        text = files[RECIPE].decode()
        assert old in text
        files[RECIPE] = text.replace(old, new, 1).encode()

    return change


def _weights(change_: Callable[[dict[str, Any]], object]) -> Change:
    def change(files: Files) -> None:
        weights = load(files[WEIGHTS])
        change_(weights)
        files[WEIGHTS] = save(weights)

    return change


def _header(length: int | None, content: bytes = b"{}") -> Change:
    return _put(WEIGHTS, struct.pack("<Q", len(content) if length is None else length) + content)


def _torch(**more: bytes) -> bytes:
    return torch_archive(pickled_command(TOUCH), **more)


_LOG = "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=f\n[logger_root]\nhandlers=h\n[handler_h]\n"
_ONNX = b"\x08\x08" + b"\x3a\x24\x2a\x22\x6a\x1e\x0a\x08location\x12\x12../../../etc/passwd"[:-1] + b"\x70\x01"

BUNDLES: dict[str, tuple[Change, tuple[int, ...]]] = {
    "expression": (_config(x=f"$__import__('os').system('{TOUCH}')"), IGNORED),
    "imports": (_config(imports=["$import subprocess"], x="$subprocess.run(['touch', 'CANARY'])"), IGNORED),
    "target": (_config(network_def={"_target_": "os.system", "command": TOUCH}), IGNORED),
    "run-cmd": (_config(x={"_target_": "monai.utils.run_cmd", "cmd_list": ["touch", "CANARY"]}), IGNORED),
    "disabled-expression": (_config(x={"_target_": "A", "_disabled_": f"$eval('{TOUCH}')"}), IGNORED),
    "requires": (_config(x={"_target_": "UNet", "_requires_": [f"$exec('{TOUCH}')"]}), IGNORED),
    "description": (_config(x={"_target_": "UNet", "_desc_": f"$eval('{TOUCH}')"}), IGNORED),
    "nested-reference": (_config(a={"b": ["os.system"]}, x={"_target_": "@a#b#0", "command": TOUCH}), IGNORED),
    "macro": (_config(a="os.popen", x={"_target_": "%a", "cmd": TOUCH}), IGNORED),
    "macro-outside": (_config(x="%../../../evil.json::x"), IGNORED),
    "look-alike-target": (_config(x={"_target_": "\u043es.system", "command": TOUCH}), IGNORED),
    "look-alike-expression": (_config(x=f"$\uff4f\uff53.system('{TOUCH}')"), IGNORED),
    "key-with-steps": (_config(**{"network_def::_target_": "os.system"}), IGNORED),
    "key-that-adds": (_config(**{"+network_def#_target_": "os.system"}), IGNORED),
    "debugger": (_config(x={"_target_": "UNet", "_mode_": "debug"}), IGNORED),
    "subclasses": (_config(x="$().__class__.__base__.__subclasses__()"), IGNORED),
    "reader-by-name": (_config(x={"_target_": "LoadImage", "reader": "os.system", "command": TOUCH}), IGNORED),
    "reference-in-a-text": (_config(f=1, x=f"""$'@f{{__import__("os").system("{TOUCH}")}}'"""), IGNORED),
    "code-in-a-key": (_config(**{f"q or torch.os.system('{TOUCH}') or @q": {"r": "$@::s"}}), IGNORED),
    "module-by-reference": (_config(c="$import os", x=f"$@c._os.sys.modules['os'].system('{TOUCH}')"), IGNORED),
    "large-files": (_put("large_files.yml", "large_files: [{url: 'https://x', path: x.pt}]\n"), LISTED),
    "hub": (_config(x={"_target_": "torch.hub.load", "repo_or_dir": "a/b", "model": "c"}), IGNORED),
    "metadata": (_put("configs/metadata.json", '{"version": "0.1.0", "x": "$exec(1)"}'), IGNORED),
    "overlay": (_put("configs/overlays/more.json", f'{{"x": "$__import__(\'os\').system(\'{TOUCH}\')"}}'), IGNORED),
    "yaml-tag": (_put("configs/train.yaml", f"x: !!python/object/apply:os.system ['{TOUCH}']\n"), IGNORED),
    "yaml-merge": (_put("configs/train.yaml", "x: {<<: {_target_: os.system}}\n"), IGNORED),
    "deep-yaml": (_put("configs/train.yaml", "[" * 5000 + "]" * 5000), IGNORED),
    "alias-bomb": (_put("configs/train.yaml", ALIAS_BOMB), IGNORED),
    "doubled-key": (_put("configs/train.json", '{"x": 1, "x": "$exec(1)"}'), IGNORED),
    "huge-json": (_put("configs/train.json", b'{"a": "' + b"x" * 5_000_000 + b'"}'), IGNORED),
    "deep-json": (_put("configs/train.json", b"[" * 50_000 + b"]" * 50_000), IGNORED),
    "logging-file": (_put("configs/logging.conf", _LOG + "class=FileHandler\nargs=('CANARY', 'w')\n"), IGNORED),
    "logging-class": (_put("configs/logging.conf", _LOG + f"class=__import__('os').system('{TOUCH}')\n"), IGNORED),
    "logging-defaults": (
        _put("configs/logging.conf", _LOG + f"[formatter_f]\ndefaults=__import__('os').system('{TOUCH}')\n"),
        IGNORED,
    ),
    "logging-socket": (_put("configs/logging.conf", _LOG + "class=handlers.SocketHandler\nargs=('h', 1)\n"), IGNORED),
    "script": (_put("scripts/__init__.py", f"import os; os.system('{TOUCH}')\n"), LISTED),
    "own-target": (_config(x={"_target_": "scripts.net.Net"}), LISTED),
    "shadow-of-monai": (_put("monai.py", f"import os; os.system('{TOUCH}')\n"), LISTED),
    "shadow-of-volseg": (_put("volseg/__init__.py", f"import os; os.system('{TOUCH}')\n"), LISTED),
    "customised-site": (_put("sitecustomize.py", f"import os; os.system('{TOUCH}')\n"), LISTED),
    "pickled-weights": (_put(STATE, _torch()), IGNORED),
    "old-pickle": (_put("models/old.pth", pickled_command(TOUCH, 2)), IGNORED),
    "pickle-in-a-document": (_put("docs/notes.txt", pickled_command(TOUCH, 4)), IGNORED),
    "pickle-in-capitals": (_put(STATE, _torch().replace(b"model/data.pkl", b"model/DATA.PKL")), IGNORED),
    "pickle-behind-a-call": (_put("models/old.pth", OLD_TORCH_BY_CALL + pickled_command(TOUCH, 0)), IGNORED),
    "torchscript": (_put("models/model.ts", _torch(code__torch__py=b"1")), IGNORED),
    "torchscript-as-weights": (_put(STATE, _torch(code__torch__py=b"1")), IGNORED),
    "exported-program": (_put("models/model.pt2", _torch(archive_format=b"pt2")), IGNORED),
    "array-of-objects": (_put("docs/stats.npy", array_of_objects(TOUCH)), IGNORED),
    "onnx-outside": (_put("models/model.onnx", _ONNX), IGNORED),
    "machine-code": (_put("models/helper.txt", b"\x7fELF\x02\x01" + bytes(64)), IGNORED),
    "archive-within": (_put("docs/more.txt", b"\x1f\x8b\x08" + bytes(30)), IGNORED),
    "header-bomb": (_header(2**62), UNUSABLE),
    "header-of-megabytes": (_header(None, b'{"a":' + b" " * 30_000_000 + b"1}"), UNUSABLE),
    "deep-header": (_header(None, b'{"a":' + b"[" * 100_000), UNUSABLE),
    "claims-a-terabyte": (
        _header(None, b'{"a":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4000000000000]}}'),
        UNUSABLE,
    ),
    "not-finite": (_weights(lambda w: w["head.weight"].fill_(float("nan"))), (0, 1, 0, 1)),
    "of-another-network": (_weights(lambda w: w.update(more=w["head.weight"].clone())), (0, 1, 0, 1)),
    "network-of-terabytes": (_recipe("channels: [2, 4]", "channels: [2, 65536]"), (0, 1, 0, 1)),
    "network-by-name": (_recipe("kind: unet", "kind: os.system"), (1, 1, 2, 2)),
    "recipe-tag": (_put(RECIPE, f"labels: !!python/object/apply:os.system ['{TOUCH}']\n"), NO_RECIPE),
    "recipe-alias-bomb": (_put(RECIPE, ALIAS_BOMB), NO_RECIPE),
    "deep-recipe": (_put(RECIPE, "labels: " + "[" * 5000 + "]" * 5000), NO_RECIPE),
    "huge-recipe": (_put(RECIPE, "labels: " + "x" * 3_000_000), REFUSED),
    "terminal-escapes": (_recipe("authors: A. Nother", 'authors: "\\e]0;evil\\a\\e[2J"'), ODD_RECIPE),
    "giant-spacing": (_recipe("spacing: native", "spacing: [0.05, 0.05]"), LISTED),
}  # fmt: skip


def _manifest(change: Callable[[bytes], bytes]) -> Callable[[Files], bytes]:
    return lambda files: zip_of({**files, f"cells/{MANIFEST}": change(files[f"cells/{MANIFEST}"])})


def _loose(raw: bytes) -> bytes:
    """A manifest, right in itself, that lets every label differ."""
    import hashlib

    data = json.loads(raw)
    data["golden"]["tolerance"] = 1.0
    del data["digest"]

    def spelled(content: Any) -> bytes:
        return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=True) + "\n").encode()

    return spelled({**data, "digest": hashlib.sha256(spelled(data)).hexdigest()})


ZIPS: dict[str, Callable[[Files], bytes]] = {
    "slip": with_name("cells/../../evil.txt"),
    "absolute": with_name("/tmp/volseg-evil.txt"),
    "drive": with_name("C:/evil.txt"),
    "backslash": with_name("cells\\..\\evil.txt"),
    "newline": with_name("cells/a\nb.txt"),
    "direction": with_name("cells/gnp\u202eyp.md"),
    "look-alike": with_name("cells/\u0441onfigs/train.json"),
    "case": with_name("cells/Configs/train.json"),
    "hidden-config": lambda files: zip_of({**files, "cells/configs/.json": b'{"run": "$exec(1)"}'}),
    "short-name": with_name("cells/CONFIG~1/logging.conf"),
    "link": with_link,
    "twice": with_a_name_twice,
    "overlapping": with_shared_bytes,
    "bomb": with_bomb(200_000_000),
    "many": with_many,
    "in-front": lambda files: b"#!/bin/sh\ntouch CANARY\nexit\n" + zip_of(files),
    "behind": lambda files: zip_of(files) + b"evil",
    "cut": lambda files: zip_of(files)[:-30],
}
#: what inspect, which lists what is there, does not hold against a zip
CHECKED: dict[str, Callable[[Files], bytes]] = {
    "mismatch": lambda files: zip_of({**files, "cells/LICENSE": files["cells/LICENSE"][::-1]}),
    "self-hash": _manifest(lambda raw: raw.replace(b'"name": "cells"', b'"name": "brain"')),
    "lists-outside": _manifest(lambda raw: raw.replace(b'"LICENSE"', b'"../LICE"')),
    "tolerates-all": _manifest(_loose),
    "unlisted": lambda files: zip_of({**files, "cells/docs/more.txt": b"x"}),
}

#: every verb over every bundle, in one process; what it imports is imported before the watch begins
WATCHED = """
import contextlib, io, json, os, pathlib, resource, sys
from volseg.cli.app import main

good, given, out, image = map(pathlib.Path, sys.argv[1:])

def use(*words):
    sys.argv = ["volseg", *map(str, words)]
    told, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(errors):
        try:
            main()
            code = 0
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException as error:
            code = repr(error)
    return [code, told.getvalue()[-4000:], errors.getvalue()]

def all_verbs(bundle, place):
    return {
        "inspect": use("bundle", "inspect", bundle),
        "verify": use("bundle", "verify", bundle),
        "unpack": use("bundle", "unpack", bundle, "-o", place / "unpacked"),
        "predict": use("predict", "-i", image, "-o", place / "masks", "-b", bundle, "--device", "cpu"),
    }

found = {"": all_verbs(good, out / "good")}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with contextlib.suppress(OSError):
    os.stat("/volseg-watch-begins")
for bundle in sorted(given.iterdir()):
    found[bundle.stem] = all_verbs(bundle, out / bundle.stem)
with contextlib.suppress(OSError):
    os.stat("/volseg-watch-ends")
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
json.dump({"found": found, "grown": grown}, sys.stdout)
"""
_CALLS = "execve,execveat,fork,vfork,clone,clone3,socket,connect,bind,openat,open,creat,rename,renameat,renameat2,"
_CALLS += "unlink,unlinkat,symlink,symlinkat,link,linkat,chmod,fchmodat,kill,ptrace,stat,newfstatat,statx,mount"
_STRACE = shutil.which("strace")
# four verbs over each bundle, every call of the kernel's recorded, on a machine that may be busy
_SECONDS = 1800
pytestmark = pytest.mark.timeout(_SECONDS)


@pytest.fixture(scope="module")
def seen(built: Path, packed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What every verb said of every bundle, and what its process asked of the kernel."""
    folder = tmp_path_factory.mktemp("malicious")
    canary, given = folder / "canary", folder / "given"
    given.mkdir()
    for name, (change, _) in BUNDLES.items():
        files = {p.relative_to(built).as_posix(): p.read_bytes() for p in built.rglob("*") if p.is_file()}
        change(files)
        made = folder / "made" / name / "cells"
        for path, content in files.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_bytes(content.replace(b"CANARY", str(canary).encode()))
        _packed(made, given / f"{name}.zip")
    with zipfile.ZipFile(packed) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    for name, make in {**ZIPS, **CHECKED}.items():
        (given / f"zip-{name}.zip").write_bytes(make(dict(files)).replace(b"CANARY", str(canary).encode()))
    place = folder / "process"
    (place / "temporary").mkdir(parents=True)
    record = folder / "strace.txt"
    command = [sys.executable, "-c", WATCHED, packed, given, place / "out", built / "golden" / "image.nii"]
    if _STRACE:
        command = [_STRACE, "-f", "-qq", "-s", "300", "-e", f"trace={_CALLS}", "-o", record, *command]
    ran = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        cwd=place,
        env={**os.environ, "TMPDIR": str(place / "temporary"), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout)
    return {**told, "folder": folder, "canary": canary, "strace": record.read_text() if _STRACE else None}


def _packed(made: Path, path: Path) -> None:
    """Packed as an expert would who writes the manifest by hand where ours cannot be made to."""
    from unittest.mock import patch

    try:
        pack_bundle(made, made.parent / "cells.zip")
    except Exception:
        # a recipe or metadata that do not parse: their digests are left out
        with (
            patch("volseg.bundle.storage.manifest._recipe_digest", lambda files: "0" * 64),
            patch("volseg.bundle.storage.manifest._versions", lambda files: {"volseg": "0.1.0"}),
        ):
            pack_bundle(made, made.parent / "cells.zip")
    shutil.move(made.parent / "cells.zip", path)


@pytest.mark.slow
def test_none_of_them_runs(seen: dict[str, Any]) -> None:
    """Each ends as it must, in one line where it is refused; no canary, nothing outside, no memory to speak of."""
    assert len(BUNDLES) + len(ZIPS) + len(CHECKED) >= 80
    assert [code for code, _, _ in seen["found"][""].values()] == [0, 0, 0, 0], seen["found"][""]
    expected = {name: exits for name, (_, exits) in BUNDLES.items()}
    expected |= {f"zip-{name}": REFUSED for name in ZIPS} | {f"zip-{name}": (0, 1, 1, 1) for name in CHECKED}
    wrong = []
    for name, exits in expected.items():
        verbs = seen["found"][name]
        if tuple(code for code, _, _ in verbs.values()) != exits:
            wrong.append((name, exits, {verb: (code, errors) for verb, (code, _, errors) in verbs.items()}))
        for verb, (code, told, errors) in verbs.items():
            lines = [line for line in errors.splitlines() if line.startswith("error: ")]
            if (
                "Traceback" in errors
                or len(lines) != (code != 0)
                or not (told + errors).replace("\n", "").isprintable()
            ):
                wrong.append((name, verb, code, errors))
    assert wrong == [], json.dumps(wrong, indent=1)
    assert not seen["canary"].exists()
    assert not Path("/tmp/volseg-evil.txt").exists()
    assert not [path for path in seen["folder"].rglob("*evil*") if "unpacked" not in path.parts]
    # torch keeps a folder of its own there
    left = [path.name for path in (seen["folder"] / "process" / "temporary").iterdir()]
    assert [name for name in left if not name.startswith("torchinductor")] == []
    assert {path.name for path in (seen["folder"] / "process").iterdir()} == {"temporary", "out"}
    assert seen["grown"] < 500_000  # KiB


@pytest.mark.slow
def test_what_is_not_the_recipes_is_told_and_not_followed(seen: dict[str, Any]) -> None:
    """Where only the configurations are hostile, predict gives its mask, and says which file it does not follow."""
    for name in ("expression", "target", "run-cmd", "disabled-expression", "huge-json"):
        code, _, errors = seen["found"][name]["predict"]
        assert code == 0
        assert "is not what configs/recipe.yaml renders; volseg follows the recipe" in errors
        assert len(list((seen["folder"] / "process" / "out" / name / "masks").glob("*.nii.gz"))) == 1


@pytest.mark.slow
@pytest.mark.skipif(_STRACE is None, reason="strace is not installed, and tells what a process asks of the kernel")
def test_the_kernel_saw_nothing_of_theirs(seen: dict[str, Any]) -> None:
    """No program was started, no process forked, no socket opened, nothing written but in the folders meant for it."""
    _, watch = seen["strace"].split("/volseg-watch-begins", 1)
    watch, _ = watch.split("/volseg-watch-ends", 1)
    place = str(seen["folder"] / "process")
    calls = [line.split(" ", 1)[1].strip() for line in watch.splitlines()[1:]]
    assert len(calls) > 1000
    odd = []
    for call in calls:
        name = call.partition("(")[0]
        paths = re.findall(r'"((?:[^"\\]|\\.)*)"', call)
        if name.startswith(("clone", "<... clone")):
            if "CLONE_THREAD" not in call and "resumed" not in call:
                odd.append(call)
        elif name.startswith("open"):
            if re.search("O_WRONLY|O_RDWR|O_CREAT|O_TMPFILE", call) and not paths[0].startswith((place, "/dev/null")):
                odd.append(call)
        elif name in ("stat", "newfstatat", "statx") or name[:1] in "<+-":
            continue
        elif name.startswith(("rename", "unlink", "chmod", "fchmodat")):
            # by a name within an open folder, or by a full path
            if any(path.startswith("/") and not path.startswith(place) for path in paths):
                odd.append(call)
        else:
            odd.append(call)
    assert odd == []


@pytest.mark.skipif(_STRACE is None, reason="strace is not installed, and tells what a process asks of the kernel")
def test_the_watch_sees_what_it_is_for(tmp_path: Path) -> None:
    """A program and a socket are in the record of a process that has them."""
    code = "import os, socket; os.system('true'); socket.socket().close()"
    assert _STRACE is not None
    command = [
        _STRACE,
        "-f",
        "-qq",
        "-e",
        f"trace={_CALLS}",
        "-o",
        str(tmp_path / "record"),
        sys.executable,
        "-c",
        code,
    ]
    subprocess.run(command, check=True)
    record = (tmp_path / "record").read_text()
    assert "socket(" in record
    assert record.count("execve(") > 1
