"""Networks, on torch alone."""

from volseg.networks.fcn import FCN
from volseg.networks.unet import UNet

__all__ = ["FCN", "UNet"]
