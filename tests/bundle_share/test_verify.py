"""Verifying, signing and loading packed bundles: good ones hold, and every difference is one line that names it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.hostile import pickled_command, torch_archive
from tests.refusals import refusal
from volseg.bundle.check import check_bundle
from volseg.bundle.load import load_bundle
from volseg.bundle.packing import pack_bundle, unpack_bundle
from volseg.bundle.rendering.build import build_bundle
from volseg.bundle.state_dict import as_state_dict
from volseg.bundle.storage.files import open_bundle
from volseg.bundle.storage.manifest import MANIFEST, SAFETENSORS, STATE, make_manifest
from volseg.bundle.verifying.golden import golden_to_pack, judge_golden
from volseg.bundle.verifying.golden_files import GoldenFiles
from volseg.bundle.verifying.held import hold_weights
from volseg.bundle.verifying.signing import sign_bundle
from volseg.bundle.verifying.verify import verify_bundle
from volseg.bundle.weights import as_safetensors
from volseg.cli.bundle.pack import pack
from volseg.errors import BundleError, MissingExtra
from volseg.recipe import Recipe

Build = Callable[..., Path]
INFERENCE = "configs/inference.json"


def _edit(path: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / path).read_text()
        assert old in text
        (folder / path).write_text(text.replace(old, new, 1))

    return change


def _add(path: str, content: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(content)

    return change


def _remove(*paths: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for path in paths:
            (folder / path).unlink()

    return change


def _weights(of: str, write: Callable[[Any], bytes]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        weights = load_file(folder / SAFETENSORS)
        weights["head.weight"] *= -1
        (folder / of).write_bytes(write(weights))

    return change


def _both_weights(folder: Path) -> None:
    _weights(STATE, as_state_dict)(folder)
    _weights(SAFETENSORS, as_safetensors)(folder)


#: what somebody does who then writes a new manifest
CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "config": (
        _edit(INFERENCE, '"bundle_root"', '"x": "$1", "bundle_root"'),
        "configs/inference.json is not what the recipe renders",
    ),
    "overlay": (
        _add("configs/overlays/more.json", "{}"),
        "configs/overlays/more.json is nothing that the recipe renders",
    ),
    "logging": (
        _edit("configs/logging.conf", "StreamHandler", "FileHandler"),
        "configs/logging.conf is not what the recipe renders",
    ),
    "metadata": (
        _edit("configs/metadata.json", "A. Nother", "B. Nother"),
        "configs/metadata.json is not what the recipe renders",
    ),
    "card": (_edit("docs/README.md", "Research", "Clinical"), "docs/README.md is not what the recipe renders"),
    "licence": (_edit("LICENSE", "Apache", "Apathe"), "LICENSE is not what the recipe renders"),
    "script": (_add("scripts/net.py", "1"), "scripts/net.py is nothing that the recipe renders"),
    "torchscript": (_add("models/model.ts", "1"), "models/model.ts is nothing that the recipe renders"),
    "document with code": (
        _add("docs/more.py", "1"),
        "docs/more.py is no document: "
        "a script; MONAI puts the bundle's folder on Python's path, so configs can import it",
    ),
    "missing config": (_remove("configs/evaluate.json"), "configs/evaluate.json is missing, which the recipe renders"),
    "missing weights": (
        _remove(SAFETENSORS),
        "has no models/model.safetensors; train the bundle, or name one that is trained",
    ),
    "missing recipe": (
        _remove("configs/recipe.yaml"),
        "has no configs/recipe.yaml: no bundle of volseg; volseg bundle import translates a bundle of MONAI",
    ),
    "missing case": (_remove("golden/mask.nii"), "golden/image.nii is nothing that the recipe renders"),
    "no case": (
        _remove("golden/mask.nii", "golden/image.nii"),
        "has no acceptance case; `volseg bundle pack` and `volseg bundle build` make one",
    ),
    "results": (_add("docs/results.json", '{"count": 1}'), "docs/results.json holds no results of an evaluation"),
    "torch weights": (
        _weights(STATE, as_state_dict),
        "models/model.pt holds other weights than models/model.safetensors",
    ),
    "weights": (
        _weights(SAFETENSORS, as_safetensors),
        "models/model.pt holds other weights than models/model.safetensors",
    ),
    "both weights": (
        _both_weights,
        "gives another mask for its acceptance case than it came with: N of N labels differ, 0.5% may",
    ),
    "recipe": (
        _edit("configs/recipe.yaml", "resampling_order: 1", "resampling_order: 3"),
        "configs/evaluate.json is not what the recipe renders",
    ),
}


def _changed(built: Path, folder: Path, change: Callable[[Path], None]) -> Path:
    """A copy of a bundle, changed, and packed with a manifest that says so."""
    shutil.copytree(built, folder / "cells")
    change(folder / "cells")
    return pack_bundle(folder / "cells", folder / "cells.zip").path


def test_a_good_bundle_holds(built: Path, packed: Path, tmp_path: Path) -> None:
    """A bundle as it was built, packed, and unpacked again."""
    found = verify_bundle(packed)
    assert (found.golden.differing, found.identity) == (0, None)
    assert found.golden.structures
    unpacked = unpack_bundle(packed, tmp_path)
    for path in (built, unpacked):
        again = verify_bundle(path)
        assert (again.manifest, again.weights, again.golden) == (found.manifest, found.weights, found.golden)
    assert json.loads(json.dumps(found.to_dict())) == {
        "bundle": str(packed),
        "verified": True,
        "name": "cells",
        "files": len(found.manifest.files),
        "manifest": found.manifest.digest,
        "recipe": load_bundle(built).recipe.digest(),
        "weights": hashlib.sha256((built / SAFETENSORS).read_bytes()).hexdigest(),
        "versions": dict(found.manifest.versions),
        "golden": {
            "structures": list(found.golden.structures),
            "differing": 0,
            "counted": found.golden.counted,
            "share": 0.0,
            "tolerance": 0.005,
            "device": "cpu",
        },
        "identity": None,
    }


def test_an_ensemble_holds(built: Path, build: Build, recipe: Recipe, tmp_path: Path) -> None:
    """Every member is held to the network, and the acceptance case is that of all of them together."""
    other = build(recipe, change=lambda weights: weights["head.weight"].neg_())
    folder = build_bundle(recipe, tmp_path / "cells", weights=built / SAFETENSORS, members=[other / SAFETENSORS])
    found = verify_bundle(pack_bundle(folder, tmp_path / "cells.zip").path)
    assert found.golden.differing == 0
    assert check_bundle(folder) == []
    (member,) = (folder / "models").glob("member_*.safetensors")
    member.write_bytes((built / SAFETENSORS).read_bytes())
    path = pack_bundle(folder, tmp_path / "cells.zip").path
    with pytest.raises(BundleError, match="gives another mask"):
        verify_bundle(path)
    weights = load_file(built / SAFETENSORS)
    save_file({**weights, "head.weight": weights["head.weight"][:1]}, member)
    name = f"models/{member.name}"
    assert [line for line in check_bundle(folder) if line.startswith(f"{name}: ")]
    member.write_bytes(b"nothing")
    assert f"{name}: is no safetensors file" in " ".join(check_bundle(folder))


@pytest.mark.parametrize("name", CHANGES)
def test_a_new_manifest_is_not_enough(name: str, built: Path, tmp_path: Path) -> None:
    """What does not follow from the recipe and the weights is told, whatever the manifest says of it."""
    change, told = CHANGES[name]
    path = _changed(built, tmp_path, change)
    assert re.sub(r"\d+ of \d+", "N of N", refusal(verify_bundle, path)) == told


def test_weights_for_monai_are_there_and_call_nothing(built: Path, tmp_path: Path) -> None:
    """Missing, or a pickle that would run something; an older version's rendering is told by its number."""
    path = _changed(built, tmp_path / "a", _remove(STATE))
    assert refusal(verify_bundle, path) == f"{STATE} is missing"
    hostile = torch_archive(pickled_command("touch canary"))
    path = _changed(built, tmp_path / "b", lambda folder: (folder / STATE).write_bytes(hostile) and None)
    assert refusal(verify_bundle, path).startswith(f"{STATE} would call posix.system: loading it calls this, which ")
    folder = tmp_path / "a" / "cells"
    shutil.copy(built / STATE, folder / STATE)
    (folder / "LICENSE").write_text("mine")
    with open_bundle(folder) as files:
        made = make_manifest(files)
    (folder / MANIFEST).write_bytes(dataclasses.replace(made, versions={"volseg": "0.0.9"}).to_bytes())
    assert refusal(verify_bundle, folder) == (
        "LICENSE is not what the recipe renders (volseg 0.0.9 wrote it, this is 0.1.0)"
    )


