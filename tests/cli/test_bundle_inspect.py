"""``volseg bundle inspect``, ``pack`` and ``unpack`` as a person meets them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from volseg.bundle.load import load_bundle
from volseg.errors import BundleError

# the verbs by themselves, whether or not the command line's frame lists them
PROGRAM = """
from volseg.cli import app
from volseg.cli.bundle import bundle_app
if all(group.typer_instance is not bundle_app for group in app.app.registered_groups):
    app.app.add_typer(bundle_app)
app.main()
"""
RECIPE = """
labels: {values: {heart: 1}}
image: {spatial_dims: 3, spacing: [1.5, 1.5, 3]}
training: {patch: [32, 32, 32]}
bundle: {name: heart, authors: A. Nother, license: Apache-2.0, data_source: phantoms, data_license: CC0-1.0}
"""


def bundle(*words: object, code: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code + "\n" + PROGRAM, "bundle", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.fixture
def heart(tmp_path: Path) -> Path:
    folder = tmp_path / "heart"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    metadata: dict[str, Any] = {
        "version": "0.3.0",
        "task": "Hearts",
        "authors": "A. Nother",
        "eval_metrics": {"mean_dice": 0.91},
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    (folder / "configs" / "recipe.yaml").write_text(RECIPE)
    (folder / "configs" / "inference.json").write_text('{"net": {"_target_": "UNet"},\n "run": "$@net.eval()"}')
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    (folder / "models" / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    return folder


def test_what_it_is_and_which_door_runs_what(heart: Path) -> None:
    """Claims, doors and the verdict; findings of common kinds are counted, and shown on request."""
    run = bundle("inspect", heart)
    assert run.returncode == 0, run.stderr
    for told in ("0.3.0", "A. Nother", "1: heart", "CC0-1.0", "mean_dice: 0.91", "1.5 x 1.5 x 3"):
        assert told in run.stdout
    assert "door volseg" in run.stdout
    assert "runs nothing of the bundle's" in run.stdout
    assert run.stdout.splitlines()[-1] == "verdict: runs listed code (MONAI's door alone; volseg's runs none)"
    assert "2 findings of common kinds are not shown" in run.stderr
    everything = bundle("inspect", heart, "--all")
    assert "configs/inference.json:2 run" in everything.stdout
    assert "$@net.eval()" in everything.stdout


def test_json_is_pure(heart: Path) -> None:
    """Everything as data: file, line, key, text, reason."""
    found = json.loads(bundle("inspect", heart, "--json").stdout)
    assert found["verdict"] == "runs listed code"
    assert found["about"]["labels"] == {"0": "background", "1": "heart"}
    expression = next(f for f in found["findings"] if f["kind"] == "expression")
    assert (expression["file"], expression["line"], expression["key"]) == ("configs/inference.json", 2, "run")


def test_a_hostile_bundle_is_exit_1_and_one_line(heart: Path) -> None:
    """The deciding finding stands on stderr, in full."""
    (heart / "configs" / "train.json").write_text('{"x":\n {"_target_": "os.system", "command": "id"}}')
    run = bundle("inspect", heart)
    assert run.returncode == 1
    assert run.stdout.splitlines()[-1] == "verdict: refuses"
    (line,) = run.stderr.splitlines()[-1:]
    assert line.startswith("error: configs/train.json:2 x::_target_: os.system: ")
    assert "Traceback" not in run.stderr


def test_neither_torch_nor_monai_is_loaded(heart: Path) -> None:
    """The verb answers from the files alone, without the libraries that would run them."""
    code = (
        "import atexit, sys; atexit.register(lambda: sys.stderr.write("
        'f\'\\nloaded: {sorted({"torch", "monai", "ignite"} & set(sys.modules))}\\n\'));'
    )
    run = bundle("inspect", heart, "--json", code=code)
    assert run.returncode == 0
    assert run.stderr.splitlines()[-1] == "loaded: []"


def test_pack_then_unpack(heart: Path, tmp_path: Path) -> None:
    """A folder goes through a zip and back; what is hidden is told and left out; a spoilt zip is one line."""
    (heart / ".DS_Store").write_text("x")
    (heart / "models" / "model.safetensors").unlink()
    made = bundle("pack", heart, "-o", tmp_path / "heart.zip")
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == str(tmp_path / "heart.zip")
    assert "left out .DS_Store" in made.stderr
    assert "packed without an acceptance case" in made.stderr
    again = bundle("pack", heart, "-o", tmp_path / "heart.zip")
    assert again.returncode == 2
    assert again.stderr.strip() == f"error: {tmp_path / 'heart.zip'}: is there already; --overwrite replaces it"
    assert bundle("pack", heart, "-o", tmp_path / "heart.zip", "--overwrite").returncode == 0
    out = bundle("unpack", tmp_path / "heart.zip", "-o", tmp_path / "out")
    assert out.stdout.strip() == str(tmp_path / "out" / "heart")
    assert (tmp_path / "out" / "heart" / "configs" / "recipe.yaml").read_text() == RECIPE
    data = bytearray((tmp_path / "heart.zip").read_bytes())
    data[200] ^= 1
    (tmp_path / "heart.zip").write_bytes(data)
    spoilt = bundle("unpack", tmp_path / "heart.zip", "-o", tmp_path / "again")
    assert spoilt.returncode == 1
    assert len(spoilt.stderr.splitlines()) == 1
    assert not (tmp_path / "again").exists()


def test_a_run_in_place_of_its_bundle_is_told_the_bundle(heart: Path, tmp_path: Path) -> None:
    """A training's folder holds a bundle and is none."""
    run = tmp_path / "run"
    run.mkdir()
    heart.rename(run / "bundle")
    packed = bundle("pack", run, "-o", tmp_path / "heart.zip")
    assert packed.returncode == 1
    assert packed.stderr.strip().endswith(f"this is no bundle; name the bundle in it: {run / 'bundle'}")
    with pytest.raises(BundleError, match=re.escape(f"name the bundle in it: {run / 'bundle'}")):
        load_bundle(run)


