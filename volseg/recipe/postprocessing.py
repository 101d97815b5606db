"""The key ``postprocessing``: what is done to each structure of a predicted mask."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from volseg.recipe.kinds import NotNegative
from volseg.recipe.section import Section


class Postprocessing(Section):
    """Steps for one structure or region, in this order."""

    largest_component: bool = Field(False, description="whether only the largest connected part is kept")
    minimum_size: NotNegative = Field(0.0, description="parts smaller than this are removed, in the unit")
    unit: Literal["voxels", "mm"] = Field("voxels", description="voxels, or cubic (2-D: square) millimetres")
    fill_holes: bool = Field(False, description="whether background that what is left encloses becomes it")