def test_documents_may_come_along(built: Path, tmp_path: Path) -> None:
    """A figure or a text in docs/ is no reason to refuse."""
    path = _changed(built, tmp_path, _add("docs/notes.txt", "measured twice"))
    assert "docs/notes.txt" in verify_bundle(path).manifest.files


def test_a_zip_that_another_program_packed(built: Path, tmp_path: Path) -> None:
    """It holds the same files, and is refused: other programs may see other things in it."""
    path = shutil.make_archive(str(tmp_path / "cells"), "zip", built.parent, built.name)
    with pytest.raises(BundleError, match="of the zip is not what packing gives"):
        verify_bundle(path)


def test_without_a_manifest(built: Path, tmp_path: Path) -> None:
    """Nothing says what belongs in it."""
    shutil.copytree(built, tmp_path / "cells")
    (tmp_path / "cells" / MANIFEST).unlink()
    with pytest.raises(BundleError, match=r"has no manifest\.json"):
        verify_bundle(tmp_path / "cells")


def test_nothing_is_left_behind(built: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The private copies are gone, whatever the verdict."""
    bad = _changed(built, tmp_path, CHANGES["both weights"][0])
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    verify_bundle(packed)
    with pytest.raises(BundleError):
        verify_bundle(bad)
    assert list(temporary.iterdir()) == []


def test_loading_a_zip(built: Path, packed: Path) -> None:
    """From Python a zip is as good as a folder: the same weights, and the same mask for the same image."""
    one, other = load_bundle(built), load_bundle(packed)
    assert one.identity == other.identity
    assert one.notes == other.notes == ()
    image = built / "golden" / "image.nii"
    assert np.array_equal(one.predict(image).labels, other.predict(image).labels)


@pytest.mark.parametrize("path", ["LICENSE", INFERENCE, "models/model.pt", SAFETENSORS, "configs/recipe.yaml"])
def test_a_zip_must_be_whole_to_be_run(path: str, packed: Path, tmp_path: Path) -> None:
    """A byte that changed in any file, one that is used or not, closes it."""
    data = bytearray(packed.read_bytes())
    data[data.find(f"cells/{path}".encode()) + len(f"cells/{path}") + 3] ^= 1
    (tmp_path / "cells.zip").write_bytes(data)
    with pytest.raises(BundleError):
        load_bundle(tmp_path / "cells.zip")


def test_an_edited_config_is_noticed(built: Path, tmp_path: Path) -> None:
    """In a folder and in a zip with a manifest of its own it is told, and not followed."""
    path = _changed(built, tmp_path, _edit(INFERENCE, '"bundle_root"', '"x": "$open(1)", "bundle_root"'))
    for place in (path, tmp_path / "cells"):
        (note,) = load_bundle(place).notes
        assert f"{INFERENCE} is not what configs/recipe.yaml renders; volseg follows the recipe" in note
        assert "python -m monai.bundle run inference --config_file" in note
    with open_bundle(path) as files:
        older = make_manifest(files)
    (tmp_path / "cells" / MANIFEST).write_bytes(
        type(older)(older.name, older.files, older.recipe, older.golden, {"volseg": "0.0.9"}).to_bytes()
    )
    (note,) = load_bundle(tmp_path / "cells").notes
    assert "renders by this version (0.0.9 wrote it)" in note


@pytest.mark.parametrize("path", ["configs/recipe.yaml", SAFETENSORS])
def test_a_folder_whose_recipe_or_weights_were_exchanged(
    path: str, built: Path, build: Build, recipe: Recipe, tmp_path: Path
) -> None:
    """The two files that are used must be those in the folder's manifest, if it has one."""
    shutil.copytree(built, tmp_path / "cells")
    if path == SAFETENSORS:
        save_file({name: value + 1 for name, value in load_file(built / path).items()}, tmp_path / "cells" / path)
    else:
        _edit(path, "resampling_order: 1", "resampling_order: 3")(tmp_path / "cells")
    with pytest.raises(BundleError, match=r"is not the one in the manifest; .*volseg bundle build"):
        load_bundle(tmp_path / "cells")
    (tmp_path / "cells" / MANIFEST).unlink()
    load_bundle(tmp_path / "cells")


def test_a_recipe_that_asks_for_all_memory(built: Path, tmp_path: Path) -> None:
    """A network of terabytes is held against the weights before any of it is made."""
    path = _changed(built, tmp_path, _edit("configs/recipe.yaml", "channels: [2, 4]", "channels: [2, 65536]"))
    (tmp_path / "cells" / MANIFEST).unlink()
    for place in (path, tmp_path / "cells"):
        with pytest.raises(BundleError, match="not of this network"):
            load_bundle(place)


@pytest.mark.parametrize(
    "network",
    [
        {"kind": "monai_unet", "channels": [65536, 65536], "strides": [[2, 2]], "kernel_size": [63, 63],
         "up_kernel_size": [63, 63]},
        {"kind": "monai_basic_unet", "features": [65536] * 6},
        {"kind": "monai_dyn_unet", "kernel_size": [[63, 63]] * 3, "strides": [[1, 1], [2, 2], [2, 2]],
         "upsample_kernel_size": [[2, 2]] * 2, "filters": [65536] * 3},
        {"kind": "monai_seg_res_net", "init_filters": 32768},
    ],
    ids=lambda network: network["kind"],
)  # fmt: skip
def test_a_network_of_monais_that_asks_for_all_memory(network: dict[str, Any], recipe: Recipe) -> None:
    """It is held against the weights as those of volseg are: before it has any memory."""
    asked = Recipe.from_dict({**recipe.to_dict(), "network": network})
    with pytest.raises(BundleError, match="not of this network"):
        hold_weights(asked, {"head.weight": torch.zeros(1)}, "cells")


def test_members_of_terabytes(built: Path, tmp_path: Path) -> None:
    """Weights of any number of members are counted before they are read."""
    bundle = tmp_path / "cells"
    shutil.copytree(built, bundle)
    (bundle / MANIFEST).unlink()
    for number in (1, 2):
        with (bundle / "models" / f"member_{number}.safetensors").open("wb") as file:
            file.truncate(2**29)
    with pytest.raises(BundleError, match="more than 1024 MiB of weights"):
        load_bundle(bundle)
    (bundle / "models" / "member_2.safetensors").unlink()
    with pytest.raises(BundleError, match="is no safetensors file"):
        load_bundle(bundle)


def test_an_acceptance_case_of_gigabytes(built: Path, tmp_path: Path) -> None:
    """Its images are counted together, before one of them is read."""
    bundle = tmp_path / "cells"
    shutil.copytree(built, bundle)
    with (bundle / "golden" / "image.nii").open("ab") as file:
        file.truncate(2**24)
    with open_bundle(bundle) as files, pytest.raises(BundleError, match="has more than 16 MiB"):
        judge_golden(load_bundle(built), files, GoldenFiles(("golden/image.nii",)))


def test_packing_adds_what_is_missing(built: Path, tmp_path: Path) -> None:
    """A trained folder without an acceptance case gets one in its zip; one that does not hold is refused."""
    shutil.copytree(built, tmp_path / "cells")
    shutil.rmtree(tmp_path / "cells" / "golden")
    more = golden_to_pack(tmp_path / "cells")
    assert set(more) == {"golden/image.nii", "golden/mask.nii"}
    assert pack_bundle(tmp_path / "cells", tmp_path / "cells.zip", more).manifest.golden is not None
    assert verify_bundle(tmp_path / "cells.zip").golden.differing == 0
    assert not (tmp_path / "cells" / "golden").exists()
    assert golden_to_pack(built) == {}
    shutil.copytree(built / "golden", tmp_path / "cells" / "golden")
    (tmp_path / "cells" / MANIFEST).unlink()
    _both_weights(tmp_path / "cells")
    with pytest.raises(BundleError, match="gives another mask"):
        golden_to_pack(tmp_path / "cells")


def test_a_bundle_without_a_licence_says_so(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is granted that nobody has granted, in the notice as in the metadata, and packing warns."""
    for licence, warned in ((None, True), ("CC-BY-4.0", False)):
        recipe = load_bundle(built).recipe.changed({"bundle.license": licence})
        folder = build_bundle(recipe, tmp_path / f"bundle_{warned}", weights=built / "models" / "model.pt")
        notice = (folder / "LICENSE").read_text()
        assert notice.startswith(f"SPDX-License-Identifier: {licence or 'NOASSERTION'}\n")
        assert ("Nobody has said under which licence this bundle may be used" in notice) == warned
        assert json.loads((folder / "configs" / "metadata.json").read_text())["license"] == (licence or "NOASSERTION")
        assert pack_bundle(folder, folder.with_suffix(".zip")).licence == (licence or "NOASSERTION")
        pack(folder, folder.with_suffix(".zip"), overwrite=True)
        assert ("nobody has said under which licence it may be used" in capsys.readouterr().err) == warned


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two key pairs, ``lab`` and ``other``, by the lines that the guide tells."""
    folder = tmp_path_factory.mktemp("keys")
    pytest.importorskip("model_signing", reason="signing: pip install .[signing]")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, and makes the keys")
    for name in ("lab", "other"):
        for line in (
            f"openssl ecparam -name prime256v1 -genkey -noout -out {name}.pem",
            f"openssl ec -in {name}.pem -pubout -out {name}.pub",
        ):
            subprocess.run(line.split(), cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def signed(packed: Path, keys: Path, tmp_path: Path) -> Path:
    """A signed copy of the packed bundle."""
    path = Path(shutil.copy(packed, tmp_path / "cells.zip"))
    assert sign_bundle(path, keys / "lab.pem") == tmp_path / "cells.zip.sig"
    return path


def test_a_signature_holds_for_the_zip_and_the_folder(signed: Path, keys: Path, tmp_path: Path) -> None:
    """Signed once, the bundle is known wherever it is unpacked; who signed is told."""
    assert verify_bundle(signed, identity=keys / "lab.pub").identity == str(keys / "lab.pub")
    folder = unpack_bundle(signed, tmp_path / "out")
    assert verify_bundle(folder, identity=keys / "lab.pub", signature=f"{signed}.sig").identity


def test_without_the_library_of_signatures(signed: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said with the extra that brings it; nothing counts as signed."""
    monkeypatch.setitem(sys.modules, "model_signing", None)
    mend = """pip install ".[signing]" in the folder of volseg's source"""
    with pytest.raises(MissingExtra) as caught:
        verify_bundle(signed, identity=keys / "lab.pub")
    assert str(caught.value) == f"verifying signatures needs model-signing; {mend}"
    with pytest.raises(MissingExtra) as caught:
        sign_bundle(signed, keys / "lab.pem")
    assert str(caught.value) == f"signing bundles needs model-signing; {mend}"


def test_another_key(signed: Path, keys: Path) -> None:
    """A bundle that somebody else signed is refused."""
    with pytest.raises(BundleError, match=r"does not hold for this bundle and the key .*other\.pub"):
        verify_bundle(signed, identity=keys / "other.pub")


def test_another_bundle(signed: Path, keys: Path, built: Path, tmp_path: Path) -> None:
    """A bundle that holds together, with the signature of another one."""
    (tmp_path / "new").mkdir()
    path = _changed(built, tmp_path / "new", _add("docs/notes.txt", "more"))
    verify_bundle(path)
    with pytest.raises(BundleError, match=r"does not hold for this bundle"):
        verify_bundle(path, identity=keys / "lab.pub", signature=f"{signed}.sig")


@pytest.mark.parametrize("at", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_changed_signature(at: float, signed: Path, keys: Path) -> None:
    """A byte of the signature's own file that changed, wherever it lies."""
    file = Path(f"{signed}.sig")
    data = bytearray(file.read_bytes())
    data[int(at * len(data))] ^= 2
    file.write_bytes(data)
    with pytest.raises(BundleError, match="does not hold for this bundle") as caught:
        verify_bundle(signed, identity=keys / "lab.pub")
    assert "\n" not in str(caught.value)


def test_a_signature_that_leaves_files_out(packed: Path, keys: Path, tmp_path: Path) -> None:
    """Whoever signs only some of the files has not signed the bundle."""
    import model_signing

    folder = unpack_bundle(packed, tmp_path)
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=[folder / "models"])
    config = model_signing.signing.Config().set_hashing_config(hashing)
    config.use_elliptic_key_signer(private_key=keys / "lab.pem").sign(folder, tmp_path / "cells.sig")
    with pytest.raises(BundleError, match="leaves files of the bundle unsigned"):
        verify_bundle(folder, identity=keys / "lab.pub")


def test_other_programs_know_the_signature(signed: Path, keys: Path, tmp_path: Path) -> None:
    """The library's own verification holds over the unpacked folder."""
    import model_signing

    folder = unpack_bundle(signed, tmp_path / "out")
    config = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=keys / "lab.pub")
    config.verify(folder, Path(f"{signed}.sig"))


def test_what_cannot_sign(signed: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A public key, no key, an encrypted one without its password, and a damaged bundle: one line each."""
    with pytest.raises(BundleError, match="cannot sign with this key"):
        sign_bundle(signed, keys / "lab.pub")
    with pytest.raises(BundleError, match="cannot sign with this key"):
        sign_bundle(signed, tmp_path / "nowhere.pem")
    line = f"openssl ec -in {keys}/lab.pem -aes256 -passout pass:word -out {tmp_path}/closed.pem"
    subprocess.run(line.split(), check=True, capture_output=True)
    with pytest.raises(BundleError, match=r"cannot sign with this key .*[Pp]assword"):
        sign_bundle(signed, tmp_path / "closed.pem")
    monkeypatch.setenv("VOLSEG_KEY_PASSWORD", "word")
    sign_bundle(signed, tmp_path / "closed.pem", tmp_path / "again.sig")
    verify_bundle(signed, identity=keys / "lab.pub", signature=tmp_path / "again.sig")
    with pytest.raises(BundleError, match="no such file"):
        verify_bundle(signed, identity=keys / "lab.pub", signature=tmp_path / "nowhere.sig")
    with (tmp_path / "large.sig").open("wb") as file:
        file.truncate(2**24 + 1)
    with pytest.raises(BundleError, match=r"large\.sig: too large for a signature or a key"):
        verify_bundle(signed, identity=keys / "lab.pub", signature=tmp_path / "large.sig")
    data = bytearray(signed.read_bytes())
    data[len(data) // 2] ^= 1
    signed.write_bytes(data)
    with pytest.raises(BundleError):
        sign_bundle(signed, keys / "lab.pem", tmp_path / "bad.sig")
    assert not (tmp_path / "bad.sig").exists()


@pytest.mark.slow
def test_verbs(built: Path, keys: Path, tmp_path: Path, volseg: Callable[..., Any]) -> None:
    """Pack, sign, verify and predict as a person types them; a refusal is exit code 1 and one line."""
    zip_, key = tmp_path / "cells.zip", keys / "lab.pub"
    assert volseg("bundle", "pack", built, "-o", zip_).returncode == 0
    done = volseg("bundle", "sign", zip_, "-k", keys / "lab.pem")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{zip_}.sig\n", "")
    done = volseg("bundle", "verify", zip_, "--identity", key)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == f"signed with the key of {key}"
    done = volseg("bundle", "verify", zip_, "--identity", keys / "other.pub", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["verified"] is False
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    out = tmp_path / "out"
    done = volseg("predict", "-i", built / "golden" / "image.nii", "-o", out, "-b", zip_, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert len(list(out.glob("image*"))) == 1
