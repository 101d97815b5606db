"""From a stored volume to its mask: every step against doing it by hand on the whole."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets import UNet as MonaiUNet

from volseg.errors import MemoryLimitError
from volseg.geometry import Grid
from volseg.inference import planner, predictor, ways
from volseg.inference.predictor import Predictor
from volseg.inference.stream import Decision
from volseg.inference.tta import turns
from volseg.io.volume import Volume
from volseg.labels import Labels
from volseg.networks import FCN, UNet
from volseg.recipe.postprocessing import Postprocessing
from volseg.transforms.preparation import Preparation

LABELS = Labels.of({"a": 1, "b": 5})
DECISION = Decision((0, 1, 5))
PREPARATION = Preparation(axcodes="RAS", spacing=(1.9, 1.6, 3.5))


def network(seed: int, **settings: object) -> UNet:
    torch.manual_seed(seed)
    return UNet(3, 1, 3, **{"channels": (4, 6, 8), **settings}).eval()


@pytest.fixture(scope="module")
def volume() -> Volume:
    """Stored left-posterior-superior, anisotropic, of odd sizes."""
    rng = np.random.default_rng(0)
    grid = Grid.from_spacing((19, 23, 9), (1.4, 1.4, 3.0)).reoriented("LPS").target
    return Volume(rng.normal(size=grid.shape).astype(np.float32), grid)


def by_hand(volume: Volume, networks: list[UNet], flips: tuple[int, ...] = ()) -> np.ndarray:
    """Everything at once: prepare, mirror up to a valid size, one pass, average, interpolate, decide, turn back."""
    prepared = PREPARATION.image([volume])
    x = prepared.image[None]
    shape = x.shape[2:]
    for axis, n in enumerate(shape):
        index = np.pad(np.arange(n), (0, -n % 4), mode="reflect")
        x = x.index_select(axis + 2, torch.from_numpy(index))
    several = len(networks) > 1 or bool(flips)
    total = []
    with torch.inference_mode():
        for net in networks:
            for mirrored in [(), tuple(a + 2 for a in flips)] if flips else [()]:
                logits = net(x.flip(mirrored)).flip(mirrored)
                total.append(logits.softmax(1) if several else logits)
    logits = torch.stack(total).mean(0)[(..., *(slice(0, n) for n in shape))]
    logits = F.interpolate(logits, prepared.turn.target.shape, mode="trilinear", align_corners=False)
    labels = np.array([0, 1, 5], dtype=np.uint8)[logits[0].argmax(0).numpy()]
    return prepared.turn.inverse().apply(labels)


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    return float((a == b).mean())


def test_a_mask_is_what_one_pass_gives_on_the_images_own_grid(volume: Volume) -> None:
    """Orientation, spacing, borders, decision: the mask of doing it by hand, on exactly the image's grid."""
    net = network(0)
    prediction = Predictor([net], PREPARATION, DECISION, LABELS)([volume])
    assert prediction.grid == volume.grid
    assert prediction.labels.dtype == np.uint8
    assert agreement(prediction.labels, by_hand(volume, [net])) > 0.9995
    assert set(np.unique(prediction.labels)) <= {0, 1, 5}
    assert set(prediction.seconds) == {"prepare", "network", "finish"}


def test_too_little_memory_is_told_of_the_whole_ensemble(volume: Volume) -> None:
    """Two networks share what is allowed: the amount in the error is the one to allow for both, and does."""
    two = [network(0), network(1)]
    small = Predictor(two, PREPARATION, DECISION, LABELS, max_memory="1MiB")
    for work in (lambda: small.needs(volume.grid, 1), lambda: small([volume])):
        with pytest.raises(MemoryLimitError, match=r"does not fit 1 MiB; allow at least \d+ MiB") as told:
            work()
    least = 1 + int(str(told.value).split()[-2])
    enough = Predictor(two, PREPARATION, DECISION, LABELS, max_memory=f"{least}MiB")
    assert enough([volume]).grid == volume.grid


@pytest.mark.parametrize("tile", [(4, 4, 4), (8, 64, 64)])
def test_pieces_do_not_show(volume: Volume, tile: tuple[int, ...]) -> None:
    """The mask does not depend on the size of the pieces."""
    net = network(1)
    whole = Predictor([net], PREPARATION, DECISION, LABELS)([volume])
    pieces = Predictor([net], PREPARATION, DECISION, LABELS, tile=tile)([volume])
    assert agreement(whole.labels, pieces.labels) > 0.9995


def test_ensemble_and_mirrored_copies_are_averaged_in_probability(volume: Volume) -> None:
    """Two networks, each seeing the image and its mirror image: the mean of four softmaxes."""
    nets = [network(2), network(3)]
    symmetric = turns(3, flips=(0,))
    prediction = Predictor(nets, PREPARATION, DECISION, LABELS, turns=symmetric)([volume], keep_probabilities=True)
    assert agreement(prediction.labels, by_hand(volume, nets, flips=(0,))) > 0.9995
    assert prediction.probabilities is not None
    assert prediction.probabilities.shape == (3, *volume.grid.shape)
    assert np.abs(prediction.probabilities.sum(axis=0).astype(int) - 255).max() <= 2


def foreign(dims: int) -> torch.nn.Module:
    network = MonaiUNet(dims, 1, 3, channels=(4, 8), strides=(2,), norm="batch")
    network.spatial_dims = dims  # as the network of a recipe tells
    return network


def fully_convolutional(dims: int) -> torch.nn.Module:
    return FCN(dims, 1, 3, channels=(4, 4, 4, 4, 4), convs_per_stage=(1,) * 5, classifier_channels=8)


