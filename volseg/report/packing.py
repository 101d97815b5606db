"""Voxels as text that a page carries: differences along the columns, deflated, base64."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import numpy.typing as npt

from volseg.report.scene import Scene


def packed(voxels: npt.NDArray[np.uint8]) -> str:
    """Bytes by slice, row and column; each but the first less the one before it, as browsers can undo fast.

    >>> packed(np.zeros((2, 2, 1), np.uint8))
    'eNpjYGBgAAAABAAB'
    """
    flat = voxels.ravel(order="F")
    return base64.b64encode(zlib.compress(np.diff(flat, prepend=flat.dtype.type(0)).tobytes(), 9)).decode("ascii")


def packed_size(scene: Scene) -> int:
    """The characters that the voxels of a scene take."""
    return sum(len(packed(voxels)) for voxels in (scene.image, scene.prediction, scene.truth) if voxels is not None)
