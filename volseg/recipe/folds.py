"""The key ``folds``: how cases are divided for cross-validation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from volseg.recipe.kinds import Seed
from volseg.recipe.section import Section


class Folds(Section):
    """Number of folds, and what must stay together."""

    number: Annotated[int, Field(ge=2, le=1000)] = Field(5, description="number of folds")
    seed: Seed = Field(0, description="which division of the many")
    group_by: Literal["patient", "case"] = Field("patient", description="what must not lie on both sides of a split")
    stratify: bool = Field(True, description="whether groups, such as diagnoses, are spread evenly")