@pytest.mark.parametrize(
    ("make", "stride", "dims", "settings"),
    [
        (fully_convolutional, 32, 2, {"flips": (0,)}),
        (foreign, 2, 2, {"planes": [(0, 1)]}),
        (foreign, 2, 3, {"flips": (0, 2)}),
    ],
)
def test_any_network_is_averaged_over_turned_copies(
    volume: Volume, make: Callable[[int], torch.nn.Module], stride: int, dims: int, settings: dict[str, Any]
) -> None:
    """One that is no U-Net of ours too, over the volume or slice by slice: the mean of the softmaxes."""
    torch.manual_seed(0)
    net, symmetric, preparation = make(dims).eval(), turns(dims, **settings), Preparation()
    mirrored = Predictor([net], preparation, DECISION, LABELS, turns=symmetric)
    prediction = mirrored([volume], keep_probabilities=True)
    x = preparation.image([volume]).image[None]
    x = x if dims == 3 else x[0].movedim(-1, 0)
    shape = x.shape[2:]
    for axis, n in enumerate(shape):
        x = x.index_select(axis + 2, torch.from_numpy(np.pad(np.arange(n), (0, -n % stride), mode="reflect")))
    with torch.inference_mode():
        each = [turn.inverse().apply(net(turn.apply(x))).softmax(1) for turn in symmetric]
    expected = torch.stack(each).mean(0)[(..., *(slice(0, n) for n in shape))]
    expected = expected[0] if dims == 3 else expected.movedim(0, -1)
    assert prediction.probabilities is not None
    assert np.abs(prediction.probabilities / 255 - expected.numpy()).max() <= 0.6 / 255


def limits_given(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """A list of the memory that each member may take, filled as they begin."""
    streamed, seen = predictor.stream_logits, []

    def listening(*args: Any, **options: Any) -> Any:
        seen.append(options["max_memory"])
        return streamed(*args, **options)

    monkeypatch.setattr(predictor, "stream_logits", listening)
    return seen


def test_the_members_share_the_memory(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit is for all of them together; what the libraries take is taken once, however many they are."""
    seen = limits_given(monkeypatch)
    many = Predictor([network(0)] * 30, PREPARATION, DECISION, LABELS, max_memory="1GiB")
    assert many([volume]).grid == volume.grid
    once = planner.libraries(torch.device("cpu"))
    assert seen == [(2**30 - once) // 30 + once] * 30
    needed, one = many.needs(volume.grid, 1), Predictor([network(0)], PREPARATION, DECISION, LABELS)
    assert needed == 30 * (one.needs(volume.grid, 1) - once) + once


def test_without_a_limit_members_share_what_is_left(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they do not fit side by side; not where there is room for all, nor where their shares are too small."""
    seen, left = limits_given(monkeypatch), [1 << 40]
    for module in (predictor, planner, ways.whole):
        monkeypatch.setattr(module, "available", lambda _: left[0])
    two = Predictor([network(s, norm="instance") for s in (0, 1)], PREPARATION, DECISION, LABELS)
    room = two.needs(volume.grid, 1)
    assert room is not None
    once = planner.libraries(torch.device("cpu"))
    for left[0], each in ((room, None), (room - 2, (room - 2 - once) // 2 + once), (1000, None)):
        seen.clear()
        assert two([volume]).grid == volume.grid
        assert seen == [each, each]


def test_a_member_that_finds_less_memory_goes_in_thinner_slabs(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on as they were; the mask is the same."""
    two = Predictor([network(s, norm="instance", channels=(4, 6)) for s in (0, 1)], PREPARATION, DECISION, LABELS)
    expected, passes = two([volume]).labels, itertools.count()
    at_once, by_rows = ways.whole.whole_pass, ways.rowwise

    def full(*args: Any) -> Any:
        if next(passes):
            raise MemoryError
        return at_once(*args)

    monkeypatch.setattr(ways.whole, "whole_pass", full)
    monkeypatch.setattr(ways, "rowwise", lambda *args, **options: by_rows(*args, **options | {"rows": 4}))
    assert agreement(two([volume]).labels, expected) > 0.9995
    assert next(passes) == 2


def test_postprocessing_happens_on_the_images_grid(volume: Volume) -> None:
    """Only the largest part of a structure is left."""
    from scipy import ndimage

    steps = {"a": Postprocessing(largest_component=True)}
    plain = Predictor([network(0)], PREPARATION, DECISION, LABELS)([volume]).labels
    labels = Predictor([network(0)], PREPARATION, DECISION, LABELS, steps=steps)([volume]).labels
    before, after = (ndimage.label(mask == 1, np.ones((3, 3, 3)))[1] for mask in (plain, labels))
    assert before > 1
    assert after == 1


def test_a_flat_network_takes_a_volume_slice_by_slice(volume: Volume) -> None:
    """A 2-D network over a volume gives what it gives for each slice alone."""
    torch.manual_seed(0)
    net = UNet(2, 1, 3, channels=(4, 6)).eval()
    preparation = Preparation()
    labels = Predictor([net], preparation, DECISION, LABELS)([volume]).labels
    image = preparation.image([volume]).image
    with torch.inference_mode():
        for k in range(volume.grid.shape[2]):
            plane = F.pad(image[None, ..., k], (0, 1, 0, 1), mode="reflect")
            expected = np.array([0, 1, 5])[net(plane)[0, :, :19, :23].argmax(0).numpy()]
            assert agreement(labels[..., k], expected) > 0.995
