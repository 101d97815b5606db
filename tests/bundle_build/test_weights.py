"""Weights: read from what holds them, held against the network, nothing executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from volseg.bundle.state_dict import as_state_dict, read_weights
from volseg.bundle.weights import as_safetensors, load_into, parse_safetensors
from volseg.errors import BundleError


def _network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


def test_checkpoint(tmp_path: Path) -> None:
    """A checkpoint of a training gives its averaged weights, or the network's own where there is no average."""
    own, averaged = _network().state_dict(), _network().state_dict()
    state = {"iteration": 3, "network": own, "average": {"steps": 3, "weights": averaged}}
    torch.save(state, tmp_path / "a.pt")
    torch.save({**state, "average": None}, tmp_path / "b.pt")
    assert torch.equal(read_weights(tmp_path / "a.pt")["0.weight"], averaged["0.weight"])
    assert torch.equal(read_weights(tmp_path / "b.pt")["0.weight"], own["0.weight"])


def test_one_order() -> None:
    """The bytes do not depend on the order in which the tensors come."""
    weights = _network().state_dict()
    other = dict(reversed(weights.items()))
    assert as_state_dict(weights) == as_state_dict(other)
    assert as_safetensors(weights) == as_safetensors(other)


@pytest.mark.parametrize("data", [b"", b"text", b"PK\x03\x04", pickle.dumps({"a": 1})])
def test_no_weights(data: bytes, tmp_path: Path) -> None:
    """What is no file of weights is told in a line, whatever its name."""
    for name in ("w.pt", "w.safetensors"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BundleError) as raised:
            read_weights(tmp_path / name)
        assert str(raised.value).startswith(str(tmp_path / name))
        assert "\n" not in str(raised.value)


def test_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a bundle may hold is refused, with the way to make it smaller; networks of GPUs are not."""
    weights = {"a": torch.zeros(11 * 2**20, dtype=torch.uint8)}
    assert len(as_safetensors(weights)) > 11 * 2**20
    monkeypatch.setattr("volseg.bundle.weights.LARGEST", 10 * 2**20)
    with pytest.raises(BundleError, match=r"would have 11\.0 MiB.* at most 10; choose fewer network\.channels"):
        as_safetensors(weights)


def test_strict() -> None:
    """Missing, foreign and non-finite weights are named, and the network stays as it was."""
    network = _network()
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    before = network[0].weight.clone()
    with pytest.raises(BundleError, match=r"1 missing \(0\.bias\), 1 too many \(else\)"):
        load_into(network, {**{k: v for k, v in weights.items() if k != "0.bias"}, "else": weights["0.bias"]}, "x")
    weights["0.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(BundleError, match=r"x: the weight 0\.weight holds NaN or infinity"):
        load_into(network, weights, "x")
    assert torch.equal(network[0].weight, before)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.complex64, torch.int64, torch.bool])
def test_numbers_of_another_kind(kind: torch.dtype) -> None:
    """Where a network computes with floats, only floats are weights, and only those that can be looked at."""
    network = _network()
    weights = {**network.state_dict(), "0.bias": torch.zeros(2).to(kind)}
    with pytest.raises(BundleError, match=r"0\.bias is of the type"):
        load_into(network, weights, "w")
    network.load_state_dict({**network.state_dict(), "0.bias": torch.ones(2)})
    load_into(network, {**network.state_dict(), "0.bias": torch.zeros(2, dtype=torch.bfloat16)}, "w")
    assert torch.equal(network.state_dict()["0.bias"], torch.zeros(2))


def test_a_name_that_is_no_name() -> None:
    """A weight's name can hold anything, and is told on one line."""
    weights = {**_network().state_dict(), "x\nverdict: data only\x1b[2J": torch.zeros(1)}
    with pytest.raises(BundleError) as raised:
        load_into(_network(), weights, "w")
    assert str(raised.value).isprintable()


def test_round_trip() -> None:
    """Safetensors bytes give the same tensors back."""
    weights = _network().state_dict()
    for name, value in parse_safetensors(as_safetensors(weights), "x").items():
        assert torch.equal(value, weights[name])
