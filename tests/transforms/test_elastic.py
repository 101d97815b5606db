"""Elastic deformation: exact, aligned, never folding, never inventing a class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.transforms import Compose
from scipy.interpolate import BSpline, CubicSpline
from scipy.ndimage import map_coordinates

from volseg.errors import GridMismatch, UsageError
from volseg.transforms import GridElastic, RandGridElasticd, generator, reseed, warp
from volseg.transforms.folding import jacobians, least_determinant


def drawn(shape, seed=0, **options):
    return GridElastic(**{"grid": 3, "std": 1.5, **options}).draw(np.random.default_rng(seed), shape)


@pytest.mark.parametrize("grid", [2, 3, 5])
def test_natural_field_equals_scipy(shape, grid):
    """The dense field is the tensor product of scipy's natural cubic splines through the drawn vectors."""
    deformation = drawn(shape, grid=grid, folding="allow")
    field = deformation.displacement
    for axis, n in enumerate(shape, start=1):
        spline = CubicSpline(np.linspace(0, n - 1, grid), field, axis=axis, bc_type="natural")
        field = spline(np.arange(n))
    np.testing.assert_allclose(deformation.field(shape).numpy(), field, atol=1e-5)


def test_bspline_field_equals_scipy(shape):
    """The dense field is the tensor product of scipy's cubic B-splines over the drawn control points."""
    deformation = drawn(shape, grid=4, interpolation="bspline", folding="allow")
    field = deformation.displacement
    assert field.shape[1:] == (6,) * len(shape)
    for axis, n in enumerate(shape, start=1):
        step = (n - 1) / 3
        knots = (np.arange(-2, 8) - 1) * step
        field = BSpline(knots, np.moveaxis(field, axis, 0), 3)(np.arange(n) - 1e-9 * (np.arange(n) == n - 1))
        field = np.moveaxis(field, 0, axis)
    np.testing.assert_allclose(deformation.field(shape).numpy(), field, atol=1e-5)


@pytest.mark.parametrize(
    ("padding", "scipy_mode"), [("reflect", "mirror"), ("border", "nearest"), ("constant", "grid-constant")]
)
@pytest.mark.parametrize("std", [1.5, 12.0])
def test_warp_equals_scipy(case, padding, scipy_mode, std):
    """Image and label are what scipy's map_coordinates makes of them, far outside the image too."""
    shape = tuple(case["image"].shape[1:])
    deformation = drawn(shape, std=std, folding="allow")
    where = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")) + deformation.field(shape).numpy()
    mapping = deformation.coordinate_map()
    image = warp(case["image"], mapping, mode="linear", padding=padding, fill=-0.5)
    theirs = map_coordinates(case["image"][0].numpy().astype(float), where, order=1, mode=scipy_mode, cval=-0.5)
    np.testing.assert_allclose(image[0].numpy(), theirs, atol=2e-5)
    label = warp(case["label"], mapping, mode="nearest", padding=padding, fill=2)
    theirs = map_coordinates(case["label"][0].numpy(), where, order=0, mode=scipy_mode, cval=2)
    clear = (np.abs(where - np.floor(where) - 0.5) > 1e-3).all(axis=0)  # halves may round either way
    np.testing.assert_array_equal(label[0].numpy()[clear], theirs[clear])


@pytest.mark.parametrize("padding", ["reflect", "border"])
def test_cubic_equals_scipy(case, padding):
    """The cubic image is scipy's spline of order 3."""
    shape = tuple(case["image"].shape[1:])
    deformation = drawn(shape)
    where = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij")) + deformation.field(shape).numpy()
    if padding == "border":
        where = np.clip(where, 0, np.reshape(shape, (-1, *(1,) * len(shape))) - 1.0)
    image = warp(case["image"], deformation.coordinate_map(), mode="cubic", padding=padding)
    theirs = map_coordinates(case["image"][0].numpy().astype(float), where, order=3, mode="mirror")
    np.testing.assert_allclose(image[0].numpy(), theirs, atol=2e-5)


@pytest.mark.parametrize("mode", ["linear", "cubic", "nearest", "probability"])
def test_no_amplitude_changes_nothing(case, mode):
    """Identity parameters give the very bits back."""
    elastic = RandGridElasticd(["image", "label"], grid=3, std=0.0, mode=mode)
    result = elastic(case)
    assert all(torch.equal(result[key], case[key]) and result[key].dtype == case[key].dtype for key in case)


def test_labels_hold_only_what_they_held():
    """In 10,000 random cases no label holds a value that it did not hold before."""
    random = np.random.default_rng(5)
    for turn in range(10_000):
        shape = tuple(random.integers(1, 7, size=2 + turn % 2))
        labels = torch.as_tensor(random.choice([0, 3, 7, 200], size=(1, *shape)).astype(np.uint8))
        deformation = GridElastic(grid=2, std=3.0, folding="allow").draw(random, shape)
        mapping, padding = deformation.coordinate_map(), "border" if turn % 3 else "reflect"
        moved = warp(labels, mapping, mode="nearest" if turn % 5 else "probability", padding=padding)
        assert moved.dtype == labels.dtype
        assert np.isin(moved.numpy(), labels.numpy()).all()


