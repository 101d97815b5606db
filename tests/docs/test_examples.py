"""The documentation's examples run: Python on every page, and the shell of the tutorial and the README in order."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from volseg.bundle.packing import pack_bundle
from volseg.data.phantom import write_cohort
from volseg.geometry import Grid
from volseg.io import read_labels, read_volume, require_pair, write_volume
from volseg.networks import UNet

ROOT = Path(__file__).parents[2]
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
# the tutorial's, whose commands come before its Python, runs below; the guide's to predictions in the acceptance tests
ELSEWHERE = {"start.md", "prediction.md"}
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if "_build" not in page.parts and page.name not in ELSEWHERE and PYTHON.search(page.read_text())
]
# what a training is cut down to, whatever was planned and however busy the machine is
BRIEF = (
    "--set training.epochs=2 --set training.steps_per_epoch=3 --set training.time_limit=none"
    " --set training.validate_every=1 --set optimiser.warmup=0"
)
# every call is this interpreter's, whatever else is installed
SHELL = 'set -eu\nvolseg() { "$PYTHON" -m volseg.cli "$@"; }\npython() { "$PYTHON" "$@"; }\n'


@pytest.fixture
def place(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages' examples speak of, under their names."""
    for bundle in ("hippocampus_unet3d", "bundle"):
        shutil.copytree(tiny_bundle, tmp_path / bundle)
    for name in ("heart.zip", "spleen_ct.zip"):
        pack_bundle(tiny_bundle, tmp_path / name)
    grid = Grid.from_spacing((12, 10, 8), (1.0, 1.0, 2.0))
    image = np.random.default_rng(0).normal(100, 20, grid.shape).astype(np.float32)
    write_volume(tmp_path / "scan.nii.gz", image, grid)
    to_be_mended(tmp_path, image)
    write_cohort(tmp_path / "data", "heart", 2, seed=1, size=88)
    for name in ("scans", "truths"):
        shutil.copytree(tmp_path / "data", tmp_path / name)
    for truth in (tmp_path / "data").rglob("*_gt.nii.gz"):
        for masks in ("out", "masks"):
            mask = tmp_path / masks / truth.parent.name / truth.name.replace("_gt", "")
            mask.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(truth, mask)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def to_be_mended(folder: Path, image: np.ndarray) -> None:
    """What the page on own data mends: a case without orientation, and one whose label map is on another grid."""
    labels = (image > 100).astype(np.uint8)
    for name, array in (("carl", image), ("carl_seg", labels)):
        nib.save(nib.Nifti1Image(array, None), folder / f"{name}.nii.gz")
    write_volume(folder / "dora.nii.gz", image, Grid.from_spacing(image.shape, (1.0, 1.0, 2.0)))
    coarse = np.ascontiguousarray(labels[::2, ::2, ::2])
    write_volume(folder / "dora_seg.nii.gz", coarse, Grid.from_spacing(coarse.shape, (2.0, 2.0, 4.0)))


def signed(folder: Path) -> None:
    """The signature that the page on sharing verifies, by the commands that it tells."""
    pytest.importorskip("model_signing", reason="signing: pip install .[signing]")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed, and makes the keys")
    from volseg.bundle.verifying.signing import sign_bundle

    for line in re.findall(r"^\$ (openssl .*)$", (ROOT / "docs/guides/sharing.md").read_text(), re.MULTILINE):
        subprocess.run(line.split(), cwd=folder, check=True, capture_output=True)
    sign_bundle(folder / "heart.zip", folder / "lab.pem")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_python_runs(page: Path, place: Path) -> None:
    """Each page's blocks, in order, in a folder with the files that they name."""
    if page.name == "sharing.md":
        signed(place)
    torch.manual_seed(0)
    names = {
        "__name__": "example",
        "network": UNet(3, 1, 2, channels=(2, 4)).eval(),
        "image": torch.rand(1, 1, 16, 18, 20),
    }
    for block in PYTHON.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), names)
    if page.name == "own_data.md":
        for name in ("carl", "dora"):
            case = place / (f"mended_{name}.nii.gz" if name == "carl" else f"{name}.nii.gz")
            require_pair(read_volume(case), read_labels(place / f"mended_{name}_seg.nii.gz"))


@pytest.mark.slow
@pytest.mark.parametrize("script", ["deformation", "doors", "memory", "tiles"])
def test_a_script_draws_the_committed_figures(script: str, tmp_path: Path) -> None:
    """From the package as it is now, under the names that pages show, and as large."""
    figures = ROOT / "docs" / "figures"
    subprocess.run([sys.executable, figures / f"{script}.py", tmp_path], check=True, timeout=600)
    drawn = sorted(tmp_path.iterdir())
    assert drawn
    for picture in drawn:
        with Image.open(picture) as new, Image.open(figures / picture.name) as kept:
            assert new.size == kept.size


def shell(blocks: list[str], shorter: dict[str, str], folder: Path) -> None:
    """Run blocks of a page as one script, with smaller numbers in place of some."""
    script = "\n".join(blocks)
    for long, short in shorter.items():
        assert long in script, f"the page no longer says {long}"
        script = script.replace(long, short)
    env = os.environ | {"PYTHON": sys.executable}
    ran = subprocess.run(["bash", "-c", SHELL + script], cwd=folder, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, f"{ran.stdout[-1000:]}\n{ran.stderr[-3000:]}"


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_tutorial_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an empty folder to a bundle that another laboratory would use; MONAI's masks are ours."""
    page = (ROOT / "docs/start.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    shell(
        blocks,
        {"-n 8": "-n 5 --size 88", "-n 3": "-n 1 --size 88", "hearts -o run": f"hearts -o run {BRIEF}"},
        tmp_path,
    )
    monkeypatch.chdir(tmp_path)
    for block in PYTHON.findall(page):
        exec(compile(block, "docs/start.md", "exec"), {})
    masks = sorted((tmp_path / "masks").rglob("*.nii.gz"))
    assert len(masks) == 2
    for mask in masks:
        for other in ("theirs", "through_monai"):
            assert next((tmp_path / other).rglob(mask.name)).read_bytes() == mask.read_bytes()
    assert (tmp_path / "report/index.html").exists()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_readme_runs(tmp_path: Path) -> None:
    """The three things people come for, typed as they stand there."""
    part = (ROOT / "README.md").read_text().split("## Three things people come for")[1].split("\n## ")[0]
    blocks = [
        re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in re.findall(r"(?:^    .*\n)+", part, re.MULTILINE)
    ]
    shell(
        blocks,
        {"-n 12": "-n 5 --size 88", "-n 4": "-n 1 --size 88", "hearts -o run": f"hearts -o run {BRIEF}"},
        tmp_path,
    )
    assert (tmp_path / "again/bundle/manifest.json").exists()
    assert len(list((tmp_path / "theirs").rglob("*.nii.gz"))) == 2
