"""The key ``loss``: what training makes small."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from volseg.recipe.frozen import FrozenDict
from volseg.recipe.kinds import Default, Frozen, NotNegative, Says, must
from volseg.recipe.labelling import Name
from volseg.recipe.section import Section


class Loss(Section):
    """The loss and the weights in it."""

    kind: Literal["energy", "dice", "dice_energy", "iou"] = Field(
        "dice_energy", description="weighted pixel-wise softmax cross-entropy, soft Dice, the sum of both, or soft IoU"
    )
    dice_weight: NotNegative = Field(1.0, description="factor of the Dice term in dice_energy")
    energy_weight: NotNegative = Field(1.0, description="factor of the energy term in dice_energy")
    weights: Annotated[dict[Name, NotNegative], Frozen] = Field(
        default_factory=FrozenDict,
        description="weight of each structure, and of background; 1 where none is given",
    )
    normalise: Literal["weights", "voxels", "sum"] = Field(
        "weights", description="what the energy's sum is divided by: the sum of weights, the number of voxels, nothing"
    )
    include_background: bool = Field(False, description="whether Dice and IoU count the background as a class")
    batch: bool = Field(False, description="whether Dice and IoU are taken over the whole batch, not sample by sample")
    deep_supervision: Annotated[
        Annotated[
            tuple[NotNegative, ...],
            must(lambda w: len(w) > 0 and sum(w) > 0),
            Says("a list of weights, not all 0, finest output first"),
        ]
        | None,
        Default("each level counts half of the one above"),
    ] = Field(None, description="weights of the outputs of a network with deep supervision, finest first")
