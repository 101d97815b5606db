"""The options with which files are read, the same for every verb that reads images."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from volseg.errors import UsageError

if TYPE_CHECKING:
    from volseg.recipe import Recipe


class Geometry(StrEnum):
    SFORM = "sform"
    QFORM = "qform"


Frame = Annotated[int | None, typer.Option("--frame", min=0, help="Which frame of time series, from 0.")]
EachFrame = Annotated[bool, typer.Option("--each-frame", help="Every frame of time series.")]
Series = Annotated[str | None, typer.Option("--series", help="The series UID, where a DICOM folder holds several.")]
Trusted = Annotated[Geometry | None, typer.Option("--geometry", help="Which statement of a NIfTI header to trust.")]
AssumeRas = Annotated[
    bool, typer.Option("--assume-ras", help="Take files without orientation as right-anterior-superior.")
]
FillNan = Annotated[
    float | None,
    typer.Option("--fill-nan", help="Put this where voxels are NaN or infinite.", show_default="refuse them"),
]


def frames(frame: int | None, each_frame: bool) -> int | Literal["all"] | None:
    """Which frames were asked for."""
    if frame is not None and each_frame:
        raise UsageError("--frame and --each-frame contradict each other")
    return "all" if each_frame else frame


def reading(series: str | None, geometry: Geometry | None, assume_ras: bool, fill_nan: float | None) -> dict[str, Any]:
    """The options as :func:`volseg.io.read_volume` takes them."""
    trusted = None if geometry is None else geometry.value
    return {"series": series, "geometry": trusted, "assume_ras": assume_ras, "fill_nan": fill_nan}


def allowed_spacing(recipe: Recipe | None) -> tuple[float, float]:
    """The voxel sizes that are read, in millimetres: those that the recipe allows, where one was named."""
    from volseg.io import PLAUSIBLE_SPACING

    return PLAUSIBLE_SPACING if recipe is None else recipe.image.spacing_range
