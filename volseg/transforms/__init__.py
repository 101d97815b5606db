"""Transforms of cases (MONAI dictionary transforms) and of batches, each a thin shell over pure functions.

Names are loaded when they are first asked for: what prediction needs of this package needs no MONAI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from volseg.later import later

if TYPE_CHECKING:
    from volseg.transforms.coordinates import CoordinateMap
    from volseg.transforms.elastic import Deformation, GridElastic, RandGridElasticd
    from volseg.transforms.instances import SeparateInstancesd, components, separate
    from volseg.transforms.mirror import MirrorPadd, mirror_pad
    from volseg.transforms.motion import Motion, move_batch
    from volseg.transforms.rand_intensity import Intensities, IntensityChange, RandIntensityd, change_batch
    from volseg.transforms.randomness import generator, reseed
    from volseg.transforms.resample import warp, warp_batch
    from volseg.transforms.spatial import RandSpatiald, Spatial
    from volseg.transforms.weight_map import BorderWeightMapd, border_weights, class_weights

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
]

__getattr__ = later(
    __name__,
    {
        "BorderWeightMapd": "volseg.transforms.weight_map",
        "CoordinateMap": "volseg.transforms.coordinates",
        "Deformation": "volseg.transforms.elastic",
        "GridElastic": "volseg.transforms.elastic",
        "Intensities": "volseg.transforms.rand_intensity",
        "IntensityChange": "volseg.transforms.rand_intensity",
        "MirrorPadd": "volseg.transforms.mirror",
        "Motion": "volseg.transforms.motion",
        "RandGridElasticd": "volseg.transforms.elastic",
        "RandIntensityd": "volseg.transforms.rand_intensity",
        "RandSpatiald": "volseg.transforms.spatial",
        "SeparateInstancesd": "volseg.transforms.instances",
        "Spatial": "volseg.transforms.spatial",
        "border_weights": "volseg.transforms.weight_map",
        "change_batch": "volseg.transforms.rand_intensity",
        "class_weights": "volseg.transforms.weight_map",
        "components": "volseg.transforms.instances",
        "generator": "volseg.transforms.randomness",
        "mirror_pad": "volseg.transforms.mirror",
        "move_batch": "volseg.transforms.motion",
        "reseed": "volseg.transforms.randomness",
        "separate": "volseg.transforms.instances",
        "warp": "volseg.transforms.resample",
        "warp_batch": "volseg.transforms.resample",
    },
)
