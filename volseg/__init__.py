"""volseg: volumetric segmentation with the U-Net family, on MONAI and PyTorch.

Names are loaded when they are first asked for, so that ``import volseg`` is quick and loads no torch; their types are
in ``__init__.pyi``.
"""

from importlib import import_module

from volseg.errors import VolsegError

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


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'volseg' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_LATER[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
