"""``volseg bundle VERB``: the life of a bundle, a file per verb."""

from __future__ import annotations

import typer

from volseg.cli.bundle import inspect, pack, unpack

bundle_app = typer.Typer(name="bundle", help="Look into bundles, pack and unpack them.", no_args_is_help=True)
bundle_app.command()(inspect.inspect)
bundle_app.command()(pack.pack)
bundle_app.command()(unpack.unpack)
