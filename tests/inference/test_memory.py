"""What fits, and what happens when it does not."""

from __future__ import annotations

import itertools
import os
import resource
import subprocess
import sys
import textwrap

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from monai.networks.nets import UNet as MonaiUNet

from volseg.errors import MemoryLimitError, UsageError
from volseg.inference import allocator, halo, rowwise
from volseg.inference.layers import Conv
from volseg.inference.memory import counted_peak, parse_bytes, resident
from volseg.inference.pieces import needed_bytes, stream_logits
from volseg.inference.probing import Reach
from volseg.inference.stream import Decision, decide
from volseg.inference.tiling import Box
from volseg.recipe.units import readable_bytes


def test_amounts_of_memory():
    """Binary and decimal units are told apart; nonsense is refused."""
    assert [parse_bytes(t) for t in ("1GiB", "1gb", "1.5 MiB", 7)] == [2**30, 10**9, 3 * 2**19, 7]
    assert readable_bytes(parse_bytes("3GiB")) == "3.00 GiB"
    for wrong in ("much", "0", "-1GiB", "2 parsecs"):
        with pytest.raises(UsageError, match="amount of memory"):
            parse_bytes(wrong)


def test_the_count_sees_what_lives_and_what_dies():
    """The peak is the most that was alive at once, not the sum; views cost nothing."""

    def work():
        for _ in range(4):
            a = torch.empty(1000)
            b = a[1:] + 1
            del a
            b.view(-1)

    assert 8000 - 4 <= counted_peak(work) <= 12000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone has mallopt")
def test_the_allocator_can_be_told():
    """On Linux large blocks are kept, and given back when asked."""
    assert allocator.keep_large_blocks()
    assert allocator.keep_large_blocks()
    allocator.give_back()  # what other tests left
    before = resident()
    block = torch.ones(64 << 20, dtype=torch.uint8)
    assert resident() - before > 48 << 20
    del block
    allocator.give_back()
    assert resident() - before < 32 << 20


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory"), torch.cuda.OutOfMemoryError("x")],
)
def test_rows_go_on_when_memory_runs_out(unet, monkeypatch, error):
    """Memory that runs out in the middle makes slabs thinner; what was finished stays, what comes is the same."""
    network = unet(3)
    x = torch.randn(1, 48, 24, 20)
    reference = {box.start[0]: y for box, y in stream_logits(x, network, tile=1000)}[0]
    real, calls = Conv.__call__, []

    def tight(self, x, padding=None, onednn=False):
        calls.append(x.shape)
        if len(calls) > 25 and x.shape[2] > 8:
            raise error
        return real(self, x, padding, onednn)

    monkeypatch.setattr(Conv, "__call__", tight)
    pieces = list(stream_logits(x, network, tile=(12, 24, 20)))
    assert len(calls) > 25
    assert next(box.start[0] for box, _ in pieces) == 0
    logits = torch.cat([y for _, y in pieces], dim=1)
    assert logits.shape == reference.shape
    assert (logits - reference).abs().max() <= 1e-6 * reference.abs().max()
    assert len({box.shape[0] for box, _ in pieces}) > 1


