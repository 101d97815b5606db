"""Fingerprints: every number is that of the arrays, every file is read once, nothing contradictory passes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volseg.data.cohort import find_cases
from volseg.data.fingerprint import fingerprint
from volseg.data.fingerprint_case import fingerprint_case
from volseg.data.fingerprint_intensity import LEVELS, Intensities, pooled
from volseg.data.fingerprint_modality import named_modality
from volseg.data.fingerprint_names import declared_by
from volseg.data.fingerprint_structure import objects_of, structures_of
from volseg.errors import CohortError
from volseg.geometry import Grid
from volseg.io import write_labels, write_volume

SHAPE = (8, 9, 6)
GRID = Grid(SHAPE, np.diag([-1.0, -1.0, 4.0, 1.0]))  # LPS, as scanners write


def write(folder: Path, name: str, image: Any, mask: Any, grid: Grid = GRID) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_volume(folder / f"{name}.nii.gz", np.asarray(image), grid)
    write_labels(folder / f"{name}_gt.nii.gz", np.asarray(mask), grid)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """Two cases: structure 2 is missing in the second."""
    rng = np.random.default_rng(0)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:5, 3:6, 1:4] = 1
    mask[5, 3:6, 1:4] = 2
    mask[0, 0, 0] = 1
    write(tmp_path, "a", rng.uniform(0, 500, SHAPE).astype(np.float32), mask)
    write(tmp_path, "b", rng.uniform(0, 900, SHAPE).astype(np.float32), np.minimum(mask, 1) * (mask != 2))
    return tmp_path


def test_a_cohort_is_measured(two: Path) -> None:
    """Shapes, spacings, class sizes, components and missing classes are those of the arrays, axes turned to RAS."""
    found = fingerprint(find_cases(two), processes=0)
    assert [case.case for case in found.labelled] == ["a", "b"]
    assert found.good[0].shape == SHAPE
    assert found.good[0].spacing == (1, 1, 4)
    assert found.good[0].axcodes == "LPS"
    one, other = found.classes
    assert (one.value, one.cases, one.components, one.smallest) == (1, 2, (2.0, 2), 1)
    assert (other.value, other.cases, other.missing) == (2, 1, ("b",))
    assert one.volumes[0] == pytest.approx(28 * 4 / 1000)
    structure = found.good[0].structure(2)
    assert structure is not None
    # axis 0 is turned: voxel 5 of 8 along L is voxel 2 along R
    assert structure.centre == pytest.approx((2.5, 4.5, 10.0))
    assert structure.extent == (1, 3, 12)
    assert structure.neighbours == pytest.approx({0: 21 / 30, 1: 9 / 30})


def test_processes_change_nothing(two: Path) -> None:
    """Read apart or here, it is the same fingerprint."""
    here = fingerprint(find_cases(two), processes=0)
    assert fingerprint(find_cases(two), processes=2) == here


def test_each_file_is_read_once(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two images and two label maps are four readings."""
    from volseg.data import fingerprint_case as module

    read: list[Path] = []
    for name in ("read_volume", "read_labels"):
        whole = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda path, *a, _whole=whole, **k: (read.append(path), _whole(path, *a, **k))[1]
        )
    fingerprint(find_cases(two), processes=0)
    assert sorted(path.name for path in read) == ["a.nii.gz", "a_gt.nii.gz", "b.nii.gz", "b_gt.nii.gz"]


def test_a_damaged_case_is_named_and_costs_only_itself(two: Path) -> None:
    """The error of one case stands beside the fingerprint of the other."""
    (two / "a.nii.gz").write_bytes(b"nothing")
    found = fingerprint(find_cases(two), processes=0)
    assert [case.case for case in found.good] == ["b"]
    assert "a.nii.gz" in str(found.failed[0].error)


