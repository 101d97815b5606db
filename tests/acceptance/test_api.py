"""The Python API: what the guide shows runs as it stands, gives the command line's masks, and is typed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import volseg
from volseg.geometry import Grid
from volseg.io import read_labels, write_labels, write_volume

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
GRID = Grid.from_spacing((12, 10, 8), (1.0, 1.0, 2.0))


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    write_volume(tmp_path / "scan.nii.gz", np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32), GRID)
    return tmp_path / "scan.nii.gz"


def test_the_guide_runs(tiny_bundle: Path, scan: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Its code from import to mask, within ten lines, and the rest after it."""
    blocks = re.findall(r"```python\n(.*?)```", (GUIDES / "prediction.md").read_text(), re.DOTALL)
    assert len(blocks[0].splitlines()) <= 10
    monkeypatch.chdir(scan.parent)
    shutil.copytree(tiny_bundle, "bundle")
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/guides/prediction.md", "exec"), names)
    assert "(12, 10, 8) (1.0, 1.0, 2.0) {'bright': " in capsys.readouterr().out
    assert read_labels("mask.nii.gz").grid == GRID
    assert names["found"].probabilities.shape == (3, 12, 10, 8)


def test_it_is_the_path_of_the_command_line(tiny_bundle: Path, scan: Path, predict: Any) -> None:
    """A path, a volume, an array: the same mask as from ``volseg predict``, the same volumes, the same file."""
    ran = predict(scan, scan.parent / "out")
    mask = read_labels(scan.parent / "out" / "scan.nii.gz").array
    bundle, volume = volseg.load_bundle(tiny_bundle), volseg.read_volume(scan)
    for found in (bundle.predict(scan), bundle.predict(volume), bundle.predict(volume.array, volume.grid)):
        assert np.array_equal(found.labels, mask)
        assert found.volumes == ran.summary["cases"][0]["volumes"]
        assert found.warnings == (*ran.summary["cases"][0]["notes"], *ran.summary["cases"][0]["hints"])
    saved = bundle.predict(scan).save(scan.parent / "new" / "folder" / "mask.nii.gz")
    assert saved.read_bytes() == (scan.parent / "out" / "scan.nii.gz").read_bytes()


def test_bad_images_are_refused(tiny_bundle: Path, scan: Path) -> None:
    """As by the command line: an array without a grid, NaN, another number of channels or of dimensions."""
    bundle = volseg.load_bundle(tiny_bundle)
    array = np.array(volseg.read_volume(scan).array)
    with pytest.raises(volseg.VolsegError, match="an array does not say where its voxels are; give its grid too"):
        bundle.predict(array)
    with pytest.raises(volseg.VolsegError, match="2 images were given; the bundle takes 1"):
        bundle.predict([scan, scan])
    with pytest.raises(volseg.VolsegError, match="is 2-D, and the bundle takes 3-D images"):
        bundle.predict(array[0], Grid.from_spacing((10, 8), (1, 1)))
    with pytest.raises(volseg.VolsegError, match="an image holds real numbers, not complex64"):
        bundle.predict(array.astype(np.complex64), GRID)
    array[3, 3, 3] = np.nan
    with pytest.raises(volseg.VolsegError, match="holds 1 NaN voxel of 960"):
        bundle.predict(array, GRID)
    found = bundle.predict(array, GRID, fill_nan=0.0)
    assert found.notes == ("1 NaN voxel replaced by 0",)
    assert np.isnan(array[3, 3, 3])


def test_masks_are_measured(tmp_path: Path) -> None:
    """``volseg.evaluate`` is the function behind the verb."""
    for name, low in (("made", 2), ("true", 1)):
        (tmp_path / name).mkdir()
        mask = np.zeros(GRID.shape, np.uint8)
        mask[low:6, 2:6, 2:6] = 1
        write_labels(tmp_path / name / "case.nii.gz", mask, GRID)
    found = volseg.evaluate(tmp_path / "made", tmp_path / "true")
    assert found.mean["dice"] == pytest.approx(2 * 4 / (4 + 5))


def test_the_stub_names_what_the_package_has() -> None:
    """Every public name is in the stub, and nothing else; a wrong name is told."""
    stub = Path(volseg.__file__).with_suffix(".pyi").read_text()
    named = set(re.findall(r" as (\w+)$", stub, re.MULTILINE)) | set(re.findall(r"^(\w+):", stub, re.MULTILINE))
    assert named == set(volseg.__all__)
    assert all(hasattr(volseg, name) for name in volseg.__all__)
    assert set(volseg.__all__) <= set(dir(volseg))
    with pytest.raises(AttributeError, match="has no attribute 'lode_bundle'"):
        volseg.lode_bundle  # noqa: B018


@pytest.mark.slow
def test_it_is_typed(tmp_path: Path) -> None:
    """A type checker knows what comes out, and refuses what does not go in."""
    pytest.importorskip("mypy")
    program = tmp_path / "program.py"
    program.write_text(
        "import volseg\n"
        "found = volseg.load_bundle('b').predict('scan.nii.gz')\n"
        "reveal_type(found)\n"
        "reveal_type(volseg.evaluate('a', 'b').mean)\n"
        "volseg.load_bundle('b').predict(3)\n"
    )
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), str(program)]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path).stdout
    assert 'Revealed type is "volseg.prediction.segmentation.Segmentation"' in said
    assert 'Revealed type is "typing.Mapping[str, float]"' in said or "Mapping[str" in said
    assert ':5: error: Argument 1 to "predict" of "Bundle" has incompatible type "int"' in said
