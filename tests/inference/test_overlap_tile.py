"""Exact pieces through MONAI's interface."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import nn

from volseg.errors import MemoryLimitError, NonFiniteError, SizeError, UsageError
from volseg.inference import OverlapTileInferer
from volseg.inference.mirrored import read_mirrored
from volseg.inference.pieces import stream_logits
from volseg.inference.probing import Reach, probe
from volseg.inference.tiling import Box
from volseg.networks.fcn import FCN


class Foreign(nn.Module):
    """A network that tells nothing of itself."""

    def __init__(self, network):
        super().__init__()
        self.inside = network
        self.seen = []

    def forward(self, x):
        assert type(x) is torch.Tensor
        self.seen.append(tuple(x.shape[2:]))
        return self.inside(x)


def test_it_is_an_inferer_that_needs_no_argument(unet, one_pass):
    """Any volseg network, any size, odd ones too: the logits of one pass, in place of a sliding window's."""
    inferer = OverlapTileInferer()
    assert isinstance(inferer, Inferer)
    for dims, shape in ((2, (45, 33)), (3, (21, 1, 30))):
        network, x = unet(dims, in_channels=2), torch.randn(2, 2, *shape)
        logits = inferer(x, network)
        reference = one_pass(network, x)
        assert logits.shape == reference.shape
        assert (logits - reference).abs().max() <= 1e-6 * reference.abs().max()


@pytest.mark.parametrize("tile", [1, 3, 8, 16, (5, 64, 64), (64, 4, 64), (64, 64, 8), 1000])
def test_the_result_does_not_depend_on_the_size_of_the_pieces(unet, tile):
    """Forced sizes, along any axis, give one result."""
    network, x = unet(3), torch.randn(1, 1, 40, 36, 44)
    whole = OverlapTileInferer()(x, network)
    logits = OverlapTileInferer(tile=tile)(x, network)
    assert (logits - whole).abs().max() <= 1e-6 * whole.abs().max()
    assert torch.equal(logits.argmax(1), whole.argmax(1))


def test_an_unpadded_network_sees_the_mirrored_volume(unet):
    """The paper's network on a mirrored image, whole, in slabs, and in tiles as a foreign network: all one result."""
    network = unet(2, padding="valid")
    margin, stride = network.shape.margin[0], network.shape.total_stride[0]
    x = torch.randn(1, 1, 90, 70)
    size = network.shape.input_size((90, 70))
    padded = np.pad(
        x.numpy(),
        [(0, 0), (0, 0), *((margin, s - n - margin) for s, n in zip(size, (90, 70), strict=True))],
        mode="reflect",
    )
    with torch.inference_mode():
        reference = network(torch.from_numpy(padded))[..., :90, :70]
    foreign = Foreign(network).eval()
    known = {"margin": margin, "stride": stride, "padding": "valid", "remainder": network.shape.axes[0].remainder}
    for logits in (
        OverlapTileInferer()(x, network),
        OverlapTileInferer(tile=16)(x, network),
        OverlapTileInferer(tile=16, **known)(x, foreign),
    ):
        assert (logits - reference).abs().max() <= 3e-6 * reference.abs().max()
    assert len(foreign.seen) >= 8
    assert max(size[0] for size in foreign.seen) < 90


def test_a_foreign_network_is_measured_and_tiled(unet, caplog):
    """Margin and stride are found by small passes; at least eight tiles, none of them the volume, one result."""
    network = unet(3, channels=(4, 8), convs_per_level=1)
    foreign = Foreign(network).eval()
    x = torch.randn(1, 1, 40, 32, 36)
    whole = OverlapTileInferer()(x, foreign)
    probed = len(foreign.seen)
    with caplog.at_level(logging.WARNING, logger="volseg"):
        logits = OverlapTileInferer(tile=8)(x, foreign)
    tiles = foreign.seen[probed:]
    assert len(tiles) == 5 * 4 * 5
    assert all(size[0] < 40 for size in tiles)
    assert (logits - whole).abs().max() <= 1e-6 * whole.abs().max()
    assert "read every voxel" in caplog.text
    assert "blend" in caplog.text