def test_image_and_label_stay_aligned(case):
    """A label made from the image before and after the deformation is the same, but for a rim of rounding."""
    elastic = RandGridElasticd(["image", "label"], grid=3, std=1.5)
    elastic.set_random_state(seed=3)
    result = elastic(case)
    again = torch.bucketize(result["image"], torch.tensor([0.3, 0.6]), right=True)
    assert not torch.equal(result["label"], case["label"])
    assert (again == result["label"]).float().mean() > 0.93


def test_probability_labels_are_the_most_probable_class(case):
    """Through probabilities, each voxel takes the class whose linearly warped indicator is largest."""
    deformation = drawn(tuple(case["label"].shape[1:]))
    mapping = deformation.coordinate_map()
    moved = warp(case["label"], mapping, mode="probability")
    shares = torch.stack([warp((case["label"] == value).float(), mapping) for value in range(3)])
    torch.testing.assert_close(moved[0].long(), shares.argmax(dim=0)[0])


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=3),
    st.integers(0, 10_000),
    st.sampled_from(["natural", "bspline"]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_limited_deformations_do_not_fold(shape, seed, kind, locked):
    """However strong the draw, the limited field has a positive Jacobian determinant at and between voxels."""
    elastic = GridElastic(grid=4, std=8.0, interpolation=kind, lock_borders=locked)
    deformation = elastic.draw(np.random.default_rng(seed), shape)
    at = tuple(tuple(np.linspace(0, n - 1, 2 * n - 1).tolist()) for n in shape)
    gradient = jacobians(deformation.displacement, deformation.origin, deformation.step, kind, at)
    assert least_determinant(gradient) > 0
    assert 0 < deformation.amplitude <= 1


def test_folding_is_seen_limited_or_drawn_again():
    """A draw that folds is reported as such, scaled to the brink, or drawn anew."""
    allowed = drawn((32, 32), std=20.0, grid=4, folding="allow")
    assert allowed.least_determinant((32, 32)) < 0
    limited = drawn((32, 32), std=20.0, grid=4)
    assert limited.amplitude < 1
    np.testing.assert_allclose(limited.displacement, allowed.displacement * limited.amplitude)
    assert limited.least_determinant((32, 32)) == pytest.approx(0.05, abs=1e-6)
    again = drawn((32, 32), seed=2, std=4.0, grid=3, folding="redraw")
    assert again.amplitude == 1.0
    assert again.least_determinant((32, 32)) >= 0.05


@pytest.mark.parametrize("nodes", [{"grid": 3}, {"spacing": 5.0}])
@pytest.mark.parametrize("kind", ["natural", "bspline"])
def test_locked_borders_do_not_move(shape, kind, nodes):
    """With locked borders the field is 0 on every face, and not inside, however the nodes are given."""
    field = drawn(shape, **nodes, interpolation=kind, lock_borders=True).field(shape)
    for axis in range(1, field.ndim):
        assert field.select(axis, 0).abs().max() < 1e-5
        assert field.select(axis, -1).abs().max() < 1e-5
    assert field.abs().max() > 0.1


def test_millimetres_are_isotropic_in_space():
    """In mm, a stack of thick slices moves by as many mm along each axis, so by fewer slices."""
    elastic = GridElastic(grid=8, std=6.0, unit="mm", folding="allow")
    deformation = elastic.draw(np.random.default_rng(0), (40, 40, 10), (1.0, 1.0, 6.0))
    spread = deformation.displacement.reshape(3, -1).std(axis=1)
    np.testing.assert_allclose(spread, [6.0, 6.0, 1.0], rtol=0.1)
    with pytest.raises(UsageError, match="voxel_size"):
        elastic.draw(np.random.default_rng(0), (40, 40, 10))


def test_grid_by_spacing_covers_the_image():
    """Nodes by spacing (voxels or mm) lie that far apart, centred, with the image between the outermost."""
    deformation = GridElastic(spacing=32, std=4.0).draw(np.random.default_rng(0), (132, 132, 116))
    assert deformation.displacement.shape == (3, 6, 6, 5)
    assert deformation.step == (32.0,) * 3
    assert deformation.origin == (-14.5, -14.5, -6.5)
    millimetres = GridElastic(spacing=32, std=4.0, unit="mm", interpolation="bspline")
    deformation = millimetres.draw(np.random.default_rng(0), (132, 116), (0.5, 2.0))
    assert deformation.step == (64.0, 16.0)
    assert deformation.displacement.shape == (2, 6, 11)


def test_draws_depend_on_seed_epoch_case_alone(case):
    """The same (seed, epoch, case) gives the same result after anything else was drawn; each of them matters."""
    chain = Compose([RandGridElasticd(["image", "label"], grid=3, prob=0.9), RandGridElasticd(["image", "label"], 4)])

    def result(*key):
        reseed(chain, *key)
        return chain(case)["image"]

    first = result(1, 2, "a")
    others = [result(2, 2, "a"), result(1, 3, "a"), result(1, 2, "b")]
    assert torch.equal(first, result(1, 2, "a"))
    assert not any(torch.equal(first, other) for other in others)


def test_streams_are_the_same_on_every_machine():
    """The stream of (seed, epoch, case, operation) is a fixed sequence, so a training can be repeated elsewhere."""
    assert generator(0, 0, "patient001", "elastic").integers(1 << 30, size=3).tolist() == [
        909402775,
        13491927,
        212648819,
    ]


def test_metadata_and_arrays_are_kept(case):
    """A MetaTensor keeps its affine, its spacing serves as voxel size, and numpy arrays are taken as they are."""
    affine = torch.diag(torch.tensor([*([2.0] * (case["image"].ndim - 1)), 1.0], dtype=torch.float64))
    elastic = RandGridElasticd(["image", "label"], grid=3, std=3.0, unit="mm")
    with_meta = {key: MetaTensor(value, affine=affine) for key, value in case.items()}
    moved = elastic.set_random_state(seed=1)(with_meta)
    assert torch.equal(moved["image"].affine[:-1, :-1], with_meta["image"].affine[:-1, :-1])
    plain = RandGridElasticd(["image", "label"], grid=3, std=1.5)
    arrays = plain.set_random_state(seed=1)({key: value.numpy() for key, value in case.items()})
    torch.testing.assert_close(arrays["image"].as_tensor(), moved["image"].as_tensor(), atol=1e-5, rtol=0)


def test_mistakes_are_told(case):
    """Different shapes, a wrong number of nodes or modes, and unknown words are refused in one line."""
    with pytest.raises(GridMismatch, match="one shape"):
        RandGridElasticd(["image", "label"], grid=3)({"image": torch.ones(1, 8, 8), "label": torch.ones(1, 8, 9)})
    with pytest.raises(UsageError, match="grid has 3 values and the image 2 axes"):
        RandGridElasticd(["image", "label"])({"image": torch.ones(1, 8, 8), "label": torch.ones(1, 8, 8)})
    with pytest.raises(UsageError, match="one for each key"):
        RandGridElasticd(["image"], mode=("linear", "nearest"))
    with pytest.raises(UsageError, match="did you mean 'nearest'"):
        RandGridElasticd(["image"], mode="neerest")
    with pytest.raises(UsageError, match="2 nodes or more"):
        GridElastic(grid=1)


def test_positions_survive_reduced_precision(case):
    """Neither autocast nor a lowered matmul precision moves a voxel."""
    shape = tuple(case["image"].shape[1:])
    mapping = drawn(shape).coordinate_map()
    field, image = mapping.dense(shape), warp(case["image"], mapping)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(mapping.dense(shape), field, atol=1e-5, rtol=0)
        torch.testing.assert_close(warp(case["image"], mapping), image, atol=1e-5, rtol=0)
    torch.set_float32_matmul_precision("medium")
    try:
        torch.testing.assert_close(mapping.dense(shape), field, atol=1e-5, rtol=0)
        torch.testing.assert_close(warp(case["image"], mapping), image, atol=1e-5, rtol=0)
    finally:
        torch.set_float32_matmul_precision("highest")


def test_large_labels_and_odd_types(case, monkeypatch):
    """Voxel numbers beyond float32's integers change nothing, nor does the label's type or a second channel."""
    mapping = drawn(tuple(case["label"].shape[1:])).coordinate_map()
    expected = warp(case["label"], mapping, mode="nearest")
    for dtype in (torch.bool, torch.int16, torch.int64, torch.float64):
        typed = torch.cat([case["label"], case["label"] + 1]).to(dtype)
        moved = warp(typed, mapping, mode="nearest")
        assert moved.dtype == dtype
        assert torch.equal(moved[:1], expected.to(dtype))
        assert torch.equal(moved[1:], (expected + 1).to(dtype))
    monkeypatch.setattr("volseg.transforms.resample._EXACT_IN_FLOAT32", 1)
    assert torch.equal(warp(case["label"], mapping, mode="nearest"), expected)


def test_floating_types_are_kept(case):
    """Half and double images come back as they were, whole numbers as float32."""
    mapping = drawn(tuple(case["image"].shape[1:])).coordinate_map()
    expected = warp(case["image"], mapping)
    for dtype, close in ((torch.float16, 2e-3), (torch.float64, 1e-4)):
        moved = warp(case["image"].to(dtype), mapping)
        assert moved.dtype == dtype
        torch.testing.assert_close(moved.float(), expected, atol=close, rtol=0)
    assert warp(case["label"], mapping).dtype == torch.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_gives_the_same_field(case):
    """The same parameters give the same field and image on the device, within 1e-4."""
    shape = tuple(case["image"].shape[1:])
    deformation = drawn(shape)
    field = deformation.field(shape, "cuda")
    torch.testing.assert_close(field.cpu(), deformation.field(shape), atol=1e-4, rtol=0)
    for mode in ("linear", "cubic"):
        ours = warp(case["image"].cuda(), deformation.coordinate_map(), mode=mode).cpu()
        torch.testing.assert_close(
            ours, warp(case["image"], deformation.coordinate_map(), mode=mode), atol=1e-4, rtol=0
        )
