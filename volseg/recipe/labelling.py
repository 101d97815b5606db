"""The key ``labels``: the structures that the recipe segments."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from volseg.labels import Labels
from volseg.recipe.frozen import FrozenDict
from volseg.recipe.kinds import Frozen, Says, Text, must
from volseg.recipe.section import Section

Value = Annotated[int, Field(ge=0, le=65535)]
# a dot would read as the border between two keys in `--set`
Name = Annotated[
    str,
    must(lambda s: 0 < len(s) <= 100 and s.isprintable() and s.strip() == s and "." not in s),
    Says("a name without dots"),
]
Colour = Annotated[
    str, must(lambda s: re.fullmatch("#[0-9a-fA-F]{6}", s) is not None), Says("a colour such as '#E69F00'")
]
Code = Annotated[
    tuple[Text, ...], must(lambda c: len(c) == 3), Says("[scheme, code, meaning], such as [SCT, '80891009', Heart]")
]


def _in_order(values: dict[str, int]) -> dict[str, int]:
    """By value; without the background, which is implied, so that naming it makes no other recipe."""
    named = sorted(values.items(), key=lambda item: (item[1], item[0]))
    return {name: value for name, value in named if (name, value) != ("background", 0)}


class Labelling(Section):
    """Names, values and colours of the structures, and regions made of several of them."""

    values: Annotated[
        dict[Name, Value],
        Field(min_length=1),
        AfterValidator(_in_order),
        Frozen,
        Says("a mapping of structure names to mask values"),
    ] = Field(description="structure names and the values their voxels hold in a mask; background is 0 and implied")
    instances: bool = Field(
        False,
        description="whether training masks tell objects apart: one value per object of the only structure, "
        "whatever that structure's own value",
    )
    ignore: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        None, description="mask value of voxels without truth, left out of the loss and of every measure"
    )
    regions: Annotated[
        dict[Name, Annotated[tuple[Name, ...], Field(min_length=1), Says("a list of structure names")]], Frozen
    ] = Field(
        default_factory=FrozenDict,
        description="unions of structures, such as a whole heart: names and the structures in them",
    )
    output: Literal["labels", "regions"] = Field(
        "labels",
        description="what the network's channels are: background and structures (softmax), or the regions in their "
        "order, each decoded to the first structure it names, later ones over earlier ones (sigmoid)",
    )
    colours: Annotated[dict[Name, Colour], Frozen] = Field(
        default_factory=FrozenDict,
        description="colours by structure; others come from a palette that is told apart without full colour vision",
    )
    codes: Annotated[dict[Name, Code], Frozen] = Field(
        default_factory=FrozenDict,
        description="DICOM codes by structure: scheme, code, meaning",
    )

    @property
    def names(self) -> tuple[str, ...]:
        """The structures in the order of their values, which is that of the channels; no background."""
        return tuple(name for name, value in self.values.items() if value > 0)

    def labels(self) -> Labels:
        """The labels as the rest of the library takes them."""
        return Labels.of(
            self.values,
            colours=self.colours,
            codes={name: (scheme, code, meaning) for name, (scheme, code, meaning) in self.codes.items()},
            ignore=self.ignore,
            regions=self.regions,
        )
