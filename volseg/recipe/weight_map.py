"""The key ``weight_map``: the paper's weights that press borders between touching objects open."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from volseg.recipe.kinds import NotNegative, Positive, Says
from volseg.recipe.section import Section


def _form(value: object) -> str:
    return "<list>" if isinstance(value, (tuple, list)) else "<by>"


ClassBalance = Annotated[
    Annotated[Literal["case"], Tag("<by>")] | Annotated[tuple[NotNegative, ...], Tag("<list>")],
    Discriminator(_form),
    Says("'case', or a list of weights, background first"),
]


class WeightMap(Section):
    """Class balance plus w0 exp(-(d1 + d2)² / (2 sigma²)) on the background between objects."""

    w0: NotNegative = Field(10.0, description="height of the weight between two touching objects")
    sigma: Positive = Field(5.0, description="how far it reaches, in the unit")
    unit: Literal["voxels", "mm"] = Field("voxels", description="unit of sigma")
    class_balance: ClassBalance | None = Field(
        "case",
        description="weights of the classes: by frequency in each case, fixed for the cohort (a list), or none (all 1)",
    )
    separate_instances: bool = Field(
        False, description="whether touching instances get a background seam; needs masks of instances"
    )
