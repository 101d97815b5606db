"""Patches: exact where nothing is interpolated, image and label together, real context around what is turned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from volseg.engine.cases import LearningCase, places
from volseg.engine.motions import Motions
from volseg.engine.patches import PatchDataset, collate, start_of
from volseg.errors import UsageError
from volseg.inference.mirrored import read_mirrored
from volseg.inference.tiling import Box


def case(shape: tuple[int, ...], name: str = "c", weight: bool = False, spot: bool = True) -> LearningCase:
    """An image whose voxels hold their own place, and a block of class 1."""
    image = torch.arange(int(np.prod(shape)), dtype=torch.float32).view(1, *shape)
    target = torch.zeros(1, *shape, dtype=torch.uint8)
    if spot:
        target[(0, *(slice(n // 2, n // 2 + max(1, n // 4)) for n in shape))] = 1
    found, counts = places(target.numpy(), 2, name)
    parts = tuple(p for p in torch.split(torch.from_numpy(found), counts.tolist()) if len(p))
    return LearningCase(name, image, target, target.float() + 1 if weight else None, parts, (1.0,) * len(shape))


SMOOTH: dict[str, Any] = {"prob": 1.0, "rotation": 30.0, "scale": (0.9, 1.1)}


@given(st.integers(0, 10_000), st.integers(0, 5), st.sampled_from([(20, 17), (9, 12, 10)]))
def test_a_patch_that_does_not_move_is_a_slice(epoch: int, slot: int, shape: tuple[int, ...]) -> None:
    """Every voxel is the image's own, image and label from one place."""
    one = case(shape, weight=True)
    patch = (6,) * len(shape)
    found = PatchDataset([one], patch, foreground=0.5)[(epoch, 0, slot)]
    first = int(found["image"].flatten()[0])
    start = np.unravel_index(first, shape)
    where = (slice(None), *(slice(int(a), int(a) + 6) for a in start))
    assert torch.equal(found["image"], one.image[where])
    assert torch.equal(found["label"], one.target[where])
    assert torch.equal(found["weight"], one.target[where].float() + 1)


@given(st.integers(0, 10_000))
def test_mirrored_and_turned_patches_keep_their_values(epoch: int) -> None:
    """Flips and right angles interpolate nothing."""
    one = case((20, 20))
    dataset = PatchDataset([one], (8, 8), motions=Motions(flips=[0, 1], right_angles=[[0, 1]]))
    found = dataset[(epoch, 0, 0)]
    values = found["image"].flatten().long()
    assert len(values.unique()) == 64
    assert torch.equal(found["label"].flatten(), one.target.flatten()[values])


@given(st.integers(0, 10_000), st.sampled_from([(40, 40), (24, 24, 24)]))
def test_image_and_label_move_together(epoch: int, shape: tuple[int, ...]) -> None:
    """An image that shows its label still does after a turn and a deformation."""
    one = case(shape)
    shown = LearningCase(one.name, one.target.float(), one.target, one.target.float(), one.places, one.spacing)
    motions = Motions(**SMOOTH, elastic={"grid": 3, "std": 2.0}, elastic_prob=1.0)
    found = PatchDataset([shown], (16,) * len(shape), motions=motions, foreground=1.0)[(epoch, 0, 0)]
    sure = (found["image"] - 0.5).abs() > 0.45
    assert torch.equal(found["image"][sure] > 0.5, found["label"][sure] == 1)
    assert torch.equal(found["image"], found["weight"])


def test_a_turned_patch_shows_what_lies_around_it() -> None:
    """In the middle of an image that is linear in space, so is the turned patch: no border was met or made up."""
    x, y = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    plane = (2 * x + 3 * y)[None]
    one = LearningCase(
        "c", plane, torch.zeros(1, 64, 64, dtype=torch.uint8), None, (torch.tensor([32 * 64 + 32]),), (1.0, 1.0)
    )
    found = PatchDataset([one], (16, 16), motions=Motions(prob=1.0, rotation=45.0), foreground=1.0)[(3, 0, 0)]["image"]
    flat = found[0] - found[0].mean()
    a, b = (flat.diff(dim=axis).double() for axis in (0, 1))
    assert a.std() < 1e-3
    assert b.std() < 1e-3
    assert (a.mean() ** 2 + b.mean() ** 2).sqrt().item() == pytest.approx(13**0.5, rel=1e-4)


