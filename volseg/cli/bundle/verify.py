"""``volseg bundle verify``: whether a bundle is the one that was packed, and does here what it did there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli import console

if TYPE_CHECKING:
    from volseg.bundle.verifying.verify import Verified


def verify(
    bundle: Annotated[Path, typer.Argument(help="A zip or a folder.", show_default=False)],
    identity: Annotated[
        Path | None, typer.Option("--identity", help="Public key (PEM) of whoever must have signed it.")
    ] = None,
    signature: Annotated[
        Path | None, typer.Option("--signature", help="The signature.", show_default="BUNDLE.sig beside the bundle")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the acceptance case is run: cpu, cuda or cuda:N.")] = "cpu",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold a bundle against its manifest, its recipe and its acceptance case; nothing that it brings is executed.

    Exit code 1 with the first difference.

    Examples:
        volseg bundle verify heart.zip
        volseg bundle verify heart.zip --identity lab.pub
    """
    from volseg.bundle.verifying.verify import verify_bundle
    from volseg.errors import UsageError, VolsegError

    if signature is not None and identity is None:
        raise UsageError(
            "--signature says nothing without --identity", mend="name the public key that must have signed"
        )
    try:
        found = verify_bundle(bundle, identity=identity, signature=signature, device=device)
    except VolsegError as error:
        if as_json:
            console.result_json({"bundle": str(bundle), "verified": False, "difference": str(error)})
        console.fail(error)
        raise typer.Exit(console.FAILED) from error
    if as_json:
        console.result_json(found.to_dict())
    else:
        _show(found)
    if not found.golden.structures:
        console.warn("the acceptance case shows no structure: that its mask is given again proves little")


def _show(found: Verified) -> None:
    manifest, golden = found.manifest, found.golden
    console.result(f"{manifest.name}: {len(manifest.files)} files, each as it was packed (manifest {manifest.digest})")
    console.result("configurations, documents and weights are those of its recipe")
    shown = ", ".join(golden.structures) or "no structure"
    console.result(
        f"its acceptance case gives the mask it came with: {golden.differing} of {golden.counted} labels differ,"
        f" {golden.tolerance:.1%} may ({shown}; {found.device})"
    )
    if found.identity:
        console.result(f"signed with the key of {found.identity}")
    else:
        console.result("who packed it was not asked (--identity)")
