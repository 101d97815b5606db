"""U-Nets a few rows at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volseg.errors import MemoryLimitError, UsageError
from volseg.inference.footprint import footprint
from volseg.inference.layers import Levels
from volseg.inference.levelwise import logits_rows
from volseg.inference.memory import counted_peak
from volseg.inference.planner import plan_rows
from volseg.inference.rowwise import rowwise

TOLERANCE = 1e-6

NETWORKS = [
    (1, {}),
    (2, {}),
    (3, {}),
    (2, {"channels": (4, 4, 8, 8), "norm": None, "activation": "leaky_relu"}),
    (3, {"strides": [(1, 2, 2), 2], "kernel_sizes": [(1, 3, 3), 3, 3]}),
    (3, {"strides": [(2, 2, 1), (1, 2, 2)], "residual": True, "activation": "gelu"}),
    (2, {"upsample": "linear", "residual": True, "kernel_sizes": 5}),
    (2, {"upsample": "linear", "strides": [3, 2]}),
    (3, {"channels": ((2, 4), (4, 8)), "up_keeps_channels": True, "up_bias": False}),
    (2, {"padding": "valid"}),
    (2, {"padding": "valid", "upsample": "linear", "residual": True, "convs_per_level": 1}),
    (3, {"padding": "valid", "channels": (4, 8)}),
    (2, {"convs_per_level": 3, "activation": "silu"}),
]


def together(pieces, shape):
    """The pieces as one tensor, and how often each voxel was given."""
    whole, count = None, torch.zeros(shape, dtype=torch.int64)
    for box, logits in pieces:
        if whole is None:
            whole = torch.full((*logits.shape[:2], *shape), torch.nan)
        whole[(..., *box.slices)] = logits
        count[box.slices] += 1
    return whole, count


@pytest.mark.parametrize(("dims", "kind"), NETWORKS)
@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_give_what_one_pass_gives(unet, one_pass, dims, kind, data):
    """Whatever the network, the volume's size, the axis and the number of rows: one pass, each voxel once."""
    torch.manual_seed(data.draw(st.integers(0, 99)))
    network = unet(dims, **kind)
    longest = {1: 120, 2: 60, 3: 26}[dims]
    shape = tuple(data.draw(st.integers(1, longest)) for _ in range(dims))
    axis = data.draw(st.integers(0, dims - 1))
    rows = data.draw(st.integers(1, longest))
    x = torch.randn(1, 1, *shape)
    reference = one_pass(network, x)
    logits, count = together(rowwise(x, Levels.of(network), rows=rows, axis=axis), shape)
    assert (count == 1).all()
    assert (logits - reference).abs().max() <= 3 * TOLERANCE * max(1.0, float(reference.abs().max()))


@pytest.mark.parametrize("replay", [0, 1, 2])
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 6, 8, 12, 24, 64])
def test_a_volume_is_the_same_at_every_size_of_slab(unet, one_pass, rows, replay):
    """Forced sizes differ from the one pass by at most a millionth of the largest logit, the labels by nothing."""
    network = unet(3, channels=(8, 16, 32))
    x = torch.randn(1, 1, 64, 48, 40)
    reference = one_pass(network, x)
    levels = Levels.of(network)
    with torch.inference_mode():
        chunks = logits_rows(levels, lambda a, b: x[:, :, a:b], 64, 0, rows, replay).chunks
        logits = torch.cat(list(chunks), dim=2)
    assert (logits - reference).abs().max() <= TOLERANCE * reference.abs().max()
    assert torch.equal(logits.argmax(1), reference.argmax(1))


def test_upper_levels_never_see_the_volume(unet, convolution_sizes):
    """With slabs of four rows no convolution of the two upper levels has more than a few rows at once."""
    network = unet(3)
    seen = convolution_sizes()
    x = torch.randn(1, 1, 64, 24, 24)
    with seen:
        pieces = list(rowwise(x, Levels.of(network), rows=4, axis=0))
    assert len(pieces) >= 8
    upper = [size for _, size in seen.sizes if size[1] >= 24 // 2]
    assert len(upper) > 100
    assert max(size[0] for size in upper) <= 8
    boxes = [box for box, _ in pieces]
    assert [box.start[0] for box in boxes] == sorted(box.start[0] for box in boxes)
    assert all(box.shape[1:] == (24, 24) for box in boxes)


def test_a_batch_passes_together(unet, one_pass):
    """Several images at once give what each gives alone."""
    network = unet(2)
    x = torch.randn(5, 1, 40, 36)
    logits, _ = together(rowwise(x, Levels.of(network), rows=8), (40, 36))
    assert (logits - one_pass(network, x)).abs().max() <= TOLERANCE * logits.abs().max()


@pytest.mark.parametrize("precision", [torch.bfloat16])
def test_lower_precision_folds_the_norm(unet, one_pass, precision):
    """In bfloat16 the logits are those of the network to bfloat16's precision, and float32 again."""
    network = unet(3)
    x = torch.randn(1, 1, 24, 20, 16)
    reference = one_pass(network, x)
    logits, _ = together(rowwise(x, Levels.of(network, precision), rows=4), (24, 20, 16))
    assert logits.dtype == torch.float32
    assert 0 < (logits - reference).abs().max() < 0.05 * reference.abs().max()


@pytest.mark.parametrize("kind", [{}, {"residual": True}, {"upsample": "linear"}, {"channels": (4, 8, 8, 8)}])
@pytest.mark.parametrize("replay", [0, 1])
def test_the_footprint_foretells_the_count(unet, kind, replay):
    """The predicted bytes are near what is alive when the same code runs: not below by much, not twice as much."""
    size = (64, 32, 32)
    levels = Levels.of(unet(3, classes=6, **kind).to("meta"))
    for rows in (4, 16):

        def work(rows=rows):
            read = lambda a, b: torch.empty(1, 1, b - a, *size[1:], device="meta")  # noqa: E731
            for chunk in logits_rows(levels, read, size[0], 0, rows, replay).chunks:
                del chunk

        counted = counted_peak(work)
        assert 0.7 * counted <= footprint(levels, size, 0, rows, replay) <= 2 * counted


def test_the_count_grows_with_the_slab_and_not_with_the_volume(unet):
    """Twice as many rows of volume take no more memory; twice as many rows at once do."""
    levels = Levels.of(unet(3).to("meta"))

    def peak(total, rows):
        read = lambda a, b: torch.empty(1, 1, b - a, 16, 16, device="meta")  # noqa: E731

        def work():
            for chunk in logits_rows(levels, read, total, 0, rows).chunks:
                del chunk

        return counted_peak(work)

    assert peak(256, 8) == peak(128, 8)
    assert peak(128, 32) > 1.3 * peak(128, 8)


def test_the_plan_keeps_to_the_budget(unet):
    """Less memory gives thinner slabs, then encoding twice, then an error that says what is needed."""
    levels = Levels.of(unet(3, channels=(16, 32, 64)))
    size = (256, 256, 256)
    free = plan_rows(levels, size, budget=None)
    plans = [plan_rows(levels, size, budget=free.bytes * share // 100) for share in (100, 80, 60)]
    assert [p.bytes for p in plans] == sorted((p.bytes for p in plans), reverse=True)
    assert all(p.bytes <= free.bytes * share // 100 for p, share in zip(plans, (100, 80, 60), strict=True))
    with pytest.raises(MemoryLimitError, match="allow at least"):
        plan_rows(levels, size, budget=1 << 20)


def test_a_network_in_training_is_refused(unet):
    """Its batch norms depend on more than the pieces."""
    with pytest.raises(UsageError, match="training mode"):
        Levels.of(unet(2).train())