def test_a_model_of_the_hubs_cache_is_read_through_its_links(heart: Path, tmp_path: Path) -> None:
    """Links from a snapshot into the cache's own blobs are files; a link anywhere else is not."""
    cache = tmp_path / "models--lab--heart_ct"
    snapshot = cache / "snapshots" / "0a1b2c"
    (cache / "blobs").mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0a1b2c")
    for number, path in enumerate(sorted(p for p in heart.rglob("*") if p.is_file())):
        blob = cache / "blobs" / f"{number:040d}"
        blob.write_bytes(path.read_bytes())
        link = snapshot / path.relative_to(heart)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(*[".."] * len(link.relative_to(cache).parents[:-1]), "blobs", blob.name))
    found = json.loads(bundle("inspect", cache, "--json").stdout)
    assert found["verdict"] == "runs listed code", found
    assert found["about"]["version"] == "0.3.0"
    (snapshot / "more").symlink_to("/etc/passwd")
    assert json.loads(bundle("inspect", cache, "--json").stdout)["verdict"] == "refuses"


def test_a_bundle_does_not_hide_behind_a_cache(heart: Path) -> None:
    """Folders as the hub's cache has them, beside a bundle's own files, are read with these and not for them."""
    (heart / "configs" / "train.json").write_text('{"run": "$exec(1)"}')
    (heart / "refs").mkdir()
    (heart / "refs" / "main").write_text("0a1b2c")
    (heart / "snapshots" / "0a1b2c").mkdir(parents=True)
    (heart / "snapshots" / "0a1b2c" / "LICENSE").write_text("x")
    found = json.loads(bundle("inspect", heart, "--json").stdout)
    assert found["verdict"] == "refuses", found


def test_nothing_there_is_one_line(tmp_path: Path) -> None:
    """A path that leads nowhere."""
    run = bundle("inspect", tmp_path / "nowhere.zip")
    assert run.returncode == 1
    assert run.stderr.splitlines() == [f"error: {tmp_path / 'nowhere.zip'}: no such file or folder"]
