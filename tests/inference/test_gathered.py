"""U-Nets with instance norm: whole where they fit, in slabs with their statistics gathered first where not."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volseg.errors import MemoryLimitError
from volseg.inference.footprint import gathered_footprint
from volseg.inference.gathered import gathered_rows
from volseg.inference.layers import Conv, Levels
from volseg.inference.memory import counted_peak
from volseg.inference.norms import Instance
from volseg.inference.pieces import stream_logits
from volseg.inference.planner import plan_rows
from volseg.inference.rowwise import rowwise

# instance norm divides by what it measures, which magnifies float32's roundings: two formats of one whole pass
# differ by up to 2.5e-6 of the largest logit, and each by up to 3.5e-6 from the pass in double precision
TOLERANCE = 5e-6

KINDS = [
    (3, {}),
    (3, {"residual": True, "strides": [(1, 2, 2), 2]}),
    (2, {"upsample": "linear", "activation": "leaky_relu"}),
    (2, {"padding": "valid", "channels": (4, 8)}),
    (3, {"convs_per_level": 1, "channels": (4, 8, 8, 16)}),
]


@pytest.fixture
def instance(unet):
    """A U-Net with instance norm whose scales are as after training."""

    def make(dims, **kind):
        network = unet(dims, norm="instance", **kind)
        for layer in network.modules():
            if isinstance(layer, torch.nn.InstanceNorm2d | torch.nn.InstanceNorm3d):
                torch.nn.init.uniform_(layer.weight, 0.7, 1.4)
                torch.nn.init.normal_(layer.bias, std=0.2)
        return network

    return make


@pytest.mark.parametrize(("dims", "kind"), KINDS)
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_slabs_give_what_one_pass_gives(instance, one_pass, dims, kind, data):
    """Whatever the network, the size, the axis, the slabs and how many levels they reach down."""
    torch.manual_seed(data.draw(st.integers(0, 99)))
    network = instance(dims, **kind)
    shape = tuple(data.draw(st.integers(9, {2: 50, 3: 22}[dims])) for _ in range(dims))
    axis = data.draw(st.integers(0, dims - 1))
    depth = data.draw(st.integers(0, network.shape.levels - 1))
    size = network.shape.input_size(shape)
    x = torch.randn(2, 1, *size)
    rows = data.draw(st.integers(1, size[axis]))
    with torch.inference_mode():
        reference = network(x)
        chunks = gathered_rows(
            Levels.of(network), lambda a, b: x.narrow(axis + 2, a, b - a), size[axis], axis, rows, depth
        ).chunks
        logits = torch.cat(list(chunks), dim=axis + 2)
    assert logits.shape == reference.shape
    assert (logits - reference).abs().max() <= TOLERANCE * max(1.0, float(reference.abs().max()))


def test_what_fits_is_the_networks_own_pass(instance):
    """Without a limit the logits are those of calling the network, to the bit."""
    network = instance(3)
    x = torch.randn(1, 24, 20, 16)
    with torch.inference_mode():
        reference = network(x[None])
    (piece,) = stream_logits(x, network)
    assert torch.equal(piece[1], reference[0])


def test_upper_levels_run_in_slabs(instance, one_pass, convolution_sizes):
    """With slabs asked for no convolution of the two upper levels sees more than a few rows, and labels agree."""
    network = instance(3)
    x = torch.randn(1, 64, 24, 24)
    reference = one_pass(network, x[None])[0]
    seen = convolution_sizes()
    with seen:
        pieces = list(stream_logits(x, network, tile=(4, 24, 24)))
    assert len(pieces) >= 8
    assert max(size[0] for _, size in seen.sizes if size[1] >= 12) <= 8
    logits = torch.cat([y for _, y in pieces], dim=1)
    difference = (logits - reference).abs().max()
    assert difference <= TOLERANCE * reference.abs().max()
    first, second = reference.topk(2, dim=0).values
    assert not ((logits.argmax(0) != reference.argmax(0)) & (first - second > 2 * difference)).any()


def test_statistics_in_pieces_are_those_of_the_whole():
    """Mean and variance gathered from uneven pieces far from zero, image by image, in double precision's sum."""
    x = torch.randn(2, 3, 20, 9, 7) * torch.tensor([1.0, 30.0, 0.01]).view(1, 3, 1, 1, 1) + 100
    norm = Instance(None, None, 1e-5)
    scale = norm.measured(x.split([1, 7, 12], dim=2))
    torch.testing.assert_close(scale.mean.double(), x.double().mean((2, 3, 4)), rtol=2e-7, atol=0)
    exact = x.double().var((2, 3, 4), correction=0)
    torch.testing.assert_close(scale.var.double(), exact, rtol=1e-5, atol=0)
    y = x.clone()
    norm.apply(y)
    torch.testing.assert_close(y, torch.nn.functional.instance_norm(x), rtol=1e-4, atol=2e-4)


def test_less_memory_gives_deeper_slabs(instance):
    """The plan goes from one piece to ever more levels in slabs, then an error says the need."""
    levels = Levels.of(instance(3, channels=(16, 32, 64)))
    size = (96, 64, 64)
    free = plan_rows(levels, size, budget=1 << 40)
    assert free.replay == 0
    assert free.rows == 96
    tight = plan_rows(levels, size, budget=free.bytes * 2 // 3)
    assert tight.replay > 0
    assert tight.bytes <= free.bytes * 2 // 3
    with pytest.raises(MemoryLimitError, match="allow at least"):
        plan_rows(levels, size, budget=1 << 20)


@pytest.mark.parametrize("kind", [{}, {"residual": True, "channels": (4, 8, 8, 8)}, {"upsample": "linear"}])
def test_the_footprint_foretells_the_count(instance, kind):
    """The predicted bytes are near what is alive when the same code runs, and slabs take ever less than one piece."""
    levels = Levels.of(instance(3, classes=6, **kind).to("meta"))
    size, counts = (48, 32, 32), []
    for rows, depth in ((48, 0), (8, 1), (8, 2)):

        def work(rows=rows, depth=depth):
            read = lambda a, b: torch.empty(1, 1, b - a, *size[1:], device="meta")  # noqa: E731
            for chunk in gathered_rows(levels, read, size[0], 0, rows, depth).chunks:
                del chunk

        counts.append(counted_peak(work))
        assert 0.7 * counts[-1] <= gathered_footprint(levels, size, 0, rows, depth) <= 2 * counts[-1]
    assert counts[0] > 1.5 * counts[1] > 1.5 * counts[2]


def test_memory_that_runs_out_takes_thinner_slabs(instance, monkeypatch, caplog):
    """One pass that fails is followed by slabs, those by thinner ones; the logits stay."""
    network = instance(3)
    x = torch.randn(1, 1, 48, 24, 20)
    reference = torch.cat([y for _, y in rowwise(x, Levels.of(network), rows=8, axis=0)], dim=2)
    real = Conv.__call__

    def tight(self, x, padding=None, onednn=False):
        if x.shape[2] > 20 and x[0, 0].numel() > 16 * 24 * 20:
            raise MemoryError
        return real(self, x, padding, onednn)

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(Conv, "__call__", tight)
    monkeypatch.setattr("volseg.inference.whole.whole_pass", full)
    with caplog.at_level(logging.WARNING, logger="volseg"):
        pieces = list(stream_logits(x[0], network, axis=0))
    assert "memory ran out" in caplog.text
    logits = torch.cat([y for _, y in pieces], dim=1)
    assert (logits - reference[0]).abs().max() <= TOLERANCE * reference.abs().max()
