"""``volseg bundle build``: a bundle from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volseg.cli import console


def build(
    recipe: Annotated[Path, typer.Argument(help="The recipe, in YAML.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The bundle's folder.", show_default=False)],
    weights: Annotated[
        Path | None,
        typer.Option("-w", "--weights", help="Trained weights: .safetensors, .pt, or a checkpoint of a training."),
    ] = None,
    results: Annotated[
        Path | None, typer.Option("--results", help="The JSON of an evaluation of these weights, for the model card.")
    ] = None,
) -> None:
    """Render a recipe as a MONAI bundle; the same recipe and weights give the same bytes.

    Weights and results that are in the folder stay.

    Examples:
        volseg bundle build configs/heart_unet3d.yaml -o heart
        volseg bundle build configs/heart_unet3d.yaml -o heart -w best.safetensors
    """
    from volseg.bundle.rendering.build import build_bundle
    from volseg.recipe import load_recipe

    folder = build_bundle(load_recipe(recipe), output, weights=weights, results=results)
    console.result(str(folder))
