"""``volseg phantom``: a labelled synthetic cohort."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from volseg.cli import console


class Kind(StrEnum):
    HEART = "heart"
    CELLS = "cells"
    CT = "ct"


def phantom(
    out: Annotated[Path, typer.Option("-o", "--output", help="The folder to write; new or empty.")],
    kind: Annotated[
        Kind,
        typer.Option(
            help="heart: short-axis cine stacks as in ACDC. cells: 2-D images of touching cells with instance maps. "
            "ct: abdomens in Hounsfield units with five organs."
        ),
    ] = Kind.HEART,
    n: Annotated[int, typer.Option("-n", min=1, help="How many patients or images.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    size: Annotated[
        int | None,
        typer.Option(min=16, help="Voxels along each side of a slice (heart 112, at least 88; cells 256; ct 128)."),
    ] = None,
    cine: Annotated[bool, typer.Option("--cine", help="heart: also the whole beat, patientNNN_4d.nii.gz.")] = False,
) -> None:
    """Write a labelled synthetic cohort of known volumes, to try things out on.

    Examples:
        volseg phantom -o cohort --kind heart -n 5 --seed 7
        volseg phantom -o abdomens --kind ct -n 3
    """
    from volseg.data.phantom import write_cohort

    with console.progress("phantom", n) as step:
        write_cohort(out, str(kind), n, seed, size=size, cine=cine, step=step)
    console.say(f"{n} {kind} phantom{'s' if n > 1 else ''} in {out}")
