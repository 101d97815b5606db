"""The average of the weights: its formula, its storage, and that the network gets its own back."""

from __future__ import annotations

import pytest
import torch

from volseg.engine.averaging import Average


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))


def test_the_average_is_the_recursion_it_claims() -> None:
    """Each update takes the share 1 - min(decay, (1 + n) / (10 + n)) of the new weights."""
    net = network()
    average, expected = Average(net, decay=0.5), net[0].weight.detach().clone()
    for step in range(1, 12):
        with torch.no_grad():
            net[0].weight.add_(1.0)
        average.update(net)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * net[0].weight.detach()
    torch.testing.assert_close(average.weights()["0.weight"], expected)


def test_the_network_gets_its_own_weights_back() -> None:
    """Even when what was done with the average fails."""
    net = network()
    average, own = Average(net), net[0].weight.detach().clone()
    with torch.no_grad():
        net[0].weight.mul_(3)
    with pytest.raises(ZeroDivisionError), average.worn_by(net):
        assert torch.equal(net[0].weight, own)
        _ = 1 / 0
    assert torch.equal(net[0].weight, 3 * own)


def test_the_average_survives_storage_to_the_bit() -> None:
    """A resumed average goes on as if never stored."""
    net = network()
    first = Average(net, decay=0.9)
    first.update(net)
    second = Average(network(), decay=0.9)
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        net[0].weight.add_(0.3)
    first.update(net)
    second.update(net)
    for name, value in first.weights().items():
        assert torch.equal(value, second.weights()[name])