def test_pooling_counts_each_case_alike() -> None:
    """A large case and a small one weigh the same, and pooled percentiles lie where both halves say."""
    rng = np.random.default_rng(1)
    low, high = rng.normal(0, 1, 1000), rng.normal(10, 1, 100_000)
    both = pooled([Intensities.of(low), Intensities.of(high)])  # type: ignore[list-item]
    assert both is not None
    assert both.mean == pytest.approx(5, abs=0.1)
    assert both.std == pytest.approx((1 + 25) ** 0.5, abs=0.1)
    assert both.percentiles[LEVELS.index(25)] == pytest.approx(0, abs=0.15)
    assert both.percentiles[LEVELS.index(75)] == pytest.approx(10, abs=0.15)


def test_pooling_one_case_gives_it_back() -> None:
    """The percentiles of a single case survive pooling, repeated values included."""
    alone = Intensities.of(np.array([0, 0, 0, 0, 5, 5, 9]))
    assert alone is not None
    again = pooled([alone])
    assert again is not None
    assert again.percentiles[-1] == 9
    assert again.percentiles[0] == 0
    assert (again.mean, again.std) == pytest.approx((alone.mean, alone.std))


@pytest.mark.parametrize("ndim", [2, 3])
def test_holes_and_parts(ndim: int) -> None:
    """A shell encloses a hole; two blocks that meet at a corner are one part."""
    mask = np.zeros((9,) * ndim, np.uint8)
    mask[(slice(1, 6),) * ndim] = 1
    mask[(slice(2, 5),) * ndim] = 0
    mask[(slice(6, 8),) * ndim] = 1
    (found,) = structures_of(mask, np.zeros(mask.shape), (1.0,) * ndim)
    assert found.holes
    assert found.components == 1


def test_objects_that_touch_are_counted() -> None:
    """Of three objects two touch: two thirds."""
    mask = np.zeros((10, 10), np.uint16)
    mask[1:3, 1:3], mask[3:5, 1:3], mask[7:9, 7:9] = 5, 9, 700
    assert objects_of(mask).count == 3
    assert objects_of(mask).touching == 0.67


def test_instances_are_one_structure(tmp_path: Path) -> None:
    """A map of objects gives one structure with its parts, and the objects' own numbers."""
    grid = Grid.from_spacing((12, 12), (1, 1))
    mask = np.zeros((12, 12), np.uint16)
    mask[1:4, 1:4], mask[4:7, 1:4], mask[9:11, 9:11] = 1, 2, 3
    for folder in ("images", "instances"):
        (tmp_path / folder).mkdir()
    write_volume(tmp_path / "images" / "a.png", np.arange(144, dtype=np.uint8).reshape(12, 12), grid)
    write_volume(tmp_path / "instances" / "a.png", mask, grid)
    found = fingerprint_case(find_cases(tmp_path).cases[0])
    assert found.picture
    assert found.objects is not None
    assert found.objects.count == 3
    assert [s.components for s in found.structures] == [2]


def test_too_many_values_are_objects_not_structures(tmp_path: Path) -> None:
    """A label map of hundreds of values is refused, with the way to say that it numbers objects."""
    write(tmp_path, "a", np.ones(SHAPE, np.float32) * np.arange(6), np.arange(432).reshape(SHAPE))
    assert "folder called instances" in str(fingerprint_case(find_cases(tmp_path).cases[0]).error)


def hounsfield(rng: np.random.Generator) -> Any:
    return rng.integers(-1000, 1200, SHAPE).astype(np.int16)


def test_modalities_are_told_apart(tmp_path: Path) -> None:
    """Whole numbers from air upwards are CT for sure; mixed with volumes without negative values they are refused."""
    rng = np.random.default_rng(2)
    mask = np.zeros(SHAPE, np.uint8)
    mask[2:4, 2:4, 2:4] = 1
    write(tmp_path, "a", hounsfield(rng), mask)
    found = fingerprint(find_cases(tmp_path), processes=0)
    assert (found.modality.modality, found.modality.sureness) == ("CT", "sure")
    write(tmp_path, "b", rng.uniform(0, 900, SHAPE).astype(np.float32), mask)
    with pytest.raises(CohortError, match="modalities are mixed: 1 cases are in Hounsfield units"):
        fingerprint(find_cases(tmp_path), processes=0)


def test_channel_names_tell_the_modality() -> None:
    """The spellings of dataset.json, and those of MR sequences."""
    assert [named_modality(word) for word in ("CT", "MRI", "T1wCE", "FLAIR", "noise")] == ["CT", "MR", "MR", "MR", None]


