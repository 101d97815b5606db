"""The key ``inference``: how a whole image is predicted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from volseg.recipe.kinds import INTERPOLATIONS, Bytes, Interpolation, Size, Whole
from volseg.recipe.section import Section
from volseg.recipe.training import Arithmetic


class Inference(Section):
    """Memory, tiles, mirrored copies, and the way back to the image's own grid."""

    max_memory: Bytes | None = Field(
        None, description="memory that a prediction may take; none is what the machine has"
    )
    tile: Size | None = Field(
        None, description="size of a tile entering the network, one number per axis; none is planned"
    )
    blend: Literal["gaussian", "constant"] | None = Field(
        None, description="how overlapping tiles are averaged; none gives exactly the whole-image prediction"
    )
    overlap: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.5, description="share of a tile that its neighbour covers as well, where tiles are blended"
    )
    outside: Literal["constant", "reflect", "replicate"] = Field(
        "constant", description="what surrounds an image smaller than the tile, where tiles are blended; constant is 0"
    )
    interpolated: Literal["logits", "probabilities"] = Field(
        "logits", description="what is interpolated on the way back to the image's grid"
    )
    tta: Literal["flips", "flips+rotations"] | None = Field(
        None, description="averaging over mirrored and turned copies, within augmentation.flips and right_angles"
    )
    precision: Arithmetic = Field(
        "float32",
        description="of the network's arithmetic; float32 where the device lacks what is asked for",
    )
    resampling_order: Annotated[Literal[0, 1, 3], Whole] = Field(
        1, description="the way back to the image's grid: 0 labels by nearest, 1 linear and 3 cubic by probabilities"
    )

    @property
    def order(self) -> Interpolation:
        """``resampling_order`` by its name."""
        return INTERPOLATIONS[self.resampling_order]
