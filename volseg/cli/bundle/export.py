"""``volseg bundle export``: a trained bundle for people who have no volseg."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from volseg.cli import console
from volseg.errors import UsageError


class Form(StrEnum):
    """What is written."""

    onnx = "onnx"
    pt2 = "pt2"


def export(
    bundle: Annotated[Path, typer.Argument(help="A trained bundle: its folder or its zip.", show_default=False)],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="FILE.onnx, FILE.pt2, or NAME.zip.", show_default=False)
    ],
    to: Annotated[Form | None, typer.Option("--to", help="The network alone, as ONNX or as torch.export.")] = None,
    vendor: Annotated[
        bool, typer.Option("--vendor", help="A MONAI bundle with its own code, for where there is no volseg.")
    ] = False,
    opset: Annotated[int, typer.Option("--opset", min=18, help="The set of ONNX operators.")] = 20,
) -> None:
    """Write a bundle's network as ONNX or torch.export, checked against itself; or all of it as a MONAI bundle.

    Examples:
        volseg bundle export heart -o heart.onnx
        volseg bundle export heart --vendor -o heart_monai.zip
    """
    form = to.value if to is not None else output.suffix.removeprefix(".")
    if vendor and to is not None:
        raise UsageError("--vendor and --to contradict each other")
    if not vendor and form not in ("onnx", "pt2"):
        raise UsageError("says not what to write", where=output, mend="add --to onnx, --to pt2 or --vendor")
    from volseg.bundle.load import load_bundle

    loaded = load_bundle(bundle)
    if vendor:
        from volseg.bundle.exporting.vendor import vendor_bundle

        made = vendor_bundle(loaded, output)
        console.say(f"{made.modules} modules in {made.package}; it needs MONAI, pytorch-ignite, nibabel and fire")
    else:
        from volseg.bundle.exporting.network import export_onnx, export_program

        held = export_onnx(loaded, output, opset=opset) if form == "onnx" else export_program(loaded, output)
        console.say(
            f"{f'opset {opset}; ' if form == 'onnx' else ''}on {held.inputs} inputs logits differ by at most "
            f"{held.largest:.1e}, {held.labels:.4%} of labels are equal"
        )
    console.result(str(output))
