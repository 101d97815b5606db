"""The key ``augmentation``: what training images are put through, and the symmetries of the anatomy."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from volseg.recipe.kinds import (
    Axes,
    CountPerAxis,
    Default,
    NotNegative,
    NotNegativeRange,
    PerAxis,
    Planes,
    PositivePerAxis,
    PositiveRange,
    Says,
    Share,
    Whole,
    must,
)
from volseg.recipe.section import Section


class Elastic(Section):
    """Random vectors on a coarse grid, interpolated to a smooth deformation."""

    prob: Share = Field(0.5, description="probability per sample")
    grid: Annotated[CountPerAxis | None, Default("3, unless spacing is given")] = Field(
        None, description="nodes of the coarse grid per axis; this or spacing"
    )
    spacing: PositivePerAxis | None = Field(
        None, description="distance of the nodes, in the unit, one for all axes or one per axis; this or grid"
    )
    std: PerAxis = Field(
        10.0, description="standard deviation of the vectors, in the unit, one for all axes or one per axis"
    )
    unit: Literal["voxels", "mm"] = Field("voxels", description="unit of spacing and std")
    mode: Literal["bspline", "natural"] = Field("bspline", description="cubic interpolation between the nodes")
    locked_borders: bool = Field(False, description="whether the border of the image stays where it is")

    @model_validator(mode="before")
    @classmethod
    def _grid_unless_spacing(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("grid") is None and data.get("spacing") is None:
            return {**data, "grid": 3}
        return data


class Spatial(Section):
    """One change of place for image and mask alike, composed of all parts and resampled once."""

    prob: Share = Field(0.5, description="probability per sample of rotation, scale, shear and translation together")
    rotation: PerAxis = Field(
        15.0, description="largest angle in degrees, either way; in 3-D about every axis, or a list with one per axis"
    )
    scale: PositiveRange = Field((0.85, 1.15), description="range of the factor of size")
    shear: NotNegative = Field(0.0, description="largest shear, as displacement per length")
    translation: PerAxis = Field(0.0, description="largest displacement in voxels, one for all axes or one per axis")
    elastic: Elastic | None = Field(None, description="elastic deformation")
    resampling_order: Annotated[Literal[1, 3], Whole] = Field(
        1, description="interpolation of images: 1 linear, 3 cubic"
    )
    label_resampling: Literal["nearest", "probability"] = Field(
        "nearest",
        description="interpolation of masks; 'probability' takes the most probable class, with smooth borders",
    )
    outside: Literal["reflect", "border", "constant"] = Field(
        "reflect", description="what lies beyond the image: its mirror, its border, or 0"
    )


class Brightness(Section):
    """All intensities of an image are multiplied."""

    prob: Share = Field(0.15, description="probability per sample")
    factor: PositiveRange = Field((0.75, 1.25), description="range of the factor")


class Contrast(Section):
    """Intensities move away from their mean, or towards it."""

    prob: Share = Field(0.15, description="probability per sample")
    factor: PositiveRange = Field((0.75, 1.25), description="range of the factor")


class Gamma(Section):
    """Intensities, scaled to 0 … 1, are raised to a power."""

    prob: Share = Field(0.3, description="probability per sample")
    exponent: PositiveRange = Field((0.7, 1.5), description="range of the power")


class Noise(Section):
    """Gaussian noise."""

    prob: Share = Field(0.15, description="probability per sample")
    std: NotNegativeRange = Field((0.0, 0.1), description="range of its standard deviation, after normalisation")


class Blur(Section):
    """A Gaussian blur."""

    prob: Share = Field(0.15, description="probability per sample")
    sigma: NotNegativeRange = Field((0.5, 1.0), description="range of its width in voxels")


class BiasField(Section):
    """A smooth field that multiplies intensities, as coils leave it in MR."""

    prob: Share = Field(0.15, description="probability per sample")
    strength: NotNegativeRange = Field((0.0, 0.3), description="range of the coefficients of the field's logarithm")


class LowResolution(Section):
    """Sampled down and up again, as if the scan had been coarser."""

    prob: Share = Field(0.15, description="probability per sample")
    factor: Annotated[
        PositiveRange, must(lambda r: r[1] <= 1), Says("two numbers above 0 and up to 1, the smaller first")
    ] = Field((0.5, 1.0), description="range of the share of voxels kept along each axis")


class Intensity(Section):
    """Changes of the image that leave the mask alone; each may be none."""

    brightness: Brightness | None = Field(default_factory=Brightness, description="multiplied intensities")
    contrast: Contrast | None = Field(default_factory=Contrast, description="stretched contrast")
    gamma: Gamma | None = Field(default_factory=Gamma, description="gamma curve")
    noise: Noise | None = Field(default_factory=Noise, description="Gaussian noise")
    blur: Blur | None = Field(default_factory=Blur, description="Gaussian blur")
    bias_field: BiasField | None = Field(None, description="bias field of MR coils")
    low_resolution: LowResolution | None = Field(default_factory=LowResolution, description="simulated low resolution")


class Augmentation(Section):
    """Symmetries of the anatomy, one fused change of place, and changes of intensity."""

    flips: Axes = Field(
        (),
        description="axes (of the network) in which a mirrored image is as plausible; for training and inference.tta",
    )
    right_angles: Planes = Field(
        (), description="planes (pairs of axes) in which an image turned by 90 degrees is as plausible; used likewise"
    )
    spatial: Spatial | None = Field(default_factory=Spatial, description="the fused change of place")
    intensity: Intensity | None = Field(default_factory=Intensity, description="changes of intensity")
