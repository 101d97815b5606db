"""Networks of MONAI's, for weights from other laboratories: a closed list, with arguments that are data.

The keys are called as MONAI calls them; which class a kind stands for is in :mod:`volseg.engine.foreign`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Annotated, Literal

from pydantic import Field

from volseg.recipe.kinds import Count, Default, Positive, Share, Whole, must
from volseg.recipe.section import Section
from volseg.shapes import Size

Width = Annotated[int, Field(ge=1, le=65536)]
Widths = Annotated[tuple[Width, ...], Field(min_length=2, max_length=12)]
Blocks = Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=1, max_length=12)]
#: a number for each axis
Kernel = Annotated[tuple[Annotated[int, Field(ge=1, le=64)], ...], Field(min_length=2, max_length=3)]
Kernels = Annotated[tuple[Kernel, ...], Field(min_length=1, max_length=12)]
Dims = Annotated[Literal[2, 3], Whole, Default("that of the images")]
_DIMS = "dimensions of the network; 2 on 3-D images works slice by slice along the last axis"
_NORM = "normalisation layers"
_ACT = "activation layers"
_DROPOUT = "dropout probability"


class NormLayer(Section):
    """MONAI's normalisation layer; an argument that is not given is PyTorch's own."""

    name: Literal["batch", "instance", "group"] = Field(description="which statistics")
    affine: bool | None = Field(None, description="whether scale and shift are learned")
    eps: Positive | None = Field(None, description="added to the variance")
    num_groups: Count | None = Field(None, description="groups of channels, for 'group'")
    track_running_stats: bool | None = Field(None, description="whether statistics of training are kept")


class ActLayer(Section):
    """MONAI's activation layer; an argument that is not given is PyTorch's own."""

    name: Literal["relu", "leakyrelu", "prelu", "elu", "selu", "relu6", "gelu", "swish", "mish"] = Field(
        description="which function"
    )
    negative_slope: float | None = Field(None, description="slope below 0, for 'leakyrelu'")
    inplace: bool | None = Field(None, description="whether memory is reused")
    init: float | None = Field(None, description="first slope below 0, for 'prelu'")
    num_parameters: Count | None = Field(None, description="learned slopes, for 'prelu'")
    alpha: float | None = Field(None, description="for 'elu'")


class MonaiUNet(Section):
    """MONAI's ``UNet``."""

    kind: Literal["monai_unet"] = Field(description="MONAI's UNet")
    spatial_dims: Dims = Field(description=_DIMS)
    channels: Widths = Field(description="channels of each level")
    strides: Kernels = Field(description="strides between levels, one number per axis")
    kernel_size: Kernel = Field(description="size of the convolutions")
    up_kernel_size: Kernel = Field(description="size of the transposed convolutions")
    num_res_units: Annotated[int, Field(ge=0, le=64)] = Field(0, description="convolutions of a residual unit")
    act: ActLayer = Field(ActLayer(name="prelu"), description=_ACT)
    norm: NormLayer = Field(NormLayer(name="instance"), description=_NORM)
    dropout: Share = Field(0.0, description=_DROPOUT)
    bias: bool = Field(True, description="whether convolutions have a bias")
    adn_ordering: Annotated[str, must(lambda s: len(set(s)) == len(s) <= 3 and set(s) <= set("NDA"))] = Field(
        "NDA", description="order of norm (N), dropout (D) and activation (A)"
    )

    @property
    def total_stride(self) -> Size:
        """The product of the strides, for each axis."""
        return _product(self.strides, self.spatial_dims)


class MonaiBasicUNet(Section):
    """MONAI's ``BasicUNet``."""

    kind: Literal["monai_basic_unet"] = Field(description="MONAI's BasicUNet")
    spatial_dims: Dims = Field(description=_DIMS)
    features: Annotated[tuple[Width, ...], Field(min_length=6, max_length=6)] = Field(
        (32, 32, 64, 128, 256, 32), description="channels of the five levels, and of the last block"
    )
    act: ActLayer = Field(ActLayer(name="leakyrelu", negative_slope=0.1, inplace=True), description=_ACT)
    norm: NormLayer = Field(NormLayer(name="instance", affine=True), description=_NORM)
    bias: bool = Field(True, description="whether convolutions have a bias")
    dropout: Share = Field(0.0, description=_DROPOUT)
    upsample: Literal["deconv", "nontrainable", "pixelshuffle"] = Field("deconv", description="how it grows")

    @property
    def total_stride(self) -> Size:
        """Four poolings by 2."""
        return (16,) * self.spatial_dims


