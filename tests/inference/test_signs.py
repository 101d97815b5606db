"""Signs of trust: what is counted piece by piece is what the whole volume has."""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch

from volseg.inference.signs import Signs, crumbs, dice_of, error
from volseg.inference.stream import Decision
from volseg.inference.tiling import Box
from volseg.inference.tta import averaged, watched
from volseg.labels import Labels

LABELS = Labels.of({"a": 1, "b": 2})
DECISION = Decision((0, 1, 2))


def logits(seed: int, shape: tuple[int, ...] = (3, 8, 6)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 3


def rows(x: torch.Tensor, step: int) -> list[tuple[Box, torch.Tensor]]:
    ends = range(0, x.shape[1], step)
    return [(Box((k, 0), (min(k + step, x.shape[1]), x.shape[2])), x[:, k : k + step]) for k in ends]


def told(members: list[torch.Tensor], networks: int, turns: int, step: int) -> dict[str, dict[str, float]]:
    signs = Signs(DECISION, LABELS, networks, turns)
    streams = [rows(x, step) for x in members]
    pieces = list(averaged(streams, DECISION, signs.see)) if len(members) > 1 else None
    if pieces is None:
        pieces = list(watched(streams[0], DECISION, signs.see))
    mask = torch.cat([channels for _, channels in pieces], dim=1).argmax(dim=0).numpy().astype(np.uint8)
    return signs.told(mask, 1.0)


@pytest.mark.parametrize("step", [1, 3, 8])
def test_pieces_do_not_show(step: int) -> None:
    """The signs of any division are those of the whole."""
    members = [logits(k) for k in range(4)]
    whole, parts = told(members, 2, 2, 8), told(members, 2, 2, step)
    assert whole.keys() == {"a", "b"}
    for name in whole:
        assert parts[name] == pytest.approx(whole[name], rel=1e-6)


def test_signs_are_what_they_say() -> None:
    """Expected Dice, hesitation, disagreement and spread by hand."""
    one, other = logits(1), logits(2)
    found = told([one, other], 1, 2, 8)["a"]
    shares = [x.softmax(dim=0) for x in (one, other)]
    masks = [(x.argmax(dim=0) == 1) for x in (one, other)]
    expected = [2 * float((p[1] * m).sum()) / float(p[1].sum() + m.sum()) for p, m in zip(shares, masks, strict=True)]
    assert found["doubt"] == pytest.approx(np.mean([log(1.01 - dice) for dice in expected]), rel=1e-5)
    hesitant = [float((m & (p[1] < 0.8)).sum() + 1) / float(m.sum() + 1) for p, m in zip(shares, masks, strict=True)]
    assert found["hesitation"] == pytest.approx(np.mean(np.log(hesitant)), rel=1e-6)
    dice = 2 * float((masks[0] & masks[1]).sum()) / float(masks[0].sum() + masks[1].sum())
    assert found["disagreement"] == pytest.approx(log(1.01 - dice), rel=1e-5)
    sizes = np.array([float(m.sum()) for m in masks])
    assert found["spread"] == pytest.approx(log(sizes.std() / sizes.mean() + 1e-3), rel=1e-5)


def test_networks_are_not_held_against_each_other() -> None:
    """Two equal networks have the signs of one: an ensemble's signs mean what one network's do."""
    pair = [logits(3), logits(4)]
    one, two = told(pair, 1, 2, 4), told([*pair, *pair], 2, 2, 4)
    for name in one:
        assert two[name] == pytest.approx(one[name])


def test_one_pass_alone_has_no_disagreement() -> None:
    """Without copies there is nothing to hold a network against."""
    assert set(told([logits(5)], 1, 1, 4)["a"]) == {"doubt", "hesitation", "crumbs", "size"}


def test_watching_changes_nothing() -> None:
    """Pieces are the same to the bit, watched or not."""
    x = rows(logits(6), 3)
    signs = Signs(DECISION, LABELS, 1, 1)
    for (box, before), (where, after) in zip(x, watched(x, DECISION, signs.see), strict=True):
        assert box == where
        assert torch.equal(before, after)


def test_regions_are_counted_by_their_own_channels() -> None:
    """Where channels overlap, each is a structure of its own and half is its border."""
    labels = Labels.of({"core": 1, "rim": 2}, regions={"whole": ["rim", "core"], "inner": ["core"]})
    decision = Decision((2, 1), "threshold")
    signs = Signs(decision, labels, 1, 1)
    x = torch.full((2, 4, 4), -9.0)
    x[0, :2], x[1, :1] = 9.0, 9.0
    list(watched(rows(x, 2), decision, signs.see))
    mask = decision.decide(x)
    found = signs.told(mask, 1.0)
    assert list(found) == ["whole", "inner"]
    assert (found["whole"]["size"], found["inner"]["size"]) == (pytest.approx(log(9)), pytest.approx(log(5)))
    assert found["inner"]["doubt"] == pytest.approx(log(0.01), abs=0.1)


def test_nothing_found_is_the_worst_sign() -> None:
    """A structure that nobody predicted has an expected Dice of 0 and is sure of no voxel; its copies never agree."""
    empty = torch.zeros(3, 8, 6)
    empty[0] = 9.0
    found = told([empty, empty], 1, 2, 4)["a"]
    assert found["doubt"] == found["disagreement"] == error(0.0)
    assert found["hesitation"] == found["crumbs"] == 0.0


def test_errors_and_back() -> None:
    """The logarithm of an error is the Dice it came from."""
    for dice in (0.0, 0.3, 0.9, 1.0):
        assert float(dice_of(error(dice))) == pytest.approx(dice)
    assert crumbs(np.zeros((3, 3), bool)) == 0.0