@pytest.mark.parametrize("mode", ["cubic", "probability"])
def test_reading_a_part_gives_what_the_whole_gives(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interpolations that work on a part of the image lose nothing by it."""
    torch.manual_seed(0)
    shape = (90, 80)
    image = torch.rand(1, *shape)
    target = (torch.rand(1, *shape) > 0.5).to(torch.uint8)
    one = LearningCase("c", image, target, None, (torch.tensor([45 * 80 + 40]),), (1.0, 1.0))
    options: dict[str, Any] = {"motions": Motions(**SMOOTH), "foreground": 1.0}
    options |= {"image_mode": "cubic"} if mode == "cubic" else {"label_mode": "probability"}
    part = PatchDataset([one], (12, 12), **options)[(1, 0, 0)]
    monkeypatch.setattr("volseg.engine.patches.narrowed", lambda tensor, mapping, *_: (tensor, mapping))
    whole = PatchDataset([one], (12, 12), **options)[(1, 0, 0)]
    torch.testing.assert_close(part["image"], whole["image"], atol=1e-5, rtol=1e-5)
    assert torch.equal(part["label"], whole["label"])


def test_draws_are_a_pure_function() -> None:
    """The same draw twice, in any order and from another object, is the same; others differ."""
    cases = [case((30, 30), name) for name in "ab"]
    motions = Motions(**SMOOTH)
    one, two = (PatchDataset(cases, (8, 8), motions=motions, seed=5) for _ in range(2))
    draws = [(e, c, s) for e in range(3) for c in range(2) for s in range(2)]
    first = {draw: one[draw]["image"] for draw in draws}
    for draw in reversed(draws):
        assert torch.equal(two[draw]["image"], first[draw])
    assert len({tuple(x.flatten().tolist()) for x in first.values()}) == len(draws)
    other = PatchDataset(cases, (8, 8), motions=motions, seed=6)
    assert not torch.equal(other[(0, 0, 0)]["image"], first[(0, 0, 0)])


def test_foreground_patches_hold_a_structure() -> None:
    """All of them, when all are to; without structures a patch comes from anywhere."""
    dataset = PatchDataset([case((60, 60))], (5, 5), foreground=1.0)
    assert all(bool(dataset[(epoch, 0, 0)]["label"].any()) for epoch in range(40))
    anywhere = PatchDataset([case((60, 60), spot=False)], (5, 5), foreground=1.0)
    assert len({float(anywhere[(epoch, 0, 0)]["image"].min()) for epoch in range(40)}) > 20


@pytest.mark.parametrize("motions", [Motions(), Motions(**SMOOTH)])
def test_a_volume_thinner_than_the_patch_is_mirrored(motions: Motions) -> None:
    """Stacks of three slices give patches of eight, without a voxel that is not theirs."""
    one = case((20, 20, 3))
    found = PatchDataset([one], (8, 8, 8), motions=motions)[(2, 0, 1)]
    assert found["image"].shape == (1, 8, 8, 8)
    assert found["image"].min() >= 0
    assert found["image"].max() <= one.image.max()


def test_a_single_slice_is_enough() -> None:
    """Even a volume of one voxel's depth, turned in its plane."""
    found = PatchDataset([case((20, 20, 1))], (8, 8, 4), motions=Motions(prob=1.0, rotation=(0.0, 0.0, 20.0)))[
        (0, 0, 0)
    ]
    assert torch.equal(found["image"][..., 0], found["image"][..., 3])


def test_slices_of_a_volume() -> None:
    """A 2-D patch of a 3-D case is from one slice, that of its structure if it is centred on one."""
    one = case((20, 20, 8))
    dataset = PatchDataset([one], (6, 6), foreground=1.0)
    depths = set()
    for epoch in range(20):
        found = dataset[(epoch, 0, 0)]
        assert found["image"].shape == (1, 6, 6)
        assert len(set((found["image"].long() % 8).flatten().tolist())) == 1
        assert found["label"].any()
        depths.add(int(found["image"].flatten()[0]) % 8)
    assert depths == {4, 5}


@given(st.integers(0, 200), st.integers(12, 60))
def test_an_unpadded_network_sees_the_mirrored_image(epoch: int, size: int) -> None:
    """What it gives lies inside the image, what it reads around that is the image or its mirror."""
    one = case((size, size))
    found = PatchDataset([one], (20, 20), lost=(5, 5), foreground=0.0)[(epoch, 0, 0)]["image"][0]
    start = start_of((20, 20), (5, 5), (size, size), None, np.random.default_rng(0))
    assert all(-5 <= s <= size - 15 or size < 10 for s in start)
    inner = found[5:15, 5:15]
    corner = np.unravel_index(int(inner[0, 0]), (size, size))
    expected = read_mirrored(one.image[0], Box(tuple(int(c) - 5 for c in corner), tuple(int(c) + 15 for c in corner)))
    assert torch.equal(found, expected)


def test_a_patch_of_the_wrong_dimensions_is_refused() -> None:
    """By name."""
    with pytest.raises(UsageError, match="c: patches of 4x4x4 cannot be taken from 2-D images"):
        PatchDataset([case((9, 9))], (4, 4, 4))


def test_batches_keep_names_beside_tensors() -> None:
    """Tensors are stacked, the rest stays a list."""
    dataset = PatchDataset([case((9, 9), "a"), case((9, 9), "b")], (4, 4))
    batch = collate([dataset[(0, 0, 0)], dataset[(0, 1, 1)]])
    assert batch["image"].shape == (2, 1, 4, 4)
    assert (batch["case"], batch["slot"]) == (["a", "b"], [0, 1])
