"""``volseg cardiac``: volumes, ejection fractions and myocardial mass from segmented hearts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli import console
from volseg.cli import reading as options
from volseg.cli.evaluate import require_places
from volseg.errors import UsageError

if TYPE_CHECKING:
    from volseg.evaluation.cardiac import CardiacStudy


def cardiac(
    predictions: Annotated[
        Path,
        typer.Option(
            "-p",
            "--predictions",
            help="Masks of both ends of the beat, or of all frames of a cine; ACDC's layout, a folder or a tree.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The CSV to write, a row for each patient.", show_default=False)
    ],
    truths: Annotated[Path | None, typer.Option("-g", "--truths", help="True masks, to be compared with.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Also Bland-Altman plots, as SVG.")] = None,
    info: Annotated[
        Path | None,
        typer.Option("--info", help="Where patients' Info.cfg lie, if not beside the masks or the truths."),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("-r", "--recipe", help="Take labels and allowed spacings from this recipe.")
    ] = None,
    lv: Annotated[
        str, typer.Option("--lv", help="The left ventricle's label: a value, or a name in the recipe.")
    ] = "3",
    rv: Annotated[str, typer.Option("--rv", help="The right ventricle's label.")] = "1",
    myo: Annotated[str, typer.Option("--myo", help="The myocardium's label.")] = "2",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    processes: Annotated[int, typer.Option(help="Masks read at the same time.", min=1)] = 2,
) -> None:
    """Read EDV, ESV, SV, EF and myocardial mass from segmented hearts, and hold them against the truth.

    The ends of the beat are told by Info.cfg or by names ending with _ED and _ES; else the largest and the smallest
    left ventricle among a patient's frames decide. Exit code 3 when some patients cannot be measured.

    Examples:
        volseg cardiac -p masks/ -o hearts.csv
        volseg cardiac -p masks/ -g data/ -o hearts.csv --plot agreement.svg
    """
    from volseg.evaluation.cardiac import cardiac_csv, cardiac_json, measure_found
    from volseg.evaluation.hearts import Roles, find_hearts
    from volseg.io.atomic import write_bytes, write_text
    from volseg.recipe import load_recipe

    require_places(output, plot)
    if plot and not truths:
        raise UsageError("--plot compares with the truth", mend="give --truths")
    declared = load_recipe(recipe) if recipe else None
    roles = Roles.of(lv, rv, myo, declared.labels if declared else None)
    found = find_hearts(predictions, truths, info)
    for note in found.notes:
        console.say(note)
    with console.progress("measuring", found.masks) as step:
        study = measure_found(
            found, roles=roles, spacing_range=options.allowed_spacing(declared), processes=processes, step=step
        )
    write_text(output, cardiac_csv(study))
    if plot and study.compared:
        from volseg.evaluation.bland_altman import bland_altman_svg

        write_bytes(plot, bland_altman_svg(study))
    if as_json:
        console.result_json(cardiac_json(study))
    else:
        _show(study)
    for heart in study.failed:
        console.warn(str(heart.error))
    if plot and not study.compared:
        console.warn("no patient has both a prediction and a truth: no plot")
    console.say(f"{len(study.hearts) - len(study.failed)} of {len(study.hearts)} hearts measured")
    if study.failed:
        raise typer.Exit(console.SOME_FAILED)


def _show(study: CardiacStudy) -> None:
    from volseg.evaluation.cardiac import QUANTITIES
    from volseg.evaluation.tables import figure_text

    rows = []
    for heart in study.hearts:
        figures = heart.predicted.function.to_dict() if heart.predicted else {}
        cells = [figure_text(figures.get(quantity.key, float("nan")), 1) for quantity in QUANTITIES]
        said = (heart.error or "; ".join(heart.notes)).removeprefix(f"{heart.patient}: ")
        rows.append([heart.patient, heart.group or "-", *cells, said])
    titles = [f"{quantity.title} {quantity.unit}" for quantity in QUANTITIES]
    console.result_table(["patient", "group", *titles, "said"], rows)
    if not study.agreement:
        return
    rows = []
    for quantity in QUANTITIES:
        found = study.agreement[quantity.key]
        limits = f"{figure_text(found.lower, 2)} to {figure_text(found.upper, 2)}"
        rows.append(
            [
                f"{quantity.title} {quantity.unit}",
                str(found.n),
                str(found.missing),
                figure_text(found.correlation, 3),
                figure_text(found.bias, 2),
                limits,
                figure_text(found.absolute, 2),
            ]
        )
    console.result("")
    head = ["predicted less true", "n", "missing", "correlation", "bias", "limits of agreement", "mean absolute error"]
    console.result_table(head, rows)