class MonaiDynUNet(Section):
    """MONAI's ``DynUNet``, the one of nnU-Net."""

    kind: Literal["monai_dyn_unet"] = Field(description="MONAI's DynUNet")
    spatial_dims: Dims = Field(description=_DIMS)
    kernel_size: Kernels = Field(description="size of the convolutions of each level")
    strides: Kernels = Field(description="stride of each level, the first included")
    upsample_kernel_size: Kernels = Field(description="size of the transposed convolutions, a level fewer")
    filters: Widths | None = Field(None, description="channels of each level; none are MONAI's own")
    dropout: Share | None = Field(None, description=_DROPOUT)
    norm: NormLayer = Field(NormLayer(name="instance", affine=True), description=_NORM)
    act: ActLayer = Field(ActLayer(name="leakyrelu", inplace=True, negative_slope=0.01), description=_ACT)
    deep_supervision: bool = Field(False, description="whether the weights have heads on lower levels")
    deep_supr_num: Count = Field(1, description="how many of them")
    res_block: bool = Field(False, description="whether blocks are residual")
    trans_bias: bool = Field(False, description="whether transposed convolutions have a bias")

    @property
    def total_stride(self) -> Size:
        """The product of the strides, for each axis."""
        return _product(self.strides, self.spatial_dims)


class MonaiSegResNet(Section):
    """MONAI's ``SegResNet``."""

    kind: Literal["monai_seg_res_net"] = Field(description="MONAI's SegResNet")
    spatial_dims: Dims = Field(description=_DIMS)
    init_filters: Width = Field(8, description="channels of the finest level")
    dropout_prob: Share | None = Field(None, description=_DROPOUT)
    act: ActLayer = Field(ActLayer(name="relu", inplace=True), description=_ACT)
    norm: NormLayer = Field(NormLayer(name="group", num_groups=8), description=_NORM)
    use_conv_final: bool = Field(True, description="whether a convolution makes the logits")
    blocks_down: Blocks = Field((1, 2, 2, 4), description="blocks of each level on the way down")
    blocks_up: Blocks = Field((1, 1, 1), description="blocks of each level on the way up, a level fewer")
    upsample_mode: Literal["nontrainable", "deconv", "pixelshuffle"] = Field("nontrainable", description="how it grows")

    @property
    def total_stride(self) -> Size:
        """2 for each level after the first."""
        return (2 ** (len(self.blocks_down) - 1),) * self.spatial_dims


ForeignNetwork = MonaiUNet | MonaiBasicUNet | MonaiDynUNet | MonaiSegResNet


def foreign_mistakes(network: ForeignNetwork) -> Iterator[tuple[str, str]]:
    """What the arguments of a network contradict in each other: the key, and what is the matter with it."""
    axes = network.spatial_dims
    lengths: list[tuple[str, int, int]] = []
    kernels: list[tuple[str, tuple[int, ...]]] = []
    if isinstance(network, MonaiUNet):
        lengths.append(("strides", len(network.strides), len(network.channels) - 1))
        kernels += [("kernel_size", network.kernel_size), ("up_kernel_size", network.up_kernel_size)]
        kernels += [("strides", stride) for stride in network.strides]
    elif isinstance(network, MonaiDynUNet):
        lengths.append(("kernel_size", len(network.kernel_size), len(network.strides)))
        lengths.append(("upsample_kernel_size", len(network.upsample_kernel_size), len(network.strides) - 1))
        if network.filters is not None:
            lengths.append(("filters", len(network.filters), len(network.strides)))
        for name in ("kernel_size", "strides", "upsample_kernel_size"):
            kernels += [(name, kernel) for kernel in getattr(network, name)]
    elif isinstance(network, MonaiSegResNet):
        lengths.append(("blocks_up", len(network.blocks_up), len(network.blocks_down) - 1))
    yield from (
        (name, f"{there} entries where {wanted} are needed") for name, there, wanted in lengths if there != wanted
    )
    yield from (
        (name, f"{len(kernel)} numbers where {axes} are needed, one per axis")
        for name, kernel in kernels
        if len(kernel) != axes
    )


def _product(strides: tuple[tuple[int, ...], ...], axes: int) -> Size:
    return tuple(prod(stride[axis] for stride in strides) for axis in range(axes))
