"""Networks, on torch alone."""

from volseg.networks.unet import UNet

__all__ = ["UNet"]
