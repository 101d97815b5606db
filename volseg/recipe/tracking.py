"""The key ``tracking``: where a run is recorded beside its own folder."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from volseg.recipe.kinds import Line
from volseg.recipe.section import Section


class Tracking(Section):
    """MLflow."""

    kind: Literal["mlflow"] = Field("mlflow", description="what records the run")
    uri: Line | None = Field(None, description="address of the tracking server; none is a file in the run's folder")
    experiment: Line = Field("volseg", description="name of the experiment")
