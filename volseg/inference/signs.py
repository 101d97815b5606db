"""Signs of how far a mask can be trusted, counted while its pieces pass: nothing of full size is kept.

Each network is looked at by itself, its mirrored and turned copies held against each other, and networks are averaged.
So the signs mean the same for one network that never saw a case and for an ensemble of several.
"""

from __future__ import annotations

from math import log

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from volseg.inference.stream import Decision
from volseg.labels import Labels

# an error smaller than this is not told from none: the logarithm of errors must not look into the noise
_SMALLEST_ERROR = 0.01
# a voxel of the mask below this probability was decided in hesitation
_SURE = 0.8

#: what is counted for one network alone, and what needs copies of it to disagree
ALONE = ("doubt", "hesitation", "crumbs", "size")
TOGETHER = ("disagreement", "spread")


class Signs:
    """The signs of one prediction, structure by structure.

    ``doubt`` is the error of Dice that the probabilities themselves expect, ``hesitation`` the share of the mask where
    they are low, ``disagreement`` the error of Dice between mirrored copies and ``spread`` the deviation of their
    volumes; ``crumbs`` is the share of the mask outside its largest part and ``size`` its volume. All but ``crumbs``
    are logarithms.

    Args:
        decision: how channels become labels.
        labels: the structures.
        networks: how many.
        turns: copies of each, its own among them.
    """

    def __init__(self, decision: Decision, labels: Labels, networks: int, turns: int) -> None:
        argmax = decision.kind == "argmax"
        self.labels = labels
        self.names = labels.names if argmax else tuple(labels.regions)
        self._first = 1 if argmax else 0
        self._argmax = argmax
        self._networks, self._turns = networks, turns
        members, structures = networks * turns, len(self.names)
        self._mass = np.zeros((members, structures))  # of probabilities
        self._inside = np.zeros((members, structures))  # of them, on the member's own mask
        self._voxels = np.zeros((members, structures))  # of the member's own mask
        self._hesitant = np.zeros((members, structures))  # of these, those below what counts as sure
        self._common = np.zeros((networks, turns, turns, structures))
        self._masks: list[Tensor] = []

    @property
    def kinds(self) -> tuple[str, ...]:
        """Which signs there are: copies can disagree only where there are several."""
        return ALONE if self._turns == 1 else (*ALONE, *TOGETHER)

    def see(self, member: int, probabilities: Tensor) -> None:
        """Count one member's piece: (channels, *piece). Members of a piece come in their order."""
        shares = probabilities[self._first :]
        if self._argmax:
            best = probabilities.argmax(dim=0)
            masks = torch.stack([best == channel for channel in range(1, len(probabilities))])
        else:
            masks = shares > 0.5
        self._mass[member] += _sums(shares)
        self._inside[member] += _sums(shares * masks)
        self._voxels[member] += _sums(masks)
        self._hesitant[member] += _sums(masks & (shares < _SURE))
        network, turn = divmod(member, self._turns)
        if self._turns > 1:
            self._masks = self._masks if turn else []
            for other, mask in enumerate(self._masks):
                self._common[network, other, turn] += _sums(mask & masks)
            self._masks.append(masks)

    def told(self, mask: npt.NDArray[np.unsignedinteger], voxel_volume: float) -> dict[str, dict[str, float]]:
        """The signs by structure, once every piece was seen.

        Args:
            mask: the label map that came of it, before anything was cleaned up.
            voxel_volume: of its grid, in cubic (2-D: square) millimetres.
        """
        found: dict[str, dict[str, float]] = {}
        for number, name in enumerate(self.names):
            signs = self._of_networks(number)
            there = self.labels.mask(mask, name)
            signs["crumbs"] = crumbs(there)
            signs["size"] = log(1 + int(there.sum()) * voxel_volume)
            found[name] = {kind: float(signs[kind]) for kind in self.kinds}
        return found

    def _of_networks(self, number: int) -> dict[str, float]:
        voxels, mass = self._voxels[:, number], self._mass[:, number]
        expected = np.divide(2 * self._inside[:, number], mass + voxels, out=np.zeros_like(mass), where=voxels > 0)
        signs = {
            "doubt": float(np.mean([error(dice) for dice in expected])),
            # of an empty mask everything was decided in hesitation
            "hesitation": float(np.mean(np.log((self._hesitant[:, number] + 1) / (voxels + 1)))),
        }
        if self._turns > 1:
            pairs = [(a, b) for a in range(self._turns) for b in range(a + 1, self._turns)]
            of_turns = voxels.reshape(self._networks, self._turns)
            agreement = [
                error(_dice(self._common[network, a, b, number], of_turns[network, a], of_turns[network, b]))
                for network in range(self._networks)
                for a, b in pairs
            ]
            relative = of_turns.std(axis=1) / np.maximum(of_turns.mean(axis=1), 1)
            signs |= {"disagreement": float(np.mean(agreement)), "spread": float(np.mean(np.log(relative + 1e-3)))}
        return signs


def error(dice: float) -> float:
    """How far Dice is from 1, as a logarithm: half the error is the same step wherever it began.

    >>> round(error(0.9) - error(0.8), 2), error(1.0) < error(0.9) < error(0.0)
    (-0.65, True)
    """
    return log(1 - dice + _SMALLEST_ERROR)


def dice_of(value: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The Dice that :func:`error` tells, between 0 and 1.

    >>> float(dice_of(error(0.75)).round(6))
    0.75
    """
    return np.clip(1 + _SMALLEST_ERROR - np.exp(np.asarray(value, dtype=np.float64)), 0.0, 1.0)


def crumbs(mask: npt.NDArray[np.bool_]) -> float:
    """The share of a mask that is not in its largest connected part; 0 where it is empty.

    >>> crumbs(np.array([True, True, True, False, True]))
    0.25
    """
    if not mask.any():
        return 0.0
    inside = mask[ndimage.find_objects(mask.astype(np.uint8))[0]]
    parts, count = ndimage.label(inside, np.ones((3,) * mask.ndim))
    sizes = np.bincount(parts.ravel())[1:]
    return float(1 - sizes.max() / sizes.sum()) if count > 1 else 0.0


def _sums(channels: Tensor) -> npt.NDArray[np.float64]:
    summed: npt.NDArray[np.float64] = channels.flatten(1).sum(dim=1, dtype=torch.float64).cpu().numpy()
    return summed


def _dice(common: float, one: float, other: float) -> float:
    return 2 * common / (one + other) if one + other > 0 else 0.0
