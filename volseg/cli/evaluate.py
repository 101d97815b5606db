"""``volseg evaluate``: predictions held against truths."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli import console
from volseg.cli import reading as options
from volseg.errors import UsageError, VolumeError

if TYPE_CHECKING:
    from volseg.evaluation import Evaluation, PairedComparison

# The terminal shows so many cases; the files hold all.
_WORST = 10


class Missed(StrEnum):
    DIAGONAL = "diagonal"
    INFINITE = "infinite"


class BothEmpty(StrEnum):
    NOT_APPLICABLE = "not-applicable"
    PERFECT = "perfect"


def evaluate(
    predictions: Annotated[
        Path, typer.Option("-p", "--predictions", help="Label maps: a folder, a tree or a file.", show_default=False)
    ],
    truths: Annotated[
        Path,
        typer.Option(
            "-g",
            "--truths",
            help="Truths: beside their images or in a folder of their own; ACDC, Decathlon, nnU-Net, a CSV, a file.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The JSON file to write, worst cases first.", show_default=False)
    ],
    csv: Annotated[Path | None, typer.Option("--csv", help="Also a CSV: a row for each case and structure.")] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "-r",
            "--recipe",
            help="Take labels and allowed spacings from this recipe; else each value in the truths is a label, with "
            "the name that volseg predict told of it.",
        ),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", help="A second prediction of the same cases, compared pair by pair.")
    ] = None,
    tolerance: Annotated[float, typer.Option(min=0.0, help="Of the surface Dice, in mm.")] = 2.0,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring predictions on other grids onto the truth's; else they fail.")
    ] = False,
    missed: Annotated[
        Missed,
        typer.Option(help="A distance to a structure that was missed: the field of view's diagonal, or infinite."),
    ] = Missed.DIAGONAL,
    both_empty: Annotated[
        BothEmpty,
        typer.Option(
            help="A structure in neither truth nor prediction: left out and counted, or perfect (as in ACDC)."
        ),
    ] = BothEmpty.NOT_APPLICABLE,
    partial: Annotated[
        bool, typer.Option("--partial", help="Leave truths without a prediction out; else each is a failed case.")
    ] = False,
    geometry: options.Trusted = None,
    assume_ras: options.AssumeRas = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON.")] = False,
    processes: Annotated[int, typer.Option(help="Cases scored at the same time.", min=1)] = 2,
) -> None:
    """Measure predictions: Dice, IoU, HD95, HD, ASSD, surface Dice and volumes, of each case and of the cohort.

    Exit code 3 when some cases cannot be scored.

    Examples:
        volseg evaluate -p masks/ -g data/ -o metrics.json --csv cases.csv
        volseg evaluate -p masks/ -g data/ -o metrics.json --compare others/
    """
    from volseg.evaluation import evaluate_pairs, evaluation_csv, evaluation_json, pair_masks
    from volseg.io.atomic import write_json, write_text
    from volseg.metrics import EmptyPolicy
    from volseg.recipe import load_recipe

    require_places(output, csv)
    declared = load_recipe(recipe) if recipe else None
    pairs = pair_masks(predictions, truths)
    other = pair_masks(compare, truths) if compare else None
    for note in pairs.notes:
        console.say(note)
    with console.progress("evaluating", len(pairs.found) + (len(other.found) if other else 0)) as step:
        found = evaluate_pairs(
            pairs,
            other,
            labels=declared.labels if declared else None,
            names=_told(predictions),
            instances=declared.labelling.instances if declared else False,
            tolerance=tolerance,
            policy=EmptyPolicy(both_empty.value, missed.value),
            resample=resample,
            partial=partial,
            spacing_range=options.allowed_spacing(declared),
            reading=options.reading(None, geometry, assume_ras, None),
            processes=processes,
            step=step,
        )
    told = evaluation_json(found)
    write_json(output, told)
    if csv:
        write_text(csv, evaluation_csv(found))
    if as_json:
        console.result_json(told)
    else:
        show(found)
    for case in found.failed:
        console.warn(str(case.error))
    for error in found.comparison.errors.values() if found.comparison else ():
        console.warn(f"{compare}: {error}")
    count, failed = len(found.cases), len(found.failed)
    console.say(f"{count - failed} of {count} cases scored" + (", the means leave the others out" if failed else ""))
    if not found.complete:
        raise typer.Exit(console.SOME_FAILED)


def _told(predictions: Path) -> dict[int, str]:
    """The names of values, where our own summary lies beside the predictions."""
    from volseg.report.told import read_summary

    try:
        labels = read_summary(predictions).labels
    except VolumeError:  # other programs write a summary.json as well
        return {}
    return {} if labels is None else {structure.value: structure.name for structure in labels.structures}


def require_places(*files: Path | None) -> None:
    """Refuse before the work what could not be written after it."""
    given = [file for file in files if file is not None]
    for file in given:
        if file.is_dir():
            raise UsageError("is a folder, and a file is to be written", where=file, mend="name the file in it")
        if not file.parent.is_dir():
            raise UsageError("the folder of this file does not exist", where=file, mend="create it first")
    if len({file.resolve() for file in given}) < len(given):
        raise UsageError("two results would be this one file", where=given[0])


def show(found: Evaluation) -> None:
    """Print the cohort's table, and the worst cases."""
    from volseg.evaluation.tables import figure_text, interval_text

    rows = []
    for summary in found.structures:
        means = summary.means
        cells = [interval_text(means[key], 3) for key in ("dice", "surface_dice")]
        cells += [interval_text(means[key], 2) for key in ("hd95", "assd", "difference_ml")]
        lost = f"{summary.missed} missed" if summary.missed else ""
        made_up = f"{summary.invented} invented" if summary.invented else ""
        rows.append([summary.structure, *cells, str(means["dice"].n), ", ".join(filter(None, [lost, made_up]))])
    mean = [figure_text(found.mean[key], 3) for key in ("dice", "surface_dice")]
    mean += [figure_text(found.mean[key], 2) for key in ("hd95", "assd", "difference_ml")]
    rows.append(["mean of structures", *mean, "", ""])
    surface = f"surface Dice {found.tolerance:g} mm"
    console.result_table(
        ["structure", "Dice", surface, "HD95 mm", "ASSD mm", "volume bias ml", "n", "worth a look"], rows
    )
    if found.comparison is not None:
        console.result("")
        _show_comparison(found.comparison)
    console.result("")
    worst = found.worst_first()
    rows = []
    for case in worst[:_WORST]:
        said = case.error or "; ".join(case.notes)
        dice = [figure_text(case[name].dice, 3) if case.good else "-" for name in found.labels.names]
        rows.append([case.case, figure_text(found.dice(case), 3), *dice, said])
    console.result_table(["worst cases", "mean Dice", *found.labels.names, "said"], rows)
    if len(worst) > _WORST:
        console.say(f"{len(worst) - _WORST} better cases are in the files")


def _show_comparison(comparison: PairedComparison) -> None:
    from volseg.evaluation import MEASURES
    from volseg.evaluation.tables import figure_text, interval_text

    rows = []
    for structure, measured in comparison.structures.items():
        for measure in MEASURES:
            if measure.key not in measured or measure.key not in ("dice", "surface_dice", "hd95", "assd"):
                continue
            result = measured[measure.key]
            p = "-" if figure_text(result.p_value, 4) == "-" else f"{result.p_value:.2g}"
            title = measure.title + (f" {measure.unit}" if measure.unit else "")
            rows.append([structure, title, interval_text(result.difference, 3), p, str(result.difference.n)])
    console.result_table(["structure", "measure", "first less second", "p (Wilcoxon)", "n"], rows)
    if comparison.left_out:
        console.say(f"{len(comparison.left_out)} cases are not in both predictions and not compared")
