"""What holds for every loss."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from volseg.errors import LabelError, SizeError, UsageError
from volseg.losses import DeepSupervisionLoss, DiceEnergyLoss, DiceLoss, EnergyLoss, IoULoss

LOSSES: dict[str, Callable[..., nn.Module]] = {
    "energy": EnergyLoss,
    "energy-voxels": lambda **k: EnergyLoss(normalise="voxels", **k),
    "energy-sum": lambda **k: EnergyLoss(normalise="sum", **k),
    "energy-classes": lambda **k: EnergyLoss([0.5, 2.0, 1.0], **k),
    "dice": DiceLoss,
    "dice-batch": lambda **k: DiceLoss(batch=True, include_background=False, **k),
    "iou": IoULoss,
    "dice-energy": DiceEnergyLoss,
    "deep": lambda **k: DeepSupervisionLoss(DiceEnergyLoss(**k)),
}


@pytest.fixture(params=LOSSES)
def make(request: pytest.FixtureRequest) -> Callable[..., nn.Module]:
    return LOSSES[request.param]


@pytest.mark.parametrize("shape", [(4, 3), (3, 2, 2)])
def test_gradient(make, case, shape):
    """The gradient is that of the value, by finite differences in float64."""
    logits, target, weight = case(shape)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: make()(x, target, weight), (logits,))
    assert torch.autograd.gradcheck(lambda x: make(ignore=1)(x, target), (logits,))
    assert torch.autograd.gradcheck(lambda x: make(regions=[[1, 2], [1], [2]])(x, target, weight), (logits,))


@pytest.mark.parametrize("sigmoid", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(make, case, dtype, sigmoid):
    """Logits up to 6e4 in half precision give a finite loss and finite gradients, near those of float64."""
    logits, target, weight = case((16, 16))
    options = {"regions": [[1, 2], [1], [2]]} if sigmoid else {}
    for scale in (1.0, 6e4 / logits.abs().max().item()):
        half = (logits * scale).to(dtype).requires_grad_()
        loss = make(**options)(half, target, weight.to(dtype))
        loss.backward()
        wide = make(**options)(half.detach().double(), target, weight.to(dtype).double())
        assert loss.dtype == torch.float32
        assert half.grad is not None
        assert torch.isfinite(half.grad).all()
        torch.testing.assert_close(loss.double(), wide, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("how", ["weight", "ignore", "regions"])
def test_nothing_labelled(make, case, how):
    """Where no voxel is labelled, the loss and its gradient are 0, not NaN."""
    logits, target, weight = case()
    logits.requires_grad_()
    if how == "weight":
        loss = make()(logits, target, torch.zeros_like(weight))
    elif how == "ignore":
        loss = make(ignore=255)(logits, torch.full_like(target, 255))
    else:
        loss = make(ignore=255, regions=[[1], [2], [1, 2]])(logits, torch.full_like(target, 255))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("regions", [None, [[1, 2], [1], [2]]])
def test_ignored_is_weightless(make, case, regions):
    """The ignore value and the weight 0 are the same thing, and the logits under them change nothing."""
    logits, target, weight = case()
    hidden = weight == 0
    by_value = make(ignore=255, regions=regions)(logits, target.masked_fill(hidden, 255))
    by_weight = make(regions=regions)(logits, target, (~hidden).double())
    moved = make(regions=regions)(torch.where(hidden, -logits, logits), target, (~hidden).double())
    assert by_value.item() == by_weight.item() == moved.item()


def test_unpadded(make, case):
    """A target larger than the logits counts by its centre, weight included."""
    logits, target, weight = case((5, 7))
    outside = [torch.nn.functional.pad(x, (3, 3, 2, 2), value=v) for x, v in ((target, 2), (weight, 100.0))]
    assert make()(logits, *outside).item() == make()(logits, target, weight).item()


def test_unlabelled_sample_does_not_flatter(make, case):
    """A sample without any truth beside a labelled one leaves the mean over samples as it is."""
    logits, target, weight = case(batch=1)
    twice = [torch.cat([x, y]) for x, y in ((logits, logits), (target, target), (weight, torch.zeros_like(weight)))]
    torch.testing.assert_close(make()(*twice), make()(logits, target, weight))


def test_target_types(make, case):
    """Any integer type of target gives the same loss."""
    logits, target, _ = case()
    kinds = (torch.uint8, torch.uint16, torch.int16, torch.int32, torch.uint32, torch.int64, torch.float32)
    assert len({make()(logits, target.to(kind)).item() for kind in kinds}) == 1
    assert len({make(regions=[[1], [2], [1, 2]])(logits, target.to(kind)).item() for kind in kinds}) == 1


@pytest.mark.parametrize("value", [256, 257, -255, 300])
def test_what_a_type_cannot_hold_is_not_in_it(make, case, value):
    """A value to ignore, or of a region, beyond the target's type never stands for another one."""
    logits, target, _ = case()
    narrow = target.to(torch.uint8)
    assert make(ignore=value)(logits, narrow) == make()(logits, target)
    regions = [[1], [2], [value]]
    assert make(regions=regions)(logits, narrow) == make(regions=regions)(logits, target)


