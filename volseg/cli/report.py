"""``volseg report``: a folder of pages that open offline, with figures, plots and a viewer of every case."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from volseg.cli import console
from volseg.cli import reading as options


def report(
    images: Annotated[
        Path,
        typer.Option("-i", "--images", help="What was predicted: a file, folder, tree or CSV.", show_default=False),
    ],
    predictions: Annotated[
        Path,
        typer.Option(
            "-p",
            "--predictions",
            help="The masks; summary.json beside them tells names, colours, hints.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The folder to write; new, or an older report.", show_default=False)
    ],
    truths: Annotated[Path | None, typer.Option("-g", "--truths", help="True masks, to be compared with.")] = None,
    metrics: Annotated[
        Path | None, typer.Option("-m", "--metrics", help="What volseg evaluate measured; else it is measured here.")
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("-r", "--recipe", help="Take labels and allowed spacings from this recipe.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave truths without a mask out; else each is a failed case.")
    ] = False,
    title: Annotated[str, typer.Option(help="The report's title.")] = "Segmentation report",
    date: Annotated[
        str | None, typer.Option(help="Printed below the title; the same input gives the same bytes without it.")
    ] = None,
    frame: options.Frame = None,
    series: options.Series = None,
    geometry: options.Trusted = None,
    assume_ras: options.AssumeRas = False,
    fill_nan: options.FillNan = None,
    processes: Annotated[int, typer.Option(help="Cases read at the same time.", min=1)] = 2,
) -> None:
    """Write a report that opens offline in any browser: figures, plots, the worst cases first, a viewer of each.

    Exit code 3 when some cases failed; they are in the report with their reasons.

    Examples:
        volseg report -i data/ -p masks/ -o report/
        volseg report -i data/ -p masks/ -g data/ -o report/
    """
    from volseg.recipe import load_recipe
    from volseg.report import Drawing, Sources, gather, require_place, write_report

    require_place(output)
    declared = load_recipe(recipe) if recipe else None
    allowed = options.allowed_spacing(declared)
    reading = options.reading(series, geometry, assume_ras, fill_nan)
    if truths and not metrics:
        console.say("measuring the masks")
    sources = Sources(
        images,
        predictions,
        truths,
        metrics,
        declared.labels if declared else None,
        frame,
        partial,
        instances=declared.labelling.instances if declared else False,
        spacing_range=allowed,
        reading=reading,
    )
    gathered = gather(sources, processes=processes)
    for note in gathered.notes:
        console.say(note)
    roots = tuple(p for p in (images, predictions, truths) if p is not None)
    drawing = Drawing(gathered.labels, reading, roots, allowed)
    with console.progress("drawing", len(gathered.cases)) as step:
        done = write_report(gathered, output, drawing, title=title, date=date, processes=processes, step=step)
    for line in done.failed:
        console.warn(line)
    console.say(f"{done.cases - len(done.failed)} of {done.cases} cases are complete")
    console.result(str(done.index))
    if done.failed:
        raise typer.Exit(console.SOME_FAILED)
