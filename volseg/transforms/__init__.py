"""Transforms of cases (MONAI dictionary transforms) and of batches, each a thin shell over pure functions."""

from __future__ import annotations

from volseg.transforms.coordinates import CoordinateMap
from volseg.transforms.elastic import Deformation, GridElastic, RandGridElasticd
from volseg.transforms.randomness import generator, reseed
from volseg.transforms.resample import warp, warp_batch

__all__ = [
    "CoordinateMap",
    "Deformation",
    "GridElastic",
    "RandGridElasticd",
    "generator",
    "reseed",
    "warp",
    "warp_batch",
]
