"""A small bundle as a folder, with a recipe, weights, configs of MONAI's and a card."""

from __future__ import annotations

import itertools
import json
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: looks at each bundle through every door of ours, and notes whatever a bundle could have made happen
WATCHER = """
import json, os, sys, pathlib
from volseg.bundle.inspect import inspect_bundle
from volseg.bundle.packing import check_archive, unpack_bundle
from volseg.bundle.storage.manifest import check_manifest
from volseg.errors import VolsegError

good, given, out = sys.argv[1:]
for use in (lambda: inspect_bundle(good), lambda: check_archive(good), lambda: unpack_bundle(good, out + "/good")):
    use()  # whatever is imported late is imported before the watch begins
noted, ours = [], (sys.prefix, sys.base_prefix, str(pathlib.Path(sys.modules["volseg"].__file__).parent), "<frozen")
never = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile", "subprocess.",
         "socket.", "ctypes.", "pickle.find_class", "webbrowser.", "urllib.", "http.", "ftplib.", "smtp",
         "pdb.", "builtins.breakpoint", "builtins.input", "code.", "pty.", "cpython.run", "os.symlink", "os.link",
         "os.truncate", "os.chmod", "os.chown", "os.putenv", "os.kill")

def watch(event, arguments):
    if event.startswith(never):
        noted.append(f"{event} {arguments!r}"[:200])
    elif event == "exec" and not arguments[0].co_filename.startswith(ours):
        noted.append(f"exec {arguments[0].co_filename}")
    elif event == "open" and not str(arguments[0]).startswith(out):
        mode, flags = arguments[1] or "", arguments[2]
        writes = set(mode) & set("wax+") if mode else flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and flags & os.O_TMPFILE != os.O_TMPFILE:
            noted.append(f"open {arguments[0]} {mode} {flags}")

def told(use):
    try:
        return use()
    except VolsegError as error:
        return f"error: {error}"

sys.addaudithook(watch)
for path in sorted(pathlib.Path(given).iterdir()):
    del noted[:]
    HAPPENS
    found = told(lambda: inspect_bundle(path).to_dict())
    print(json.dumps({
        "name": path.name.removesuffix(".zip"),
        "found": found,
        "check": told(lambda: str((check_archive if path.is_file() else check_manifest)(path))),
        "unpack": told(lambda: str(unpack_bundle(path, out + "/" + path.name))),
        "noted": list(noted),
    }))
"""

METADATA: dict[str, Any] = {
    "schema": "https://example.org/meta_schema_20240725.json",
    "version": "0.2.0",
    "changelog": {"0.2.0": "first to be shared"},
    "monai_version": "1.6.1",
    "pytorch_version": "2.13.0",
    "numpy_version": "2.2.0",
    "required_packages_version": {"volseg": "0.1.0"},
    "task": "Heart segmentation",
    "description": "Segments a heart.",
    "authors": "A. Nother",
    "copyright": "A. Nother",
    "data_source": "phantoms",
    "network_data_format": {
        "inputs": {"image": {"type": "image", "num_channels": 1, "spatial_shape": [32, 32, 32]}},
        "outputs": {"pred": {"type": "image", "channel_def": {"0": "background", "1": "heart"}}},
    },
}
RECIPE = """
labels: {values: {heart: 1}}
image: {spatial_dims: 3, spacing: [1.5, 1.5, 3]}
training: {patch: [32, 32, 32]}
bundle: {name: heart, authors: A. Nother, license: Apache-2.0, data_source: phantoms, data_license: CC0-1.0}
"""
CARD = """---
license: apache-2.0
library_name: monai
tags: [segmentation]
---
# A heart
"""
INFERENCE: dict[str, Any] = {
    "imports": ["$import glob"],
    "bundle_root": ".",
    "network_def": {"_target_": "volseg.networks.unet.UNet", "spatial_dims": 3},
    "datalist": "$sorted(glob.glob(@bundle_root + '/*.nii.gz'))",
    "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [32, 32, 32]},
}


def safetensors(
    tensors: dict[str, list[int]] | None = None, header: bytes | None = None, data: bytes | None = None
) -> bytes:
    """Float32 zeros in the format's own layout; ``header`` and ``data`` stand in for the right ones."""
    made: dict[str, Any] = {}
    at = 0
    for name, shape in (tensors or {"conv.weight": [2, 3]}).items():
        size = 4
        for length in shape:
            size *= length
        made[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    told = json.dumps(made).encode() if header is None else header
    return struct.pack("<Q", len(told)) + told + (bytes(at) if data is None else data)


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """Write a bundle's folder; keyword-less mappings of path to content add to it or, with none, take away."""

    def make(changes: dict[str, bytes | str | dict[str, Any] | None] | None = None, name: str = "heart") -> Path:
        folder = tmp_path / "made" / name
        files: dict[str, bytes | str | dict[str, Any] | None] = {
            "LICENSE": "Apache-2.0\n",
            "configs/metadata.json": METADATA,
            "configs/inference.json": INFERENCE,
            "configs/recipe.yaml": RECIPE,
            "docs/README.md": CARD,
            "models/model.safetensors": safetensors(),
            **(changes or {}),
        }
        for path, content in files.items():
            if content is None:
                continue
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, dict):
                content = json.dumps(content, indent=2)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        return folder

    return make


_NUMBERS = itertools.count()


def zipped(files: dict[str, bytes], path: Path) -> Path:
    """The files in a zip, as any program writes one."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    """A bundle's files as a zip names them."""
    return {f"{folder.name}/{p.relative_to(folder)}": p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def as_files(make_bundle: Callable[..., Path]) -> Callable[..., dict[str, bytes]]:
    """A bundle as the names and contents that a zip holds; changes as for ``make_bundle``."""

    def make(changes: dict[str, Any] | None = None) -> dict[str, bytes]:
        folder = make_bundle(changes, name=f"b{next(_NUMBERS)}")
        return {"heart/" + name.partition("/")[2]: content for name, content in files_of(folder).items()}

    return make


@pytest.fixture
def watched(make_bundle: Callable[..., Path], tmp_path: Path) -> Callable[[Path], dict[str, dict[str, Any]]]:
    """Look at every bundle of a folder through all doors, in a process that notes what happens to it."""

    def watch(given: Path, *, happens: str = "pass") -> dict[str, dict[str, Any]]:
        from volseg.bundle.packing import pack_bundle

        (tmp_path / "good").mkdir()
        good = pack_bundle(make_bundle(), tmp_path / "good" / "heart.zip").path
        out = tmp_path / "out"
        run = subprocess.run(
            [sys.executable, "-c", WATCHER.replace("HAPPENS", happens), str(good), str(given), str(out)],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert run.returncode == 0, run.stderr[-3000:]
        left = {p.name for p in out.iterdir()} if out.exists() else set()
        assert left == {"good"}, left
        return {found["name"]: found for found in map(json.loads, run.stdout.splitlines())}

    return watch
