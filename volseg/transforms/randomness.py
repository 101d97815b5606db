"""Random streams that depend on what is done, not on when: (seed, epoch, case, operation).

A worker process, a resumed training or a run on another number of devices draws the same numbers for the same case
of the same epoch, because nothing is drawn from a shared stream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from monai.transforms import Compose, Randomizable

#: Either kind serves wherever this package draws: MONAI hands transforms a ``RandomState``.
Random = np.random.Generator | np.random.RandomState


def seed_sequence(seed: int, epoch: int, case: str | int, operation: str) -> np.random.SeedSequence:
    """The entropy of one operation on one case in one epoch; the same on every machine and in every process."""
    words = hashlib.sha256(f"{seed}\x1f{epoch}\x1f{case}\x1f{operation}".encode()).digest()
    return np.random.SeedSequence(np.frombuffer(words, dtype="<u4").tolist())


def generator(seed: int, epoch: int, case: str | int, operation: str) -> np.random.Generator:
    """The random stream of one operation on one case in one epoch.

    >>> a, b = (generator(7, 3, "patient001", "elastic").normal() for _ in range(2))
    >>> a == b, a == generator(7, 4, "patient001", "elastic").normal()
    (True, False)
    """
    return np.random.Generator(np.random.Philox(seed_sequence(seed, epoch, case, operation)))


def reseed(transform: Any, seed: int, epoch: int, case: str | int) -> None:
    """Give every random transform in ``transform`` (a ``Compose``, however nested) its stream for this case and epoch.

    The operation's name is its position and class, so inserting a transform changes the streams behind it only.
    """
    for place, part in enumerate(_random_parts(transform)):
        bits = np.random.Philox(seed_sequence(seed, epoch, case, f"{place}:{type(part).__name__}"))
        part.set_random_state(state=np.random.RandomState(bits))


def _random_parts(transform: Any) -> Iterator[Any]:
    if isinstance(transform, Randomizable):
        yield transform  # a Compose before its parts: seeding it seeds them too, and theirs must be the last word
    if isinstance(transform, Compose):
        for part in transform.transforms:
            yield from _random_parts(part)
