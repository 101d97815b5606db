"""``volseg bundle check``: whether bundles are whole, and what MONAI expects of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volseg.cli import console
from volseg.errors import printable


def check(
    bundles: Annotated[list[Path], typer.Argument(help="Folders or zips of bundles.", show_default=False)],
    untrained: Annotated[bool, typer.Option("--untrained", help="Take a bundle that has no weights yet.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check layout, metadata, configurations, weights, documents and manifest; nothing a bundle brings is executed.

    Prints a line for everything that is wrong, and exits with 1 then.

    Examples:
        volseg bundle check bundles/heart_unet3d
        volseg bundle check bundles/* --json
    """
    from volseg.bundle.check import check_bundle

    found = {str(path): check_bundle(path, trained=not untrained) for path in bundles}
    if as_json:
        console.result_json({"bundles": found})
    else:
        for path, problems in found.items():
            for problem in problems:
                console.result("\n".join(map(printable, f"{path}: {problem}".split("\n"))))
    bad = sum(bool(problems) for problems in found.values())
    console.say(f"{len(found) - bad} of {len(found)} bundles are good")
    if bad:
        raise typer.Exit(console.FAILED)
