"""volseg: volumetric segmentation with the U-Net family, on MONAI and PyTorch.

Names are loaded when they are first asked for, so that ``import volseg`` is quick and loads no torch; their types are
in ``__init__.pyi``.
"""

from volseg.errors import VolsegError
from volseg.later import later

__version__ = "0.1.0"

_LATER = {
    "Bundle": "volseg.bundle.load",
    "Evaluation": "volseg.evaluation",
    "Grid": "volseg.geometry",
    "Segmentation": "volseg.prediction.segmentation",
    "evaluate": "volseg.evaluation",
    "load_bundle": "volseg.bundle.load",
    "read_volume": "volseg.io",
}

__all__ = ["VolsegError", "__version__", *_LATER]


__getattr__ = later(__name__, _LATER)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
