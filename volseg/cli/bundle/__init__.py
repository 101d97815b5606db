"""``volseg bundle VERB``: the life of a bundle, a file per verb."""

from __future__ import annotations

import typer

from volseg.cli.bundle import build, check, export, import_, inspect, pack, sign, unpack, verify
from volseg.cli.verb import Group, add_verb

bundle_app = typer.Typer(
    name="bundle",
    cls=Group,
    help="Build, check, look into, pack, verify, sign, import and export bundles.",
    epilog="Examples:\nvolseg bundle pack run/bundle -o heart.zip\nvolseg bundle inspect heart.zip\n"
    "volseg bundle verify heart.zip",
    no_args_is_help=True,
)
add_verb(bundle_app, build.build)
add_verb(bundle_app, check.check)
add_verb(bundle_app, export.export)
add_verb(bundle_app, import_.import_, "import")
add_verb(bundle_app, inspect.inspect)
add_verb(bundle_app, pack.pack)
add_verb(bundle_app, unpack.unpack)
add_verb(bundle_app, verify.verify)
add_verb(bundle_app, sign.sign)
