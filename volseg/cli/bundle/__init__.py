"""``volseg bundle VERB``: the life of a bundle, a file per verb."""

from __future__ import annotations

import typer

from volseg.cli.bundle import build, check, export, import_, inspect, pack, sign, unpack, verify

bundle_app = typer.Typer(
    name="bundle", help="Build, check, look into, pack, verify, sign, import and export bundles.", no_args_is_help=True
)
bundle_app.command()(build.build)
bundle_app.command()(check.check)
bundle_app.command()(export.export)
bundle_app.command("import")(import_.import_)
bundle_app.command()(inspect.inspect)
bundle_app.command()(pack.pack)
bundle_app.command()(unpack.unpack)
bundle_app.command()(verify.verify)
bundle_app.command()(sign.sign)
