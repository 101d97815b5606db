"""The step: accumulation, precision, and numbers that are none."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from volseg.engine.averaging import Average
from volseg.engine.preparing import PrepareBatch
from volseg.engine.step import TrainingStep, group
from volseg.errors import MemoryLimitError, NonFiniteError
from volseg.losses import EnergyLoss
from volseg.networks import UNet


def network() -> UNet:
    torch.manual_seed(0)
    return UNet(2, 1, 2, channels=(4, 8), norm=None)


def trainer(net: nn.Module, epoch_length: int = 4, lr: float = 0.1) -> Any:
    state = SimpleNamespace(iteration=0, epoch=1, epoch_length=epoch_length, device=torch.device("cpu"), rank=0)
    return SimpleNamespace(
        state=state,
        network=net,
        optimizer=torch.optim.SGD(net.parameters(), lr=lr),
        loss_function=EnergyLoss(),
        prepare_batch=PrepareBatch(),
        inferer=lambda x, n: n(x),
        non_blocking=False,
    )


def batch(size: int, seed: int = 0) -> dict[str, Any]:
    made = torch.Generator().manual_seed(seed)
    return {
        "image": torch.randn(size, 1, 8, 8, generator=made),
        "label": torch.randint(0, 2, (size, 1, 8, 8), generator=made, dtype=torch.uint8),
        "case": [f"case {n}" for n in range(size)],
    }


def go(engine: Any, step: TrainingStep, data: dict[str, Any]) -> float:
    engine.state.iteration += 1
    return float(step(engine, data)["loss"])


def test_accumulated_batches_are_one_larger_batch() -> None:
    """Four batches of one move the weights as one batch of four."""
    data = batch(4)
    parts = [{key: value[n : n + 1] for key, value in data.items()} for n in range(4)]
    one, many = trainer(network(), epoch_length=1), trainer(network(), epoch_length=4)
    go(one, TrainingStep(), data)
    step = TrainingStep(accumulate=4)
    for part in parts:
        go(many, step, part)
    for a, b in zip(one.network.parameters(), many.network.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_last_batches_of_an_epoch_are_a_step() -> None:
    """Five batches, two at a time: three steps in every epoch, the last with its one batch's full gradient."""
    assert [group(i, 5, 2) for i in range(1, 11)] == [
        *[(1, 2)] * 2, *[(3, 4)] * 2, (5, 5), *[(6, 7)] * 2, *[(8, 9)] * 2, (10, 10),
    ]  # fmt: skip
    engine, alone = trainer(network(), epoch_length=3), trainer(network(), epoch_length=1)
    step = TrainingStep(accumulate=2, gradient_clip=None)
    engine.optimizer.param_groups[0]["lr"] = 0.0
    go(engine, step, batch(1, 1))
    go(engine, step, batch(1, 2))
    engine.optimizer.param_groups[0]["lr"] = 0.1
    go(engine, step, batch(1, 3))
    go(alone, TrainingStep(), batch(1, 3))
    for a, b in zip(engine.network.parameters(), alone.network.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_a_nan_stops_the_step_and_names_its_cases() -> None:
    """Before any weight moved."""
    engine = trainer(network())
    before = [p.detach().clone() for p in engine.network.parameters()]
    data = batch(2)
    data["image"][1, 0, 3, 3] = float("nan")
    with pytest.raises(NonFiniteError, match=r"epoch 1, step 1: the loss is nan \(case case 1\); look at"):
        go(engine, TrainingStep(), data)
    assert all(torch.equal(a, b) for a, b in zip(before, engine.network.parameters(), strict=True))


def test_an_infinite_gradient_stops_the_step() -> None:
    """A finite loss whose gradient is none moves nothing either."""

    class Steep(nn.Module):
        def forward(self, logits: torch.Tensor, *_: Any) -> torch.Tensor:
            return (logits - logits.detach()).abs().sqrt().sum()

    engine = trainer(network())
    engine.loss_function = Steep()
    with pytest.raises(NonFiniteError, match="the gradient is"):
        go(engine, TrainingStep(), batch(1))


def test_gradients_are_clipped() -> None:
    """The step is no longer than the learning rate times the clip."""
    engine = trainer(network(), lr=1.0)
    before = torch.cat([p.detach().flatten() for p in engine.network.parameters()])
    go(engine, TrainingStep(gradient_clip=1e-3), batch(2))
    after = torch.cat([p.detach().flatten() for p in engine.network.parameters()])
    assert float((after - before).norm()) == pytest.approx(1e-3, rel=1e-3)


def test_bf16_trains_on_the_cpu() -> None:
    """The logits are in half precision, the loss and the weights are not, and it falls."""
    engine = trainer(network())
    seen = []
    engine.inferer = lambda x, n: seen.append(n(x)) or seen[-1]
    step = TrainingStep(precision="bf16")
    losses = [go(engine, step, batch(4)) for _ in range(30)]
    assert seen[0].dtype == torch.bfloat16
    assert all(p.dtype == torch.float32 for p in engine.network.parameters())
    assert losses[-1] < 0.9 * losses[0]


def test_dropout_depends_on_the_iteration_alone() -> None:
    """Whatever was drawn before."""
    net = UNet(2, 1, 2, channels=(4, 8), norm=None, dropout=0.5)
    engine = trainer(net, lr=0.0)
    step = TrainingStep(seed=4)
    first = go(engine, step, batch(2))
    torch.rand(7)
    engine.state.iteration = 0
    assert go(engine, step, batch(2)) == first
    assert go(engine, step, batch(2)) != first


def test_the_average_follows_the_steps_of_the_optimiser() -> None:
    """Once for each, not for each batch."""
    net = network()
    average = Average(net)
    engine, step = trainer(net), TrainingStep(accumulate=2, average=average)
    for n in range(4):
        go(engine, step, batch(1, n))
    assert average.steps == 2


@pytest.mark.parametrize("error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()])
def test_lack_of_memory_names_the_settings(error: Exception) -> None:
    """Which keys to change, in one line; any other error stays what it is."""
    engine = trainer(network())

    def full(*_: Any) -> None:
        raise error

    engine.inferer = full
    with pytest.raises(MemoryLimitError, match=r"does not fit the memory of cpu; make training\.batch"):
        go(engine, TrainingStep(), batch(1))

    def wrong(*_: Any) -> None:
        raise RuntimeError("shapes differ")

    engine.inferer = wrong
    with pytest.raises(RuntimeError, match="shapes differ"):
        go(engine, TrainingStep(), batch(1))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_collapsed_scale_is_told() -> None:
    """fp16 that overflows whatever its scale stops with words instead of training nothing."""
    engine = trainer(network().cuda())
    engine.state.device = torch.device("cuda")
    engine.loss_function = lambda logits, *_: (logits.float() * 1e30).pow(2).sum() * 0 + logits.float().sum() * 1e38
    step = TrainingStep(precision="fp16")
    with pytest.raises(NonFiniteError, match="overflow in fp16 whatever"):
        for _ in range(200):
            go(engine, step, batch(1))
