"""Turned networks see in an image what the network sees in the turned image."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from volseg.errors import UsageError
from volseg.inference.stream import Decision
from volseg.inference.tiling import Box
from volseg.inference.tta import Turn, averaged, turned, turns
from volseg.networks import FCN, UNet

ALL = turns(3, flips=(0, 1, 2), planes=[(0, 1), (1, 2)])


def test_all_symmetries_of_a_cube_and_no_more() -> None:
    """Flips and right angles make the 48 symmetries of the cube, the 8 of the square, each once."""
    assert len(ALL) == len(set(ALL)) == 48
    assert len(turns(2, planes=[(0, 1)])) == 4
    assert turns(2) == (Turn.none(2),)
    assert ALL[0].is_none


@given(st.sampled_from(ALL), st.sampled_from(ALL))
def test_turns_are_a_group(first: Turn, second: Turn) -> None:
    """There and back is nothing, and two turns as one are the two after each other."""
    x = torch.arange(2 * 3 * 4).view(2, 3, 4)
    assert torch.equal(first.inverse().apply(first.apply(x, 0), 0), x)
    assert torch.equal(first.then(second).apply(x, 0), second.apply(first.apply(x, 0), 0))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"norm": "instance", "residual": True},
        {"padding": "valid", "norm": None, "channels": (3, 4)},
        {"upsample": "linear", "activation": "leaky_relu"},
    ],
)
@pytest.mark.parametrize("turn", [ALL[1], ALL[7], ALL[20], ALL[33], ALL[47]])
def test_turned_weights_are_turned_images(settings: dict[str, object], turn: Turn) -> None:
    """The U-Net with turned weights gives what turning, predicting and turning back gives."""
    torch.manual_seed(0)
    network = UNet(3, 2, 3, **{"channels": (3, 4, 5), **settings}).eval()
    for layer in network.modules():
        if isinstance(layer, torch.nn.BatchNorm3d):
            torch.nn.init.normal_(layer.running_mean)
    size = (16, 12, 20) if settings.get("padding") != "valid" else network.shape.input_size((6, 8, 4))
    x = torch.randn(1, 2, *size)
    with torch.inference_mode():
        expected = turn.inverse().apply(network(turn.apply(x)))
        torch.testing.assert_close(turned(network, turn)(x), expected, atol=2e-5, rtol=1e-5)


def test_a_foreign_network_is_wrapped() -> None:
    """What is no U-Net of ours is turned around its input and output."""
    conv = torch.nn.Conv2d(1, 1, (3, 5), padding=(1, 2))
    turn = Turn((1, 0), (False, True))
    x = torch.randn(1, 1, 6, 9)
    torch.testing.assert_close(turned(conv, turn)(x), turn.inverse().apply(conv(turn.apply(x))))
    assert turned(conv, Turn.none(2)) is conv
    network = FCN(2, 1, 3, channels=(2, 2, 2, 2, 2), classifier_channels=2)
    assert turned(network, Turn((0, 1), (False, True))).shape is network.shape  # it sees as far when it is mirrored


def test_unequal_axes_cannot_be_exchanged() -> None:
    """An anisotropic network may be mirrored but not turned between its unequal axes."""
    network = UNet(3, 1, 2, channels=(2, 3), kernel_sizes=[(3, 3, 1), 3], strides=[(2, 2, 1)])
    turned(network, Turn((1, 0, 2), (False, False, True)))
    with pytest.raises(UsageError, match="axes with different kernel sizes cannot be exchanged"):
        turned(network, Turn((2, 1, 0), (False, False, False)))


@given(st.data(), st.integers(0, 2), st.integers(2, 3))
def test_slabs_of_any_thickness_are_averaged(data: st.DataObject, axis: int, members: int) -> None:
    """Predictions that go over a volume in slabs of their own, or one pass, are averaged as the whole ones would be."""
    shape = (7, 6, 5)
    logits = torch.randn(members, 3, *shape)
    streams = []
    for one in logits:
        joints = [*sorted(data.draw(st.sets(st.integers(1, shape[axis] - 1)))), shape[axis]]
        boxes = [
            Box(
                tuple(a if i == axis else 0 for i in range(3)),
                tuple(b if i == axis else n for i, n in enumerate(shape)),
            )
            for a, b in zip([0, *joints], joints, strict=False)
        ]
        streams.append([(box, one[(slice(None), *box.slices)]) for box in boxes])
    mean, count = torch.zeros(3, *shape), torch.zeros(shape)
    for box, part in averaged(streams, Decision((0, 1, 2))):
        mean[(slice(None), *box.slices)] = part
        count[box.slices] += 1
    assert (count == 1).all()
    torch.testing.assert_close(mean, logits.softmax(1).mean(0))


def test_predictions_are_averaged_as_probabilities() -> None:
    """The mean of softmaxes, piece by piece; different pieces are refused."""
    first, second = torch.randn(3, 4), torch.randn(3, 4)
    box, other = Box((0,), (4,)), Box((1,), (5,))
    ((where, mean),) = averaged([[(box, first)], [(box, second)]], Decision((0, 1, 2)))
    assert where == box
    torch.testing.assert_close(mean, (first.softmax(0) + second.softmax(0)) / 2)
    tile, across = Box((0, 0), (2, 2)), Box((0, 0), (1, 4))
    for one, two in [
        ([(box, first)], [(other, second)]),
        ([(box, first)], [(box, second), (Box((4,), (8,)), second)]),
        ([(tile, torch.zeros(3, 2, 2))], [(across, torch.zeros(3, 1, 4))]),
    ]:
        with pytest.raises(UsageError, match="different pieces"):
            list(averaged([one, two], Decision((0, 1, 2))))
