"""Configs that run code in other programs: here each is one clear line, and nothing happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import ALIAS_BOMB
from volseg.bundle.inspect import inspect_bundle

REFUSES, RUNS = "refuses", "runs listed code"
CANARY = "CANARY"  # replaced by a path that must not come to be
TOUCH = "touch CANARY"


def _config(**keys: Any) -> dict[str, Any]:
    return {"configs/inference.json": {"bundle_root": ".", **keys}}


def _component(target: Any, **arguments: Any) -> dict[str, Any]:
    return _config(network_def={"_target_": target, **arguments})


def _expression(text: str) -> dict[str, Any]:
    return _config(x=text)


def _logging(section: str) -> dict[str, Any]:
    head = "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=f\n[logger_root]\nhandlers=h\n"
    return {"configs/logging.conf": head + section}


#: what is in the bundle, the verdict, and what the deciding finding says
BUNDLES: dict[str, tuple[dict[str, Any], str, str]] = {
    "expression": (_expression(f"$__import__('os').system('{TOUCH}')"), REFUSES, "__import__"),
    "imports": (_config(imports=["$import subprocess"]), REFUSES, "$import subprocess"),
    "target": (_component("os.system", command=TOUCH), REFUSES, "os.system"),
    "run-cmd": (_component("monai.utils.run_cmd", cmd_list=["touch", CANARY]), REFUSES, "run_cmd"),
    "run-cmd-by-short-name": (_component("run_cmd", cmd_list=["touch", CANARY]), REFUSES, "run_cmd"),
    "eval-by-short-name": (_component("eval"), REFUSES, "eval"),
    "builtins": (_component("builtins.exec"), REFUSES, "builtins"),
    "disabled": (
        _config(x={"_target_": "UNet", "_disabled_": f"$__import__('os').system('{TOUCH}')"}),
        REFUSES,
        "x::_disabled_",
    ),
    "disabled-but-mild": (_config(x={"_target_": "UNet", "_disabled_": "$not @a"}), RUNS, "left out"),
    "requires": (_config(x={"_target_": "UNet", "_requires_": [f"$exec('{TOUCH}')"]}), REFUSES, "_requires_::0"),
    "description": (_config(x={"_target_": "UNet", "_desc_": "$eval('1')"}), REFUSES, "_desc_"),
    "debugger": (_config(x={"_target_": "UNet", "_mode_": "debug"}), REFUSES, "debugger"),
    "debugger-by-argument": (_config(x={"_target_": "UNet", "_debug_": True}), REFUSES, "debugger"),
    "target-by-reference": (_config(a="os.system", x={"_target_": "@a", "command": TOUCH}), REFUSES, "os.system"),
    "target-by-nested-reference": (
        _config(a={"b": ["os.system"]}, x={"_target_": "@a#b#0", "command": TOUCH}),
        REFUSES,
        "os.system",
    ),
    "target-by-macro": (_config(a="os.popen", x={"_target_": "%a", "cmd": TOUCH}), REFUSES, "os.popen"),
    "target-nobody-can-tell": (_config(x={"_target_": "@nowhere"}), REFUSES, "cannot be told"),
    "target-of-a-list": (_component(["os", "system"]), REFUSES, "something else than a name"),
    "target-by-expression": (_component("$@a.b"), RUNS, "calls what an expression gives"),
    "target-of-a-component": (_config(a={"_target_": "UNet"}, x={"_target_": "@a"}), RUNS, "another component gives"),
    "target-with-a-space": (_component("os system"), REFUSES, "is no Python name"),
    "library-by-short-name": (_component("socket"), REFUSES, "is Python's socket"),
    "function-by-short-name": (_component("load_decathlon_datalist"), RUNS, "a function that is found by its short"),
    "fetching": (_component("monai.apps.download_url", url="https://x"), RUNS, "fetches files"),
    "macro-outside": (_config(x="%../../../evil.json::x"), REFUSES, "outside of the bundle"),
    "macro-absolute": (_config(x="%/etc/evil.yaml::x"), REFUSES, "outside of the bundle"),
    "key-with-steps": (_config(**{"net::_target_": "os.system"}), REFUSES, "net::_target_"),
    "key-that-adds": (_config(**{"+net#_target_": "os.system"}), REFUSES, "net::_target_"),
    "metadata": ({"configs/metadata.json": {"description": "$eval('1')"}}, REFUSES, "metadata.json:2"),
    "yaml": ({"configs/train.yaml": "a: 1\nx:\n  _target_: os.system\n"}, REFUSES, "train.yaml:3"),
    "overlay": ({"configs/overlays/more.YML": "x: $exec('1')\n"}, REFUSES, "more.YML:1"),
    "somewhere-else": ({"docs/extra.json": {"x": "$exec('1')"}}, REFUSES, "docs/extra.json"),
    "look-alike-target": (_component("\u043es.system"), REFUSES, "letters that pass for others"),
    "look-alike-expression": (_expression("$\uff4f\uff53.system('x')"), REFUSES, "os.system"),
    "alias": (_config(imports=["$import os as monai_os"]), REFUSES, "another name"),
    "from-import": (_config(imports=["$from os import system as s"]), REFUSES, "os.system"),
    "importlib": (_config(imports=["$from importlib import import_module"]), REFUSES, "importlib"),
    "subclasses": (_expression("$().__class__.__base__.__subclasses__()"), REFUSES, "insides"),
    "through-torch": (_expression(f"$torch.os.system('{TOUCH}')"), REFUSES, "os.system"),
    "through-monai": (_component("monai.utils.misc.os.system", command=TOUCH), REFUSES, "os.system"),
    "getattr": (_expression("$getattr(monai, 'uti' + 'ls')"), REFUSES, "getattr"),
    "write": (_expression("$open('CANARY', 'w').write('x')"), REFUSES, "writing"),
    "write-by-path": (_expression("$pathlib.Path('CANARY').write_text('x')"), REFUSES, "$pathlib"),
    "lambda": (_expression("$(lambda f: f('1'))(eval)"), REFUSES, "eval"),
    "hub": (_component("torch.hub.load", repo_or_dir="a/b", model="c"), REFUSES, "torch.hub"),
    "another-bundle": (_component("monai.bundle.run", config_file="x"), REFUSES, "monai.bundle.run"),
    "library": (_component("torch.ops.load_library", path="x.so"), REFUSES, "load_library"),
    "timer": (_component("timeit.timeit", stmt="1"), REFUSES, "timeit"),
    "own-script": (_component("scripts.net.Net"), RUNS, "scripts"),
    "unpickling": (_component("torch.load", f="model.pt", weights_only=False), RUNS, "torch.load"),
    "no-python": (_expression("$this is no python"), REFUSES, "no Python"),
    "too-long": (_expression("$1" + "+1" * 5000), REFUSES, "too long"),
    "too-deep": (_expression("$" + "(" * 1500 + ")" * 1500), REFUSES, "no Python"),
    "huge-json": ({"configs/train.json": b'{"a": "' + b"x" * 5_000_000 + b'"}'}, REFUSES, "5000009 bytes"),
    "many-pieces": ({"configs/train.json": b"[" + b"0," * 900_000 + b"0]"}, REFUSES, "pieces"),
    "deep-json": ({"configs/train.json": b"[" * 50_000 + b"]" * 50_000}, REFUSES, "nested"),
    "long-number": ({"configs/train.json": b'{"a": ' + b"1" * 9000 + b"}"}, REFUSES, "out of range"),
    "doubled-key": ({"configs/train.json": b'{"x": 1, "x": "$exec(1)"}'}, REFUSES, "stands twice"),
    "half-a-json": ({"configs/train.json": b'{"x": 1'}, REFUSES, "line 1"),
    "latin-1": ({"configs/train.json": b'{"x": "\xff"}'}, REFUSES, "not UTF-8"),
    "deep-yaml": ({"configs/train.yaml": "[" * 500 + "]" * 500}, REFUSES, "nested"),
    "large-yaml": ({"configs/train.yaml": "a: " + "x" * 200_000}, REFUSES, "128 KiB of YAML"),
    "latin-1-yaml": ({"configs/train.yaml": b"a: \xff"}, REFUSES, "byte 3 is not UTF-8"),
    "half-a-yaml": ({"configs/train.yaml": "a: 1\nb: [1\n"}, REFUSES, "line 3: not valid YAML"),
    "no-yaml": ({"configs/train.yaml": "a: \0"}, REFUSES, "not valid YAML"),
    "doubled-yaml": ({"configs/train.yaml": "x: 1\nx: $exec(1)\n"}, REFUSES, "line 2: the key 'x' stands twice"),
    "key-of-a-list": ({"configs/train.yaml": "? [x]\n: 1\n"}, REFUSES, "is no text"),
    "alias-bomb": (
        {"configs/train.yaml": ALIAS_BOMB},
        REFUSES,
        "aliases",
    ),
    "endless-alias": ({"configs/train.yaml": "a: &a [*a]\n"}, REFUSES, "aliases"),
    "hidden-by-alias": ({"configs/train.yaml": "a: &a os.system\nx: {_target_: *a}\n"}, REFUSES, "os.system"),
    "yaml-tag": ({"configs/train.yaml": "x: !!python/object/apply:os.system [touch CANARY]\n"}, REFUSES, "tag"),
    "hidden-by-merge": ({"configs/train.yaml": "x: {<<: {_target_: os.system}}\n"}, REFUSES, "os.system"),
    "logging-class": (_logging("[handler_h]\nclass=eval('1')\nargs=()\n"), REFUSES, "handler_h::class"),
    "logging-file": (_logging("[handler_h]\nclass=FileHandler\nargs=('CANARY', 'w')\n"), REFUSES, "for writing"),
    "logging-arguments": (_logging("[handler_h]\nclass=StreamHandler\nargs=(f(1),)\n"), REFUSES, "than plain"),
    "logging-socket": (_logging("[handler_h]\nclass=handlers.SocketHandler\nargs=('h', 1)\n"), REFUSES, "no handler"),
    "logging-default": (_logging("[DEFAULT]\nclass=eval('1')\n[handler_h]\nargs=()\n"), REFUSES, "handler_h::class"),
    "logging-defaults": (_logging("[formatter_f]\ndefaults=eval('1')\n"), REFUSES, "formatter_f::defaults"),
    "logging-as-a-script": ({"configs/logging.conf": "#! x\n[handler_h]\nclass=eval('1')\n"}, REFUSES, "handler_h"),
    "logging-deep": (_logging("[handler_h]\nclass=NullHandler\nargs=a" + ".b" * 9000 + "\n"), REFUSES, "evaluated"),
    "reader-by-name": (_component("LoadImage", reader="os.system", command=TOUCH), REFUSES, "reader"),
    "readers-by-name": (_component("LoadImaged", keys="a", reader=["ITKReader", "os.system"]), REFUSES, "reader::1"),
    "reader-of-theirs": (_component("LoadImage", reader="scripts.images.Reader"), RUNS, "called by its name"),
    "name-for-another-file": (_config(kind="os.system"), REFUSES, "a reference makes a target"),
    "reference-in-a-text": (
        _config(f=1, x=f"""$'@f{{__import__("os").system("{TOUCH}")}}'"""),
        REFUSES,
        "__import__",
    ),
    "code-in-a-key": (
        _config(x={"q": {"s": 1}, f"q and 0 or torch.os.system('{TOUCH}') and @x::q": {"s": 2, "r": "$@::s"}}),
        REFUSES,
        "by the keys",
    ),
    "macro-by-key": (_config(**{"/etc/evil.json": {"a": "%::b", "b": 1}}), REFUSES, "by the keys"),
    "json-by-its-end-alone": (
        {"configs/.json": {"run": "$exec('1')"}, "configs/inference.json": {"run": "%configs/.json::run"}},
        REFUSES,
        "configs/.json",
    ),
    "unsafe-in-other-words": (_config(x={"weights_only": 0}), RUNS, "own code run"),
    "unsafe-by-reference": (_config(a=True, x={"allow_pickle": "@a"}), RUNS, "own code run"),
    "large-files": ({"large_files.yml": "large_files:\n- {path: models/x.pt, url: 'https://x'}\n"}, RUNS, "https://x"),
    "expression-by-short-name": (_component("ConfigExpression", config="1"), REFUSES, "starts programs"),
    "remote-code": ({"config.json": {"auto_map": {"AutoModel": "evil.Model"}}}, RUNS, "trust_remote_code"),
}  # fmt: skip


@pytest.fixture
def looked_at(
    make_bundle: Callable[..., Path], watched: Callable[[Path], dict[str, dict[str, Any]]], tmp_path: Path
) -> dict[str, dict[str, Any]]:
    for name, (changes, _, _) in BUNDLES.items():
        spoken = {
            path: content.replace(b"CANARY", str(tmp_path / "canary").encode())
            if isinstance(content, bytes)
            else content.replace("CANARY", str(tmp_path / "canary"))
            if isinstance(content, str)
            else json.loads(json.dumps(content).replace("CANARY", str(tmp_path / "canary")))
            for path, content in changes.items()
        }
        make_bundle(spoken, name=name).rename(_given(tmp_path) / name)
    return watched(_given(tmp_path))


def _given(tmp_path: Path) -> Path:
    (tmp_path / "given").mkdir(exist_ok=True)
    return tmp_path / "given"


def test_each_is_judged_and_none_runs(looked_at: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    """Every bundle gets its verdict and its one line; no process, no socket, no file, no code of the bundle's."""
    assert set(looked_at) == set(BUNDLES)
    wrong = []
    for name, (_, verdict, words) in BUNDLES.items():
        found = looked_at[name]["found"]
        assert isinstance(found, dict), (name, found)
        deciding = [f for f in found["findings"] if f["weight"] == ("refuse" if verdict == REFUSES else "runs")]
        lines = [f"{f['file']}:{f['line']} {f['key']} {f['text']}: {f['why']}" for f in deciding]
        assert all("\n" not in line for line in lines)
        assert looked_at[name]["noted"] == [], name
        # nothing runs: so it is safe to look at it in this process too, and the same is found
        assert json.loads(json.dumps(inspect_bundle(_given(tmp_path) / name).to_dict())) == found
        if found["verdict"] != verdict or not any(words in line for line in lines):
            wrong.append((name, words, found["verdict"], lines))
    assert wrong == []
    assert not (tmp_path / "canary").exists()


def test_the_watch_sees_what_it_is_for(
    make_bundle: Callable[..., Path], tmp_path: Path, watched: Callable[..., dict[str, Any]]
) -> None:
    """A process, a socket, a pickle, a file and code that do happen are noted."""
    make_bundle(name="any").rename(_given(tmp_path) / "any")
    happens = (
        "import os, pickle, socket; os.system('true'); socket.socket().close(); pickle.loads(pickle.dumps(ValueError));"
        f"open({str(_given(tmp_path) / 'any' / 'x')!r}, 'w').close(); exec(compile('1', 'any/x.py', 'exec'))"
    )
    noted = " ".join(watched(_given(tmp_path), happens=happens)["any"]["noted"])
    assert all(event in noted for event in ("os.system", "socket.", "pickle.find_class", "open /", "exec any/x.py"))
