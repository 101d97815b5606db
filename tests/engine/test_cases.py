"""Cases read and prepared: class numbers, weights, places, and the truth on its own grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from volseg.data.caching import DiskCache, NoCache
from volseg.data.cohort import Case
from volseg.data.content import contents_of
from volseg.engine.cases import CaseReader, LearningCase, Weighting, places
from volseg.engine.classes import Classes
from volseg.engine.validation import CaseByCase, JudgeCase, JudgedCases
from volseg.errors import CohortError, LabelError
from volseg.geometry import Grid
from volseg.inference.stream import Decision
from volseg.io import write_labels, write_volume
from volseg.labels import Labels
from volseg.transforms.preparation import Preparation
from volseg.transforms.regrid import regrid
from volseg.transforms.weight_map import weight_map


@given(st.lists(st.integers(1, 300), min_size=1, max_size=6, unique=True), st.integers(0, 100))
def test_values_become_numbers(values: list[int], seed: int) -> None:
    """In the order given, whatever the values."""
    classes = Classes(values)
    numbers = np.random.default_rng(seed).integers(0, len(values) + 1, (4, 5))
    mask = np.array([0, *values])[numbers]
    assert np.array_equal(classes.numbers(mask), numbers)
    assert [classes.number_of(v) for v in values] == list(range(1, len(values) + 1))


def test_undeclared_values_are_refused() -> None:
    """By name; the ignore value and objects are declared."""
    with pytest.raises(LabelError, match=r"m\.nii: holds the undeclared label value 4, 5"):
        Classes([1, 2]).numbers(np.array([1, 4, 5]), where="m.nii")
    assert Classes([1, 2], ignore=5).numbers(np.array([1, 2, 5])).tolist() == [1, 2, 3]
    assert Classes([1], ignore=9, instances=True).numbers(np.array([0, 4, 7, 9])).tolist() == [0, 1, 1, 2]


def test_places_are_voxels_of_their_class() -> None:
    """At most as many as asked for, the same ones every time."""
    target = np.random.default_rng(0).integers(0, 3, (20, 20, 20))
    flat, counts = places(target, 4, "a", most=50)
    assert counts.tolist() == [50, 50, 0]
    assert set(target.reshape(-1)[flat[:50]].tolist()) == {1}
    assert set(target.reshape(-1)[flat[50:]].tolist()) == {2}
    assert np.array_equal(flat, places(target, 4, "a", most=50)[0])
    assert not np.array_equal(flat, places(target, 4, "b", most=50)[0])


@pytest.fixture
def written(tmp_path: Path) -> tuple[Case, np.ndarray, np.ndarray]:
    """An image with axes of its own order, its label map, and both arrays."""
    rng = np.random.default_rng(3)
    affine = np.array([[0, 0, 2.0, 0], [-1.0, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 0, 1]])
    grid = Grid((12, 10, 8), affine)
    image = rng.normal(size=grid.shape).astype(np.float32)
    label = np.zeros(grid.shape, dtype=np.uint8)
    label[2:5, 2:5, 2:5] = 1
    label[7:9, 2:5, 2:5] = 2
    write_volume(tmp_path / "a.nii.gz", image, grid)
    write_labels(tmp_path / "a_gt.nii.gz", label, grid)
    return Case("a", (tmp_path / "a.nii.gz",), tmp_path / "a_gt.nii.gz"), image, label


def reader(weighting: Weighting | None = None, *, slices: bool = False, **options: Any) -> CaseReader:
    return CaseReader(Preparation("RAS", **options), Classes([1, 2]), weighting, slices=slices)


def test_image_and_target_lie_on_one_grid(written: tuple[Case, np.ndarray, np.ndarray]) -> None:
    """Turned to RAS together, the spacing turned with them."""
    case, _, label = written
    made = LearningCase.of("a", reader().learning(case, contents_of(case), NoCache()))
    assert made.image.shape == made.target.shape == (1, 8, 12, 10)
    assert made.spacing == (2.0, 1.0, 1.5)
    assert np.array_equal(made.target[0].numpy(), label.transpose(2, 0, 1)[:, ::-1])
    assert [len(p) for p in made.places] == [27, 18]
    assert made.weight is None


def test_the_truth_keeps_its_own_voxels(written: tuple[Case, np.ndarray, np.ndarray]) -> None:
    """However the image is resampled, a prediction is judged on the file's grid."""
    case, _, label = written
    arrays = reader(spacing=(4.0, 4.0, 4.0)).judged(case, contents_of(case), NoCache())
    assert arrays["image"].shape == (1, 4, 3, 4)
    assert np.array_equal(arrays["truth"], label.transpose(2, 0, 1)[:, ::-1])


