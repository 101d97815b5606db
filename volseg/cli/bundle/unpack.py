"""``volseg bundle unpack``: a packed bundle as a folder, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volseg.cli import console


def unpack(
    bundle: Annotated[Path, typer.Argument(help="The zip.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--output", help="The folder that gets the bundle's folder.")] = Path(),
    no_manifest: Annotated[
        bool, typer.Option("--no-manifest", help="Take a zip without a manifest: nothing vouches for it.")
    ] = False,
) -> None:
    """Unpack a bundle that is as its manifest says, into OUT/NAME.

    Examples:
        volseg bundle unpack heart.zip -o bundles/
    """
    from volseg.bundle.packing import unpack_bundle

    console.result(str(unpack_bundle(bundle, out, without_manifest=no_manifest)))