def described(root: Path, labels: object, **more: object) -> Any:
    (root / "imagesTr").mkdir(exist_ok=True)
    (root / "labelsTr").mkdir(exist_ok=True)
    for name in ("x", "y"):
        write_volume(root / "imagesTr" / f"{name}_0000.nii.gz", np.random.default_rng(0).normal(size=SHAPE), GRID)
        write_labels(root / "labelsTr" / f"{name}.nii.gz", np.zeros(SHAPE, np.uint8), GRID)
    (root / "dataset.json").write_text(json.dumps({"labels": labels, **more}))
    return declared_by(find_cases(root))


def test_names_of_both_dialects(tmp_path: Path) -> None:
    """Decathlon writes values to names, nnU-Net names to values; background is nothing to learn."""
    ours = {"left lung": 1, "right lung": 2}
    assert described(tmp_path, {"0": "background", "1": "left lung", "2": "right lung"}).labels == ours
    told = described(
        tmp_path, {"background": 0, "left lung": 1, "right lung": 2, "ignore": 3}, channel_names={"0": "CT"}
    )
    assert (told.labels, told.ignore, told.channels) == (ours, 3, ("CT",))


def test_regions_of_nnunet(tmp_path: Path) -> None:
    """Regions keep their names, each with the value first that it is decoded to."""
    labels = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    told = described(tmp_path, labels, regions_class_order=[1, 2, 3])
    assert told.labels == {"label 1": 1, "label 2": 2, "label 3": 3}
    assert told.regions == {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"0": "background", "1": "lung", "2": "lung"}, "names 'lung' twice"),
        ({"background": 0, "lung": 1, "heart": 1}, "calls the value 1 both"),
        ({"background": 0, "lung": "one"}, "no value that is a whole number"),
        ({"background": 0, "whole": [1, 2]}, "regions_class_order"),
    ],
)
def test_contradictory_names_are_refused(tmp_path: Path, labels: object, said: str) -> None:
    """What dataset.json says twice or not at all is one clear line."""
    with pytest.raises(CohortError, match=said):
        described(tmp_path, labels)


def test_the_verb(two: Path, volseg: Any, tmp_path: Path) -> None:
    """A table for people, JSON in a file and on stdout, and exit code 3 when a case cannot be read."""
    shown = volseg("fingerprint", two)
    assert shown.returncode == 0, shown.stderr
    assert "modality" in shown.stdout
    out = tmp_path / "out" / "print.json"
    out.parent.mkdir()
    run = volseg("fingerprint", two, "-o", out, "--json")
    assert json.loads(run.stdout) == json.loads(out.read_text())
    (two / "a.nii.gz").write_bytes(b"nothing")
    assert volseg("fingerprint", two).returncode == 3


def test_pictures_are_told_in_pixels(volseg: Any, tmp_path: Path) -> None:
    """They have no scale, so no millimetre is claimed."""
    grid = Grid.from_spacing((12, 12), (1.0, 1.0))
    mask = np.zeros((12, 12), np.uint8)
    mask[2:5, 2:7] = 1
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        write_volume(tmp_path / "images" / f"{name}.png", np.arange(144, dtype=np.uint8).reshape(12, 12), grid)
        write_volume(tmp_path / "labels" / f"{name}.png", mask, grid)
    shown = volseg("fingerprint", tmp_path, "--processes", 1).stdout
    assert "15 to 15 pixels" in shown
    assert "mm" not in shown.replace("scale in millimetres", "")


def test_real_hearts(real_data: Path) -> None:
    """ACDC's layout names its structures; its stacks are thick, and every heart holds all three."""
    cohort = find_cases(real_data / "acdc" / "training" / "patient001")
    found = fingerprint(cohort, processes=0)
    assert found.declared.labels == {"right ventricle": 1, "myocardium": 2, "left ventricle": 3}
    assert found.values == (1, 2, 3)
    assert found.modality.modality == "MR"
    assert max(found.good[0].spacing) / min(found.good[0].spacing) > 3
