"""``volseg bundle pack``: a bundle's folder as a zip that is the same to the last byte."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volseg.cli import console
from volseg.errors import UsageError


def pack(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--output", help="NAME.zip, which will hold NAME/.", show_default=False)],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a zip that is there.")] = False,
) -> None:
    """Pack a bundle with a manifest of every file; the same folder always gives the same bytes.

    A trained bundle without an acceptance case gets one.

    Examples:
        volseg bundle pack bundles/heart -o heart.zip
    """
    if out.exists() and not overwrite:
        raise UsageError("is there already", where=out, mend="--overwrite replaces it")
    from volseg.bundle.packing import pack_bundle
    from volseg.bundle.rendering.licences import UNSTATED
    from volseg.bundle.verifying.golden import golden_to_pack

    packed = pack_bundle(bundle, out, golden_to_pack(bundle))
    if packed.manifest.golden is None:
        console.warn(
            "no recipe with weights: packed without an acceptance case, so that verify has nothing to hold it to"
        )
    if packed.licence == UNSTATED:
        console.warn("nobody has said under which licence it may be used: bundle.license in the recipe says it")
    for path in packed.left_out:
        console.warn(f"left out {path}: hidden, or an interpreter's")
    console.say(f"{len(packed.manifest.files)} files, manifest digest {packed.manifest.digest}")
    console.result(str(packed.path))
