"""bfloat16 is never chosen where its gradients would be wrong."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.cpu import with_bfloat16
from volseg.engine.probe import Choice, candidates, choose
from volseg.engine.thin_maps import thin_maps
from volseg.errors import UsageError
from volseg.losses import EnergyLoss
from volseg.networks import UNet

CPU = torch.device("cpu")


def _gradient(shape: tuple[int, ...], kernel: int, lower: bool) -> torch.Tensor:
    torch.manual_seed(0)
    conv = nn.Conv3d(32, 32, kernel, padding=kernel // 2)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=lower):
        result = conv(torch.randn(2, 32, *shape))
    result.float().square().mean().backward()
    assert conv.weight.grad is not None
    return conv.weight.grad


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("planes", [1, 2, 3, 4, 5, 6])
def test_what_is_not_told_of_is_right(kernel: int, planes: int) -> None:
    """Of a convolution that is not named, bfloat16 gives the gradient that single precision gives, but for rounding."""
    shape = (planes, 6, 6)
    if thin_maps(nn.Sequential(nn.Conv3d(32, 32, kernel, padding=kernel // 2)), (2, 32, *shape)):
        assert 1 < planes < kernel
        return
    plain, half = (_gradient(shape, kernel, lower) for lower in (False, True))
    assert (half - plain).norm() < 0.02 * plain.norm()


def test_thin_planes_keep_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch of 4 planes leaves the lower level 2: the choice is made among what trains it rightly."""
    with_bfloat16(monkeypatch, True)
    network = UNet(3, 1, 2, channels=(4, 8)).train()
    allowed = candidates("auto", "auto", CPU)
    _, seconds = choose(network, EnergyLoss(), (1, 1, 4, 16, 16), allowed, CPU, repeats=1)
    assert set(seconds) == {"float32, channels first", "float32, channels last"}
    assert network.training


def test_asking_for_it_all_the_same_is_refused() -> None:
    """In a line that says what to change; a thicker patch is taken, and thin axes that are not the first."""
    network = UNet(3, 1, 2, channels=(4, 8))
    only = [Choice("bf16", False)]
    with pytest.raises(UsageError, match=r"patches of 4x16x16 .*set training\.precision to auto or float32"):
        choose(network, EnergyLoss(), (1, 1, 4, 16, 16), only, CPU)
    assert choose(network, EnergyLoss(), (1, 1, 16, 4, 4), only, CPU) == (only[0], {})