def test_other_errors_are_not_taken_for_memory(unet, monkeypatch):
    """A bug is raised, not retried."""

    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(Conv, "__call__", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        list(stream_logits(torch.zeros(1, 16, 16), unet(2)))


def test_memory_that_never_suffices_is_an_error(unet, monkeypatch):
    """When even one row does not fit, one line says so."""

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(Conv, "__call__", full)
    with pytest.raises(MemoryLimitError):
        list(rowwise.rowwise(torch.zeros(1, 1, 16, 16), rowwise_levels(unet)))


def rowwise_levels(unet):
    from volseg.inference.layers import Levels

    return Levels.of(unet(2))


def test_tiles_are_halved_when_memory_runs_out(unet):
    """A tile that does not fit is parted on the stride grid; the logits are the same, each voxel once."""
    network = unet(2, padding="valid")
    refused = []

    def tight(x):
        if x.shape[-1] > 150:
            refused.append(x.shape)
            raise MemoryError
        return network(x)

    x = torch.randn(1, 1, 200, 190)
    reach = halo.Reach.of(network.shape)
    tell = {"device": torch.device("cpu")}
    count = torch.zeros(200, 190)
    whole = torch.cat([y for _, y in halo.halo(x, network, reach, **tell)])
    for box, logits in halo.halo(x, tight, reach, **tell):
        count[box.slices] += 1
        part = whole[(..., *box.slices)]
        assert (logits - part).abs().max() <= 3e-6 * whole.abs().max()
    assert refused
    assert (count == 1).all()
    with pytest.raises(MemoryLimitError):
        list(halo.halo(x, lambda x: (_ for _ in ()).throw(MemoryError()), reach, **tell))


@given(
    shape=st.tuples(*[st.integers(1, 24)] * 3),
    tile=st.none() | st.tuples(*[st.integers(1, 24)] * 3),
    onto=st.tuples(*[st.integers(1, 24)] * 3),
    fails=st.sets(st.integers(0, 20)),
)
@example(shape=(8, 8, 16), tile=None, onto=(8, 8, 16), fails={0, 1})
def test_whenever_memory_runs_out_the_labels_stay(shape, tile, onto, fails):
    """Whichever tiles do not fit, those that follow come in layers that can be decided one after the other."""
    calls = itertools.count()

    def tight(x):
        if next(calls) in fails and max(x.shape[2:]) > 2:
            raise MemoryError
        return torch.cat([x, -x], dim=1)

    x = torch.randn(1, 1, *shape)
    reach = Reach((0, 0, 0), (2, 2, 2), "same", (0, 0, 0))
    pieces = halo.halo(x, tight, reach, device=torch.device("cpu"), tile=tile or shape)
    decided = decide(((box, y[0]) for box, y in pieces), shape, Decision((0, 1)), onto=onto)
    whole = torch.cat([x, -x], dim=1)[0]
    expected = decide([(Box.whole(shape), whole)], shape, Decision((0, 1)), onto=onto)
    assert (decided.labels == expected.labels).all()


@pytest.mark.parametrize(
    ("left", "least", "most"), [("400MiB", 640 * 512, 640 * 512), ("190MiB", 33**2, 320 * 512), ("1MiB", 32**2, 32**2)]
)
def test_tiles_fit_what_the_machine_has_left(monkeypatch, left, least, most):
    """Without a limit too: in one tile only where there is room for it, and at last in the smallest there are."""
    for module in (halo, halo.whole):
        monkeypatch.setattr(module, "available", lambda _: parse_bytes(left))
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 32, 3, padding=1), torch.nn.Conv2d(32, 2, 3, padding=1)).eval()
    x = torch.randn(1, 640, 512)
    pieces = list(stream_logits(x, network, reach=Reach((2, 2), (32, 32), "same", (0, 0))))
    assert least <= max(box.size for box, _ in pieces) <= most
    with torch.inference_mode():
        expected = network(x[None])[0]
    for box, logits in pieces:
        assert (logits - expected[(slice(None), *box.slices)]).abs().max() <= 1e-6 * expected.abs().max()


SCRIPT = """
import resource, sys, torch
from volseg.networks.unet import UNet
from volseg.inference.memory import resident
from volseg.inference.pieces import needed_bytes, stream_logits
torch.set_num_threads(1)
torch.manual_seed(0)
network = UNet(3, 1, 4, channels=(16, 32, 64)).eval()
x = torch.randn(1, 96, 96, 96)
list(stream_logits(x[:, :8, :8, :8], network))
if len(sys.argv) > 1:
    used = int(open("/proc/self/statm").read().split()[0]) * 4096
    resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]), used + int(sys.argv[1])))
labels = torch.empty(96, 96, 96, dtype=torch.uint8)
sizes = set()
for box, logits in stream_logits(x, network, tile=96):
    labels[box.slices] = logits.argmax(0).to(torch.uint8)
    sizes.add(box.shape[0])
import hashlib
print(hashlib.sha256(labels.numpy().tobytes()).hexdigest(), max(sizes), len(sizes))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_AS"), reason="needs process limits")
def test_under_a_process_limit_the_labels_are_the_same():
    """A limit at a quarter of what one pass takes is met on the way; the case completes with equal labels."""

    def run(*limit):
        command = [sys.executable, "-c", textwrap.dedent(SCRIPT), *map(str, limit)]
        # the limit counts addresses, and each thread of a pool or an allocator reserves far more than it uses
        env = os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=env)
        assert done.returncode == 0, done.stderr
        digest, largest, kinds = done.stdout.split()
        return digest, int(largest), int(kinds)

    free, limited = run(), run(150 << 20)
    assert free[0] == limited[0]
    assert free[1] == 96
    assert limited[1] < 96


NETWORKS = {
    "by rows": lambda unet: unet(3),
    "by slices": lambda unet: unet(2),
    "at once": lambda unet: unet(3, norm="instance"),
    "by tiles": lambda unet: MonaiUNet(3, 1, 3, channels=(4, 8), strides=(2,)).eval(),
    "seeing everything": lambda unet: torch.nn.Sequential(torch.nn.InstanceNorm3d(1), torch.nn.Conv3d(1, 3, 1)).eval(),
}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS.keys())
@pytest.mark.parametrize("limit", [None, "170MiB"])
def test_what_is_needed_is_known_beforehand(unet, make, limit):
    """Without the volume: it bounds what the run takes, keeps to the limit, and a limit too small is refused."""
    network, shape = make(unet), (1, 48, 40, 36)
    needed = needed_bytes(shape, network, max_memory=limit)
    for _ in stream_logits(torch.randn(shape), network):  # whatever is measured or packed once
        pass
    assert counted_peak(lambda: [None for _ in stream_logits(torch.randn(shape), network, max_memory=limit)]) <= needed
    assert limit is None or needed <= parse_bytes(limit)
    with pytest.raises(MemoryLimitError):
        needed_bytes(shape, network, max_memory="20MiB")


def test_nobody_counts_windows(unet):
    """Overlapping windows are MONAI's own: what they need is not told."""
    assert needed_bytes((1, 40, 40, 40), unet(3), blend=True) is None
