"""The key ``network``: the architecture, and what it does to sizes."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from volseg.recipe.foreign import MonaiBasicUNet, MonaiDynUNet, MonaiSegResNet, MonaiUNet
from volseg.recipe.kinds import Default, PerLevel, Says, Whole, kind_of, must
from volseg.recipe.section import Section

Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu"]


class UNetNetwork(Section):
    """A U-Net, in two or three dimensions; the arguments of :class:`volseg.networks.UNet`."""

    kind: Literal["unet"] = Field("unet", description="U-Net")
    spatial_dims: Annotated[Literal[2, 3], Whole, Default("that of the images")] = Field(
        description="dimensions of the network; 2 on 3-D images works slice by slice along the last axis"
    )
    channels: Annotated[
        tuple[Annotated[int, Field(ge=1, le=65536)], ...],
        must(lambda c: 2 <= len(c) <= 12),
        Says("a list of two or more whole numbers, the channels of each level"),
    ] = Field((16, 32, 64, 128, 256), description="channels of each level, from the finest to the bottom")
    kernel_sizes: PerLevel = Field(
        3, description="size of the convolutions, odd: one, per level, or per level and axis"
    )
    strides: PerLevel = Field(
        2, description="stride between levels: one, per transition (a level fewer), or per transition and axis"
    )
    padding: Literal["same", "valid"] = Field(
        "same", description="'same' keeps the size; 'valid' is the paper's unpadded network with mirrored context"
    )
    norm: Literal["batch", "instance"] | None = Field("batch", description="normalisation after each convolution")
    activation: Activation = Field("relu", description="activation after each convolution")
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="dropout probability at the end of the contracting path"
    )
    residual: bool = Field(False, description="whether each level adds its input to its output")
    upsample: Literal["transposed", "linear"] = Field("transposed", description="how the expanding path grows")
    deep_supervision: bool = Field(False, description="whether the lower levels' outputs are trained as well")


class FCNNetwork(Section):
    """A fully convolutional network, the baseline; the arguments of :class:`volseg.networks.FCN`."""

    kind: Literal["fcn"] = Field(description="fully convolutional network")
    spatial_dims: Annotated[Literal[2, 3], Whole, Default("that of the images")] = Field(
        description="dimensions of the network; 2 on 3-D images works slice by slice along the last axis"
    )
    variant: Literal["32s", "16s", "8s"] = Field("8s", description="stride of the finest score layer")


Network = Annotated[
    Annotated[UNetNetwork, Tag("<unet>")]
    | Annotated[FCNNetwork, Tag("<fcn>")]
    | Annotated[MonaiUNet, Tag("<monai_unet>")]
    | Annotated[MonaiBasicUNet, Tag("<monai_basic_unet>")]
    | Annotated[MonaiDynUNet, Tag("<monai_dyn_unet>")]
    | Annotated[MonaiSegResNet, Tag("<monai_seg_res_net>")],
    kind_of("unet"),
]
