"""Transforms of cases (MONAI dictionary transforms) and of batches, each a thin shell over pure functions."""

from __future__ import annotations

from volseg.transforms.coordinates import CoordinateMap
from volseg.transforms.elastic import Deformation, GridElastic, RandGridElasticd
from volseg.transforms.instances import SeparateInstancesd, components, separate
from volseg.transforms.mirror import MirrorPadd, mirror_pad
from volseg.transforms.motion import Motion, move_batch
from volseg.transforms.rand_intensity import Intensities, IntensityChange, RandIntensityd, change_batch
from volseg.transforms.randomness import generator, reseed
from volseg.transforms.resample import warp, warp_batch
from volseg.transforms.spatial import RandSpatiald, Spatial
from volseg.transforms.weight_map import BorderWeightMapd, border_weights, class_weights, weight_map

__all__ = [
    "BorderWeightMapd",
    "CoordinateMap",
    "Deformation",
    "GridElastic",
    "Intensities",
    "IntensityChange",
    "MirrorPadd",
    "Motion",
    "RandGridElasticd",
    "RandIntensityd",
    "RandSpatiald",
    "SeparateInstancesd",
    "Spatial",
    "border_weights",
    "change_batch",
    "class_weights",
    "components",
    "generator",
    "mirror_pad",
    "move_batch",
    "reseed",
    "separate",
    "warp",
    "warp_batch",
    "weight_map",
]
