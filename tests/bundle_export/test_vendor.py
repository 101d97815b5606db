from __future__ import annotations

import ast
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from volseg.bundle.exporting.sources import ALLOWED, copied
from volseg.bundle.exporting.vendor import vendor_bundle
from volseg.bundle.inspect import inspect_bundle
from volseg.bundle.load import load_bundle
from volseg.data.phantom import write_cohort
from volseg.errors import BundleError, UsageError


def _run(python: Path, code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "PAGER": "cat", "HOME": str(cwd)}
    command = [str(python), *(["-c", code] if code else ["-m", "monai.bundle"]), *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_vendored_zip_gives_the_same_masks_where_there_is_no_volseg(
    trained: Callable[..., Path], bare_python: Path, tmp_path: Path
) -> None:
    """With MONAI, nibabel and ignite alone ``monai.bundle run inference`` gives the masks of ``volseg predict``."""
    gone = "\n".join(
        f"try:\n import {name}\n raise SystemExit('{name} is here')\nexcept ImportError:\n pass"
        for name in ("volseg", "scipy", "pydantic", "SimpleITK")
    )
    assert (done := _run(bare_python, gone, cwd=tmp_path)).returncode == 0, done.stderr
    bundle = load_bundle(trained())
    made = vendor_bundle(bundle, tmp_path / "heart_monai.zip")
    with zipfile.ZipFile(made.path) as archive:
        archive.extractall(tmp_path / "there")
    root = tmp_path / "there" / "heart_monai"
    images = write_cohort(tmp_path / "cohort", "heart", 1, seed=0, size=88)
    case = next(path for path in sorted(images.rglob("*frame*.nii.gz")) if "_gt" not in path.name)
    (tmp_path / "images" / "ward").mkdir(parents=True)
    there = tmp_path / "images" / "ward" / case.name
    there.write_bytes(case.read_bytes())
    arguments = ["run", "inference", "--config_file", str(root / "configs/inference.json"), "--bundle_root", str(root)]
    arguments += ["--dataset_dir", str(tmp_path / "images"), "--output_dir", str(tmp_path / "out")]
    done = _run(bare_python, "", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    mask = nib.load(tmp_path / "out" / "ward" / case.name)
    ours = bundle.predict(case)
    labels = np.asarray(mask.dataobj)
    assert labels.dtype == np.uint8
    assert len(np.unique(labels)) > 2
    assert np.array_equal(labels, ours.labels)
    assert np.allclose(mask.affine, ours.grid.affine, atol=1e-6)


def test_a_vendored_zip_imports_nothing_of_volseg(trained: Callable[..., Path], tmp_path: Path) -> None:
    """Its modules import each other under a name of their own, and else only what a laboratory with MONAI has."""
    made = vendor_bundle(load_bundle(trained()), tmp_path / "heart.zip")
    imported: set[str] = set()
    with zipfile.ZipFile(made.path) as archive:
        names = archive.namelist()
        assert {name.partition("/")[0] for name in names} == {"heart"}
        assert not [name for name in names if "recipe.yaml" in name or name.endswith(".safetensors")]
        config = archive.read("heart/configs/inference.json").decode()
        assert "volseg." not in config
        for name in names:
            if name.endswith(".py"):
                for node in ast.walk(ast.parse(archive.read(name))):
                    if isinstance(node, ast.Import):
                        imported |= {alias.name.partition(".")[0] for alias in node.names}
                    elif isinstance(node, ast.ImportFrom):
                        imported.add(str(node.module).partition(".")[0])
    assert imported - set(sys.stdlib_module_names) <= ALLOWED | {made.package}
    assert inspect_bundle(made.path).audit.verdict.value != "refuses"


def test_the_same_bundle_gives_the_same_bytes_and_another_another_name(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    """Vendoring is reproducible, and two bundles never share a package: MONAI would run one's code for the other."""
    bundle = load_bundle(trained())
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = vendor_bundle(bundle, tmp_path / "a" / "heart.zip")
    second = vendor_bundle(bundle, tmp_path / "b" / "heart.zip")
    assert first.path.read_bytes() == second.path.read_bytes()
    other = vendor_bundle(load_bundle(trained(inference__tta=None)), tmp_path / "other.zip")
    assert other.package != first.package


def test_what_cannot_be_vendored_is_told(trained: Callable[..., Path], tmp_path: Path) -> None:
    """A name that is no zip, pictures, and modules that need more than MONAI end in a line."""
    bundle = load_bundle(trained())
    with pytest.raises(UsageError, match=r"NAME\.zip"):
        vendor_bundle(bundle, tmp_path / "heart")
    with pytest.raises(BundleError, match=r"needs .*SimpleITK"):
        copied(["volseg.io.itk_header"], "heart")
