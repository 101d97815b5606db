"""Learning rates: known values, and the same in torch's scheduler."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from volseg.engine.schedule import rate, scheduler
from volseg.errors import UsageError


@given(total=st.integers(1, 500), warmup=st.integers(0, 50), kind=st.sampled_from(["poly", "cosine", "constant"]))
def test_rates_rise_through_the_warmup_and_never_again(total: int, warmup: int, kind: str) -> None:
    """Every share is in 0 … 1, rising before the end of the warm-up and not after."""
    rates = [rate(step, total=total, schedule=kind, warmup=warmup) for step in range(total + warmup + 1)]
    assert all(0 <= r <= 1 for r in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


def test_known_values() -> None:
    """nnU-Net's poly and the half cosine, halfway."""
    assert rate(500, total=1000) == pytest.approx(0.5**0.9)
    assert rate(500, total=1000, schedule="cosine") == pytest.approx(0.5)
    assert rate(1000, total=1000) == 0
    with pytest.raises(UsageError, match="poly, cosine or constant"):
        rate(0, total=1, schedule="exponential")


def test_torch_follows_the_schedule() -> None:
    """Stepping the scheduler gives the learning rates that the formula names."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2)
    schedule = scheduler(optimizer, total=10, schedule="cosine", warmup=3)
    for step in range(10):
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2 * rate(step, total=10, schedule="cosine", warmup=3))
        optimizer.step()
        schedule.step()
