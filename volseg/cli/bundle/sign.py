"""``volseg bundle sign``: a signature over every file of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volseg.cli import console


def sign(
    bundle: Annotated[Path, typer.Argument(help="A zip or a folder.", show_default=False)],
    key: Annotated[
        Path, typer.Option("-k", "--key", help="Private key of an elliptic curve (PEM).", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--output", help="The signature.", show_default="BUNDLE.sig beside the bundle")
    ] = None,
) -> None:
    """Sign a bundle that is as its manifest says, offline; for its zip and for the folder it unpacks to.

    The password of an encrypted key is taken from VOLSEG_KEY_PASSWORD.

    Examples:
        volseg bundle sign heart.zip -k lab.pem
    """
    from volseg.bundle.verifying.signing import sign_bundle

    console.result(str(sign_bundle(bundle, key, out)))
