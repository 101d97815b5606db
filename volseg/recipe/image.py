"""The key ``image``: what the images are, and the geometry they are brought to."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from volseg.recipe.frozen import FrozenDict
from volseg.recipe.kinds import (
    Default,
    Frozen,
    NotNegativeRange,
    Positive,
    PositiveRange,
    Range,
    Says,
    Text,
    Whole,
    must,
)
from volseg.recipe.labelling import Name
from volseg.recipe.section import Section

Native = Literal["native"]


def _is_orientation(codes: str) -> bool:
    return sorted("LRPASI".find(code) // 2 for code in codes) == [0, 1, 2]


def _form(value: object) -> str:
    return "<list>" if isinstance(value, (tuple, list)) else "<native>"


def _axis_form(value: object) -> str:
    return "<stored>" if isinstance(value, str) else "<mm>"


_AxisSpacing = Annotated[
    Annotated[Positive, Tag("<mm>")] | Annotated[Native, Tag("<stored>")],
    Discriminator(_axis_form),
    Says("millimetres or 'native'"),
]
Spacing = Annotated[
    Annotated[Native, Tag("<native>")]
    | Annotated[tuple[_AxisSpacing, ...], Field(min_length=2, max_length=3), Tag("<list>")],
    Discriminator(_form),
    Says("'native', or a list with millimetres or 'native' for each axis"),
]
Orientation = Annotated[str, must(_is_orientation), Says("three letters, one each of L/R, P/A and S/I, such as RAS")]
RangePerAxis = Annotated[
    tuple[PositiveRange, ...], Field(min_length=2, max_length=3), Says("a list of ranges, one per axis")
]


class Seen(Section):
    """What the training images were like; predictions on others carry a hint."""

    spacing: RangePerAxis | None = Field(None, description="smallest and largest spacing of each axis, in millimetres")
    field_of_view: RangePerAxis | None = Field(
        None, description="smallest and largest extent of each axis, in millimetres"
    )
    intensity: Range | None = Field(None, description="0.5 and 99.5 percentile of the training images' intensities")
    volumes: Annotated[dict[Name, NotNegativeRange], Frozen] = Field(
        default_factory=FrozenDict,
        description="smallest and largest volume of each structure, in millilitres (2-D: square centimetres)",
    )

    @model_validator(mode="before")
    @classmethod
    def _forgotten(cls, data: Any) -> Any:
        # other data than those of the recipe that one begins with: nothing is known of them yet
        return {} if data is None else data


class Image(Section):
    """The images: dimensions, channels, and the geometry in which the network sees them."""

    spatial_dims: Annotated[Literal[2, 3], Whole] = Field(description="dimensions of the images")
    modality: Literal["CT", "MR", "PET", "US", "XR", "microscopy", "other"] = Field(
        "other", description="what made the images"
    )
    channels: Annotated[tuple[Text, ...], Field(min_length=1, max_length=64), Says("a list of channel names")] = Field(
        ("image",), description="names of the input channels, in order"
    )
    axcodes: Annotated[Orientation | None, Default("RAS in 3-D, none in 2-D")] = Field(
        description="orientation that images are brought to (where each axis points); none keeps the stored one"
    )
    spacing: Spacing = Field(
        "native", description="spacing that images are resampled to, in millimetres; 'native' keeps that of each image"
    )
    allowed_spacing: PositiveRange = Field(
        (0.05, 50.0), description="spacings outside of this range, in millimetres, are refused as errors of the header"
    )
    resampling_order: Annotated[Literal[1, 3], Whole] = Field(
        1, description="interpolation of images: 1 linear, 3 cubic"
    )
    voxels: Literal["areas", "points"] = Field(
        "areas",
        description="what voxels are where the spacing changes: 'areas' keeps the field of view and averages where "
        "voxels grow, 'points' keeps the first voxel's centre and samples, as MONAI does",
    )
    normalised: Literal["stored", "resampled"] = Field(
        "stored", description="whether intensities are normalised before the spacing changes, or after"
    )
    padding_values: tuple[float, ...] = Field(
        (), description="values outside of the scanner's field, such as -2000 in CT: left out of every statistic"
    )
    seen: Seen = Field(default_factory=Seen, description="what the training images were like")

    @property
    def spacing_range(self) -> tuple[float, float]:
        """The allowed spacings as readers of files take them."""
        low, high = self.allowed_spacing
        return low, high

    @model_validator(mode="before")
    @classmethod
    def _orientation_by_dimensions(cls, data: Any) -> Any:
        if isinstance(data, dict) and "axcodes" not in data:
            return {**data, "axcodes": "RAS" if data.get("spatial_dims") == 3 else None}
        return data
