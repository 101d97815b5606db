"""The network's arithmetic of sizes, from its section of the recipe."""

from __future__ import annotations

from volseg.recipe.foreign import ForeignNetwork
from volseg.recipe.network import FCNNetwork, UNetNetwork
from volseg.shapes import FCNShape, NetworkShape, PaddedShape, UNetShape

# the stages of VGG-16, which the fully convolutional networks were made from
_STAGES = (2, 2, 3, 3, 3)


def network_shape(network: UNetNetwork | FCNNetwork | ForeignNetwork) -> NetworkShape:
    """Which sizes a network takes and gives.

    Raises:
        UsageError: if the numbers per level do not go together.
    """
    if isinstance(network, FCNNetwork):
        return FCNShape(network.spatial_dims, _STAGES, finest=int(network.variant[:-1]))
    if isinstance(network, ForeignNetwork):
        return PaddedShape(network.total_stride)
    return UNetShape.of(
        network.spatial_dims,
        len(network.channels),
        kernel_sizes=network.kernel_sizes,
        strides=network.strides,
        padding=network.padding,
        upsample=network.upsample,
    )
