"""The key ``normalisation``: how intensities are made comparable."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag, model_validator
from pydantic_core import PydanticCustomError

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


class Step(Section):
    """One change of intensities among several; see :class:`Steps`."""

    do: Literal["range", "minmax", "zscore"] = Field(
        description="'range' brings two intensities, 'minmax' the image's smallest and largest to the target; "
        "'zscore' gives mean 0 and standard deviation 1"
    )
    source: Range | None = Field(None, description="the two intensities, for 'range'")
    target: Range = Field((0.0, 1.0), description="what they become, for 'range' and 'minmax'")
    clip: bool = Field(False, description="whether what lies outside of the target is cut, for 'range'")
    over: Literal["all", "nonzero"] = Field("all", description="voxels that 'zscore' counts and changes")

    @model_validator(mode="after")
    def _whole(self) -> Step:
        if (self.source is None) == (self.do == "range") or (self.source and self.source[0] == self.source[1]):
            raise PydanticCustomError("range", "'range', and it alone, needs two different intensities as its source")
        return self


class Steps(Section):
    """What another toolkit did to the images it trained on, in its order; each channel on its own."""

    kind: Literal["steps"] = Field(description="changes one after the other, as a model from elsewhere had them")
    steps: Annotated[tuple[Step, ...], Field(min_length=1, max_length=8), Says("a list of steps")] = Field(
        description="the changes, in order"
    )


Normalisation = Annotated[
    Annotated[ZScore, Tag("<zscore>")]
    | Annotated[HounsfieldUnits, Tag("<ct>")]
    | Annotated[Percentile, Tag("<percentile>")]
    | Annotated[Steps, Tag("<steps>")],
    kind_of("zscore"),
]
