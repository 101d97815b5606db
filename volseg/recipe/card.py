"""The key ``bundle``: what a trained bundle says of itself."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from volseg.recipe.frozen import FrozenDict
from volseg.recipe.kinds import Frozen, Line, Says, Text, must
from volseg.recipe.section import Section

Version = Annotated[
    str,
    must(lambda s: re.fullmatch(r"\d{1,6}\.\d{1,6}\.\d{1,6}", s, re.ASCII) is not None),
    Says("three numbers such as '0.1.0'"),
]
BundleName = Annotated[
    str,
    must(lambda s: re.fullmatch(r"[a-z0-9][a-z0-9_]{0,63}", s, re.ASCII) is not None),
    Says("a name of small letters, digits and underscores"),
]


class Card(Section):
    """Name, version, authors, licences, citations and intended use."""

    name: BundleName | None = Field(None, description="name of the bundle; none is that of its folder")
    version: Version = Field("0.1.0", description="version of the bundle")
    description: Text = Field("A segmentation model made with volseg.", description="what it does, in a sentence")
    task: Line = Field("Segmentation", description="the task, in a few words")
    authors: Line = Field("The authors of this recipe", description="who made it")
    copyright: Line = Field("Copyright of the authors of this recipe", description="whose it is")
    license: Line | None = Field(
        None, description="licence of the weights, as an SPDX identifier; without one nobody else may use them"
    )
    data_source: Text | None = Field(None, description="where the training data come from")
    data_license: Line | None = Field(None, description="licence of the training data, as an SPDX identifier")
    citations: tuple[Text, ...] = Field((), description="what to cite")
    started_from: Line | None = Field(
        None, description="whose weights the training started from, if any; a training writes it itself"
    )
    intended_use: Text = Field("Research use only; not a medical device.", description="what it is meant for")
    limits: Text | None = Field(None, description="where it is known to fail")
    changelog: Annotated[dict[Version, Text], Frozen] = Field(
        default_factory=FrozenDict, description="what changed, by version"
    )
