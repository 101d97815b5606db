"""volseg: volumetric segmentation with the U-Net family, on MONAI and PyTorch."""

from volseg.errors import VolsegError

__version__ = "0.1.0"

__all__ = ["VolsegError", "__version__"]
