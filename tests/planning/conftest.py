"""Fingerprints made up of numbers, and a measurement that is arithmetic: plans without reading or training anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import pytest

from volseg.data.fingerprint import Fingerprint
from volseg.data.fingerprint_case import CaseFingerprint
from volseg.data.fingerprint_intensity import LEVELS, ChannelFingerprint, Intensities
from volseg.data.fingerprint_modality import Guess
from volseg.data.fingerprint_names import Declared
from volseg.data.fingerprint_structure import Objects, StructureFingerprint
from volseg.planning.layers import products
from volseg.planning.measured import Measured
from volseg.planning.memory import step_memory
from volseg.recipe import Recipe


def structure(
    value: int,
    shape: Sequence[int],
    spacing: Sequence[float],
    *,
    at: float | Sequence[float] = 0.5,
    size: float = 0.3,
    mean: float = 100.0,
    neighbours: dict[int, float] | None = None,
    components: int = 1,
) -> StructureFingerprint:
    """A box of a share of the image around a place, both in shares of its axes."""
    field = [n * mm for n, mm in zip(shape, spacing, strict=True)]
    places = [at] * len(shape) if isinstance(at, float) else list(at)
    voxels = max(1, round(prod(n * size for n in shape)))
    return StructureFingerprint(
        value,
        voxels,
        voxels * prod(spacing) / (1000 if len(shape) == 3 else 100),
        components,
        1.0 / components,
        max(1, voxels // components),
        False,
        tuple(p * f for p, f in zip(places, field, strict=True)),
        tuple(max(mm, size * f) for f, mm in zip(field, spacing, strict=True)),
        mean,
        10.0,
        neighbours or {0: 1.0},
    )


@pytest.fixture
def case() -> Callable[..., CaseFingerprint]:
    """A case of a shape, a spacing and structures."""

    def make(
        name: str,
        shape: Sequence[int] = (40, 48, 40),
        spacing: Sequence[float] = (1.0, 1.0, 1.0),
        structures: Sequence[dict[str, Any]] = ({"value": 1},),
        *,
        patient: str = "",
        channels: int = 1,
        picture: bool = False,
        objects: Objects | None = None,
        labelled: bool = True,
        error: str | None = None,
    ) -> CaseFingerprint:
        grey = Intensities(100.0, 30.0, tuple(30.0 + 2 * level for level in LEVELS))
        channel = ChannelFingerprint(grey, grey if structures else None, True, 0.0)
        return CaseFingerprint(
            name,
            patient or name,
            shape=tuple(shape),
            spacing=tuple(spacing),
            axcodes="RAS"[: len(shape)],
            channels=(channel,) * channels,
            labelled=labelled,
            structures=tuple(
                structure(s["value"], shape, spacing, **{k: v for k, v in s.items() if k != "value"})
                for s in structures
            ),
            objects=objects,
            picture=picture,
            error=error,
        )

    return make


@pytest.fixture
def cohort_of() -> Callable[..., Fingerprint]:
    """The fingerprint of cases."""

    def make(cases: Sequence[CaseFingerprint], modality: Any = "MR", **declared: Any) -> Fingerprint:
        return Fingerprint("flat", tuple(cases), Guess(modality, "sure", "made up"), Declared(**declared))

    return make


@pytest.fixture
def measure() -> Callable[[Recipe], Measured]:
    """A machine of forty thousand million multiplications a second that takes what is predicted."""

    def work(recipe: Recipe) -> Measured:
        return Measured(3 * products(recipe) / 4e10, step_memory(recipe).peak, 0.5, 0.1, 10**6, "made up")

    return work