def test_points_are_judged_where_the_truth_lies(written: tuple[Case, np.ndarray, np.ndarray]) -> None:
    """Resampled to as many voxels that lie further apart, an image comes back to the file's before it is decided."""

    class Shows(torch.nn.Module):
        spatial_dims = 3

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([-x, x, x - 1], dim=1)

    class Evaluator:
        network = Shows()

    case, *_ = written
    judged = reader(spacing=(2.1, 1.0, 1.55), voxels="points")
    (batch,) = CaseByCase(JudgedCases([case], judged, NoCache(), {case.name: contents_of(case)}))
    shape = batch["truth"].shape
    assert batch["image"].shape[1:] == shape
    seen = regrid(batch["image"], shape, "linear", (2.0 / 2.1, 1.0, 1.5 / 1.55))[0].numpy()
    decided = JudgeCase(Decision((0, 1, 2)), Labels.of({"a": 1, "b": 2}))(Evaluator(), batch)
    assert np.array_equal(decided["prediction"], seen > 0)
    whole = reader(spacing=(4.0, 4.0, 4.0))
    assert JudgedCases([case], whole, NoCache(), {case.name: contents_of(case)})[0]["back"] is None


def test_weights_are_the_weight_map(written: tuple[Case, np.ndarray, np.ndarray]) -> None:
    """In 3-D as a whole, for a network of slices slice by slice, with one balance of classes for the case."""
    case, *_ = written
    contents = contents_of(case)
    whole = reader(Weighting(w0=5.0, sigma=2.0)).learning(case, contents, NoCache())
    expected = weight_map(whole["target"][0], 5.0, 2.0, source="components")
    np.testing.assert_array_equal(whole["weight"][0], expected)
    sliced = reader(Weighting(w0=5.0, sigma=2.0), slices=True).learning(case, contents, NoCache())
    assert sliced["weight"][0, ..., 0].max() == pytest.approx(expected[..., 0].min(), rel=1e-5)
    fixed = reader(Weighting(w0=0.0, class_weights=(1.0, 2.0, 3.0))).learning(case, contents, NoCache())
    assert torch.equal(torch.from_numpy(fixed["weight"]), torch.from_numpy(fixed["target"]).float() + 1)


def test_seams_leave_what_is_ignored(tmp_path: Path) -> None:
    """Touching objects are parted; voxels without truth stay so and weigh nothing."""
    grid = Grid((9, 12), np.eye(3))
    label = np.zeros(grid.shape, dtype=np.uint8)
    label[2:7, 1:3], label[2:7, 3:5], label[2:7, 5:10] = 1, 2, 255
    write_volume(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=grid.shape).astype(np.float32), grid)
    write_labels(tmp_path / "a_gt.nii.gz", label, grid)
    case = Case("a", (tmp_path / "a.nii.gz",), tmp_path / "a_gt.nii.gz")
    made = CaseReader(Preparation(None), Classes([1], 255, True), Weighting(separate_instances=True)).learning(
        case, contents_of(case), NoCache()
    )
    assert (made["weight"] == 0).sum() == (label == 255).sum()
    assert (made["target"] == 1).sum() == 15  # of 20: a seam of five, and none towards what is ignored


def test_the_cache_is_asked_for_what_was_made(written: tuple[Case, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    """The same files and settings give the same entry without reading; other settings another."""
    case, *_ = written
    contents = contents_of(case)
    cache = DiskCache(tmp_path / "cache")
    first = reader().learning(case, contents, cache)
    case.image.unlink()
    again = reader().learning(case, contents, cache)
    assert all(np.array_equal(first[key], again[key]) for key in first)
    with pytest.raises(Exception, match=r"No such file|does not exist"):
        reader(spacing=(4.0, 4.0, 4.0)).learning(case, contents, cache)


def test_a_case_without_truth_is_refused(written: tuple[Case, np.ndarray, np.ndarray]) -> None:
    """It has nothing to learn from."""
    bare = Case("b", written[0].images)
    with pytest.raises(CohortError, match="b: has no label map"):
        reader().learning(bare, contents_of(bare), NoCache())
