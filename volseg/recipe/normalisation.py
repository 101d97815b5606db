"""The key ``normalisation``: how intensities are made comparable."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from volseg.recipe.kinds import Positive, Range, Says, kind_of, must
from volseg.recipe.section import Section


class ZScore(Section):
    """Mean 0 and standard deviation 1, image by image and channel by channel."""

    kind: Literal["zscore"] = Field("zscore", description="mean 0, standard deviation 1")
    over: Literal["all", "nonzero"] = Field("all", description="voxels whose mean and deviation are taken")


class HounsfieldUnits(Section):
    """Clipped, then scaled by the cohort's foreground and not image by image, since Hounsfield units are absolute."""

    kind: Literal["ct"] = Field(description="clip, then the cohort's mean and standard deviation")
    clip: Range = Field(description="lower and upper bound of the intensities")
    mean: float = Field(description="mean intensity of the cohort's foreground")
    std: Positive = Field(description="standard deviation of the cohort's foreground")


class Percentile(Section):
    """Two percentiles of each image become 0 and 1."""

    kind: Literal["percentile"] = Field(description="two percentiles become 0 and 1")
    range: Annotated[
        Range,
        must(lambda r: r[0] >= 0 and r[1] <= 100 and r[0] < r[1]),
        Says("two percentiles from 0 to 100, the smaller first"),
    ] = Field((0.5, 99.5), description="the two percentiles")
    clip: bool = Field(True, description="whether what lies outside is cut to 0 and 1")


Normalisation = Annotated[
    Annotated[ZScore, Tag("<zscore>")]
    | Annotated[HounsfieldUnits, Tag("<ct>")]
    | Annotated[Percentile, Tag("<percentile>")],
    kind_of("zscore"),
]
