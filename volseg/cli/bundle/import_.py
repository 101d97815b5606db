"""``volseg bundle import``: a bundle of volseg's from another laboratory's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volseg.cli import console


def import_(
    source: Annotated[Path, typer.Argument(help="A MONAI bundle: its folder or its zip.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The new bundle's folder.", show_default=False)],
    licence: Annotated[
        str | None, typer.Option("--license", help="SPDX identifier of the weights' licence, where nothing tells it.")
    ] = None,
) -> None:
    """Turn a MONAI bundle whose inference configuration is data into one of volseg's; nothing of it is executed.

    What is not understood is refused, with file, line and reason.

    Examples:
        volseg bundle import spleen.zip -o spleen
    """
    from volseg.bundle.importing.importing import import_bundle

    done = import_bundle(source, output, licence=licence)
    for note in done.notes:
        console.say(f"note: {note}")
    console.say(
        f"{done.recipe.network.kind}, {done.recipe.bundle.license}; predict with: volseg predict -b {done.folder}"
    )
    console.result(str(done.folder))