@pytest.mark.parametrize("kind", [{}, {"strides": [(1, 2, 2), 2]}, {"kernel_sizes": [(1, 3, 3), 3, 3]}])
def test_the_measured_reach_is_the_networks(unet, kind):
    """What NaN finds is what the arithmetic of the layers says: the stride to the voxel, the margin within a stride."""
    network = unet(3, **kind)
    found = probe(network, torch.zeros(1, 1, 1, 1, 1), 3)
    assert found.stride == network.shape.total_stride
    for margin, true, stride in zip(found.margin, network.shape.margin, found.stride, strict=True):
        assert true - stride <= margin <= true + stride
        assert -(-margin // stride) >= -(-true // stride)


@pytest.mark.parametrize("shape", [(40, 36), (37, 41)])
def test_a_network_that_sees_everything_takes_the_volume_whole(unet, one_pass, shape):
    """With instance norm no tile is exact: a foreign network gets one pass, mirrored up to a size it takes."""
    network = unet(2, norm="instance")
    x = torch.randn(1, 1, *shape)
    with torch.inference_mode():
        size = network.shape.input_size(shape)
        padded = np.pad(x.numpy(), [(0, 0), (0, 0), *((0, m - n) for m, n in zip(size, shape, strict=True))], "reflect")
        reference = network(torch.from_numpy(padded))[..., : shape[0], : shape[1]]
    foreign = Foreign(network).eval()
    assert torch.equal(OverlapTileInferer()(x, foreign), reference)
    assert foreign.seen[-1] == size
    assert torch.equal(OverlapTileInferer()(x, network), reference)


def test_a_network_that_sees_everything_and_does_not_fit_is_told_of_blending(unet):
    """Where one pass is beyond the memory, the way out is named; windows are taken only when asked for."""
    foreign = Foreign(unet(2, norm="instance")).eval()
    with pytest.raises(MemoryLimitError, match="blend"):
        OverlapTileInferer(max_memory="1MiB")(torch.zeros(1, 1, 32, 32), foreign)
    assert OverlapTileInferer(blend=True, tile=32)(torch.randn(1, 1, 50, 50), foreign).shape == (1, 3, 50, 50)


def test_a_network_that_takes_no_size_we_try_says_so():
    """One made for a single size of input is neither tiled nor guessed at."""

    class Fixed(nn.Module):
        def forward(self, x):
            return x * x.new_ones(1, 1, 50, 50).mean() - x.mean() if x.shape[-1] == 50 else x.view(-1, 50, 50)

    with pytest.raises(UsageError, match="blend"):
        OverlapTileInferer()(torch.zeros(1, 1, 60, 60), Fixed().eval())


def test_blend_is_monais_own(unet):
    """Asked to blend, the logits are those of MONAI's inferer."""
    from monai.inferers import SlidingWindowInferer

    network, x = unet(2), torch.randn(1, 1, 60, 44)
    with torch.inference_mode():
        theirs = SlidingWindowInferer(32, overlap=0.5, mode="gaussian")(x, network)
    assert torch.equal(OverlapTileInferer(tile=32, blend=True)(x, network), theirs)


@pytest.mark.parametrize("slice_axis", [-1, 0, 1, 2, -3])
@pytest.mark.parametrize("max_memory", [None, "400MiB"])
def test_a_2d_network_takes_the_slices_of_a_volume(unet, slice_axis, max_memory):
    """Slices fold into the batch; each comes out as it would alone."""
    network, x = unet(2), torch.randn(1, 1, 20, 28, 24)
    logits = OverlapTileInferer(slice_axis=slice_axis, max_memory=max_memory)(x, network)
    assert logits.shape == (1, 3, 20, 28, 24)
    dim = range(2, 5)[slice_axis]
    for index in (0, 7):
        alone = OverlapTileInferer()(x.select(dim, index), network)
        assert (logits.select(dim, index) - alone).abs().max() <= 1e-6 * logits.abs().max()


def test_a_foreign_2d_network_takes_slices_too(unet):
    """Given that it has two dimensions, a network that tells nothing takes a volume's slices in tiles."""
    network, x = unet(2, channels=(4, 8)), torch.randn(1, 1, 40, 28, 6)
    expected = OverlapTileInferer()(x, network)
    logits = OverlapTileInferer(spatial_dims=2, tile=16)(x, Foreign(network).eval())
    assert (logits - expected).abs().max() <= 3e-6 * expected.abs().max()


def test_the_fully_convolutional_network_is_tiled_by_what_it_knows():
    """Its margin and stride come from its own arithmetic."""
    network = FCN(2, 1, 3, variant="8s", channels=(4, 4, 4, 4, 4), classifier_channels=8).eval()
    assert Reach.of(network.shape).stride == (32, 32)
    x = torch.randn(1, 1, 500, 40)
    whole = OverlapTileInferer()(x, network)
    logits = OverlapTileInferer(tile=(64, 64))(x, network)
    assert (logits - whole).abs().max() <= 3e-6 * whole.abs().max()


def test_meta_tensors_stay_outside_the_network(unet):
    """The network sees a plain tensor; the result is a MetaTensor again, with the input's affine."""
    x = MetaTensor(torch.randn(1, 1, 16, 16), affine=torch.diag(torch.tensor([2.0, 2.0, 1.0, 1.0])))
    logits = OverlapTileInferer(margin=20, stride=4)(x, Foreign(unet(2)).eval())
    assert isinstance(logits, MetaTensor)
    assert torch.equal(logits.affine, x.affine)


def test_a_budget_is_kept_or_refused(unet):
    """A generous budget changes nothing in the result; an impossible one says what is needed."""
    network, x = unet(3), torch.randn(1, 1, 32, 32, 32)
    whole = OverlapTileInferer()(x, network)
    assert (OverlapTileInferer(max_memory="300MiB")(x, network) - whole).abs().max() <= 1e-6 * whole.abs().max()
    for model in (network, Foreign(network).eval()):
        with pytest.raises(MemoryLimitError, match="allow at least"):
            OverlapTileInferer(max_memory="1MiB")(x, model)


def test_pieces_cover_the_volume_in_order(unet):
    """The streaming interface gives slabs along the longest axis, first to last, as plain float32."""
    x = torch.randn(1, 20, 64, 24)
    pieces = list(stream_logits(x, unet(3), tile=(64, 8, 64)))
    assert len(pieces) >= 8
    assert next(box.start for box, _ in pieces) == (0, 0, 0)
    ends = [box.stop[1] for box, _ in pieces]
    assert ends == sorted(ends)
    assert ends[-1] == 64
    assert all(y.shape == (3, *box.shape) and y.dtype == torch.float32 for box, y in pieces)


def test_mirrored_reads_are_numpys_reflect():
    """A box that reaches outside by more than the volume's size reads what numpy pads."""
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    box = Box((-7, -2), (5, 9))
    expected = np.pad(x.numpy(), [(0, 0), (0, 0), (7, 2), (2, 5)], mode="reflect")
    assert np.array_equal(read_mirrored(x, box).numpy(), expected)
    assert np.array_equal(
        read_mirrored(torch.arange(2.0).reshape(2, 1)[:, None], Box((-3, 0), (5, 1)))[0].numpy().shape, (8, 1)
    )


def test_nothing_is_wrong_in_silence(unet):
    """NaN in the result, a network in training, sizes that mean nothing: each is one line."""
    network = unet(2)
    x = torch.zeros(1, 1, 16, 16)
    with pytest.raises(UsageError, match="training mode"):
        OverlapTileInferer()(x, unet(2).train())
    with pytest.raises(SizeError):
        OverlapTileInferer()(torch.zeros(1, 1, 16), network)
    with pytest.raises(UsageError, match="together"):
        OverlapTileInferer(margin=4)
    with pytest.raises(UsageError, match="tile"):
        OverlapTileInferer(tile=(4, 4, 4))(x, network)
    with pytest.raises(UsageError, match="precision"):
        OverlapTileInferer(precision="int8")(x, network)
    with pytest.raises(UsageError, match="expected"):
        OverlapTileInferer(margin=4, stride=4)(x, Foreign(nn.AvgPool2d(2)).eval())
    for axis in (3, -4):
        with pytest.raises(UsageError, match=f"no slice_axis {axis}; it is from -3 to 2"):
            OverlapTileInferer(slice_axis=axis)(torch.zeros(1, 1, 16, 16, 4), network)
    x[0, 0, 3, 3] = torch.nan
    with pytest.raises(NonFiniteError, match="NaN"):
        OverlapTileInferer()(x, network)
