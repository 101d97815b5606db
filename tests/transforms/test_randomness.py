"""Streams by (seed, epoch, case, operation), through MONAI's composed transforms."""

from __future__ import annotations

import pytest
import torch
from monai.transforms import Compose, OneOf, RandGaussianNoised, RandShiftIntensityd

from volseg.transforms import RandIntensityd, generator, reseed


def nested():
    choice = OneOf([RandShiftIntensityd("image", 1.0, prob=1.0), RandGaussianNoised("image", prob=1.0)])
    return Compose([choice, Compose([RandIntensityd("image", noise_prob=1.0, contrast_prob=0.5)])])


@pytest.mark.parametrize("other", [(2, 0, "a"), (1, 1, "a"), (1, 0, "b")])
def test_nested_choices_are_repeated(other):
    """Which branch is taken and what it draws depend on seed, epoch and case alone, in nested compositions too."""
    case = {"image": torch.rand(1, 8, 8)}
    chain, again = nested(), nested()

    def result(transform, *key):
        reseed(transform, *key)
        return transform(case)["image"].as_tensor()

    first = result(chain, 1, 0, "a")
    assert not torch.equal(first, result(chain, *other))
    assert torch.equal(first, result(chain, 1, 0, "a"))
    assert torch.equal(first, result(again, 1, 0, "a"))


def test_cases_spread_over_their_range():
    """Streams of neighbouring cases are independent: their first draws fill the unit interval evenly."""
    firsts = torch.tensor([generator(0, 0, case, "x").random() for case in range(2000)])
    assert torch.histc(firsts, 10, 0, 1) == pytest.approx([200] * 10, abs=55)
    assert abs(torch.corrcoef(torch.stack([firsts[1:], firsts[:-1]]))[0, 1]) < 0.07
