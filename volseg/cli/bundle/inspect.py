"""``volseg bundle inspect``: what a bundle is, and what running it would execute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli import console

if TYPE_CHECKING:
    from volseg.bundle.inspect import Inspection


def inspect(
    bundle: Annotated[Path, typer.Argument(help="A zip, a folder, or a model of the hub's cache.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="List findings of common kinds too.")] = False,
) -> None:
    """Tell what a bundle is and what running it would execute; nothing of it is run.

    Exit code 1 when the verdict is "refuses".

    Examples:
        volseg bundle inspect spleen_ct.zip
        volseg bundle inspect spleen_ct.zip --all --json
    """
    from volseg.bundle.audit import Verdict
    from volseg.bundle.inspect import inspect_bundle

    found = inspect_bundle(bundle)
    if as_json:
        console.result_json(found.to_dict())
    else:
        _show(found, everything=everything)
    if found.audit.verdict is Verdict.REFUSE:
        first = found.audit.first
        if first:
            console.fail(_refusal(first.place, first.text, first.why))
        raise typer.Exit(console.FAILED)


def _refusal(place: str, text: str, why: str) -> Exception:
    from volseg.errors import BundleError

    return BundleError(f"{text}: {why}" if text and text != place else why, where=place, mend="verdict: refuses")


def _show(found: Inspection, *, everything: bool) -> None:
    rows = []
    for name, value in found.about.to_dict().items():
        if isinstance(value, dict):
            rows += [[name if i == 0 else "", f"{key}: {text}"] for i, (key, text) in enumerate(value.items())]
        elif isinstance(value, list):
            rows += [[name, text] for text in value]
        elif name != "runs_in_volseg" and value:
            rows.append([name, value])
    rows += [[f"door {door}", told] for door, told in found.doors.items()]
    console.result_table(["what", "it says"], rows)
    listed = [f for f in found.audit.findings if everything or not f.known]
    if listed:
        console.result("")
        columns = ["weight", "kind", "place", "text", "why"]
        console.result_table(columns, [[f.weight.value, f.kind, f.place, f.text, f.why] for f in listed])
    if hidden := len(found.audit.findings) - len(listed):
        console.say(f"{hidden} findings of common kinds are not shown (--all)")
    console.result(f"verdict: {found.verdict}")
