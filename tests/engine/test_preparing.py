"""Batches on the device: each sample changed by its own stream, layouts as asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from volseg.engine.preparing import PrepareBatch

CHANGES: dict[str, Any] = {
    "noise_prob": 1.0, "noise": [0.1, 0.2], "contrast_prob": 1.0, "contrast": [0.5, 2.0], "gamma_prob": 1.0,
    "blur_prob": 0.5, "blur": [0.5, 1.0], "bias_prob": 0.5,
}  # fmt: skip


def batch(names: str, epoch: int = 0) -> dict[str, Any]:
    images = torch.stack([torch.rand(2, 12, 10, generator=torch.Generator().manual_seed(ord(n))) for n in names])
    label = torch.zeros(len(names), 1, 12, 10, dtype=torch.uint8)
    return {
        "image": images,
        "label": label,
        "case": list(names),
        "epoch": [epoch] * len(names),
        "slot": [0] * len(names),
    }


def test_a_sample_depends_on_nothing_around_it() -> None:
    """Alone, in another batch or in another order, a patch is changed alike; in another epoch otherwise."""
    prepare = PrepareBatch(CHANGES, brightness=(0.5, 2.0), brightness_prob=0.5, seed=3)
    together = prepare(batch("abc"))[0]
    torch.testing.assert_close(prepare(batch("b"))[0][0], together[1], rtol=1e-6, atol=1e-6)
    assert torch.equal(prepare(batch("abc"))[0], together)
    torch.testing.assert_close(prepare(batch("cab"))[0].roll(-1, 0), together, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(prepare(batch("abc", epoch=1))[0], together)
    assert not torch.allclose(PrepareBatch(CHANGES, seed=4)(batch("abc"))[0], together)


def test_without_changes_the_bits_are_kept() -> None:
    """Image, target and weight come as they are; no weight is None."""
    given = batch("ab")
    image, target, weight = PrepareBatch()(given)
    assert torch.equal(image, given["image"])
    assert torch.equal(target, given["label"])
    assert weight is None
    given["weight"] = torch.rand(2, 1, 12, 10)
    assert PrepareBatch()(given)[2] is given["weight"]


@pytest.mark.parametrize("dims", [2, 3])
def test_channels_last_is_a_layout(dims: int) -> None:
    """The values stay."""
    images = torch.rand(2, 3, *(4,) * dims)
    given = {"image": images, "label": images[:, :1]}
    found = PrepareBatch(channels_last=True)(given)[0]
    layout = torch.channels_last if dims == 2 else torch.channels_last_3d
    assert found.is_contiguous(memory_format=layout)
    assert torch.equal(found, images)


def test_brightness_is_a_factor() -> None:
    """All intensities of a sample by one number within the range."""
    given = batch("abcdef")
    ratio = PrepareBatch(brightness=(0.5, 0.75), brightness_prob=1.0)(given)[0] / given["image"]
    for sample in ratio:
        assert 0.5 <= float(sample.mean()) <= 0.75
        assert float(sample.std()) < 1e-5