def test_between_classes_is_no_class(make, case):
    """A label that was interpolated is refused rather than cut off."""
    logits, target, _ = case()
    with pytest.raises(LabelError, match="between classes"):
        make()(logits, target * 0.99)


def test_foreign_label(make, case):
    """A label beyond the network's channels is named."""
    logits, target, _ = case()
    target[0, 0, 0, 0] = 7
    with pytest.raises(LabelError, match=r"holds the value 7, the network tells 0 … 2 apart"):
        make()(logits, target)
    with pytest.raises(LabelError, match="-1"):
        make()(logits, target.masked_fill(target == 7, -1))


@pytest.mark.parametrize(
    ("size", "message"), [((4, 7), "smaller"), ((6, 7), "no centre"), ((5,), r"needed is \[2, 1, …\] with 2")]
)
def test_sizes(case, size, message):
    """A target that is no larger output's truth is refused in a line."""
    logits, _, _ = case((5, 7))
    with pytest.raises((SizeError, UsageError), match=message):
        EnergyLoss()(logits, torch.zeros(2, 1, *size, dtype=torch.long))


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_bad_weights(make, case, value):
    """Negative, infinite and undefined voxel weights are refused."""
    logits, target, weight = case()
    weight[0, 0, 0, 0] = value
    with pytest.raises(UsageError, match="voxel weights"):
        make()(logits, target, weight)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: EnergyLoss(normalise="mean"), "normalise"),
        (lambda: EnergyLoss([1.0, -1.0]), "class weights"),
        (lambda: DiceLoss(smooth=0), "smooth"),
        (lambda: DiceLoss(regions=[[1], []]), "regions"),
        (lambda: DiceLoss(regions=[[1, 4]], ignore=4), "ignore value 4"),
        (lambda: DiceEnergyLoss(0, 0), "factors"),
        (lambda: DeepSupervisionLoss(DiceLoss(), weights=[0, 0]), "levels"),
        (lambda: DiceLoss()(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2)), "sigmoid=True"),
        (lambda: DiceLoss(regions=[[1]])(torch.zeros(1, 2, 2), torch.zeros(1, 1, 2)), "1 regions"),
        (lambda: EnergyLoss([1.0])(torch.zeros(1, 2, 2), torch.zeros(1, 1, 2)), "1 class weights"),
    ],
)
def test_mistakes(build, message):
    """Settings that cannot mean anything are refused when they are made or first used."""
    with pytest.raises(UsageError, match=message):
        build()


def test_metatensor(make, case):
    """MONAI's tensors are taken and give a plain loss."""
    from monai.data import MetaTensor

    logits, target, weight = case()
    loss = make()(MetaTensor(logits), MetaTensor(target), MetaTensor(weight))
    assert type(loss) is torch.Tensor
    assert loss.item() == make()(logits, target, weight).item()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("autocast", [False, True])
def test_cuda(make, case, autocast):
    """On the device, under automatic mixed precision too, the loss and its gradient are the processor's."""
    logits, target, weight = (x.float() if x.is_floating_point() else x for x in case((16, 16)))
    logits.requires_grad_()
    expected = make()(logits, target, weight)
    (gradient,) = torch.autograd.grad(expected, logits)
    there = logits.detach().cuda().requires_grad_()
    with torch.autocast("cuda", enabled=autocast):
        loss = make().cuda()(there, target.cuda(), weight.cuda())
    loss.backward()
    torch.testing.assert_close(loss.cpu(), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(there.grad.cpu(), gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast(make, case, dtype):
    """Automatic mixed precision does not reach into the loss."""
    logits, target, weight = case()
    with torch.autocast("cpu", dtype=dtype):
        mixed = make()(logits.float(), target, weight)
    assert mixed.item() == make()(logits.float(), target, weight).item()
