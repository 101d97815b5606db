"""``volseg check``: every case of a data folder read to the end and judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli import console
from volseg.cli import reading as options

if TYPE_CHECKING:
    from volseg.data.judgement import Judgement


def check(
    data: Annotated[Path, typer.Argument(help="A data folder, a file or a CSV.", show_default=False)],
    recipe: Annotated[
        Path | None, typer.Option("-r", "--recipe", help="Hold label values and spacings against this recipe's.")
    ] = None,
    frame: options.Frame = None,
    each_frame: options.EachFrame = False,
    series: options.Series = None,
    geometry: options.Trusted = None,
    assume_ras: options.AssumeRas = False,
    fill_nan: options.FillNan = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    processes: Annotated[int, typer.Option(help="Cases read at the same time.", min=1)] = 2,
) -> None:
    """Read every case to the end and judge it: integrity, geometry, voxels, labels, pairing.

    Exit code 3 when some cases fail.

    Examples:
        volseg check data/
        volseg check data/ --recipe configs/acdc_unet3d.yaml --json
    """
    from volseg.data import aliases, codings
    from volseg.data.cohort import find_cases
    from volseg.data.judgement import judge_all
    from volseg.recipe import load_recipe

    declared = load_recipe(recipe) if recipe else None
    cohort = find_cases(data, frames=options.frames(frame, each_frame))
    reading = options.reading(series, geometry, assume_ras, fill_nan)
    for note in cohort.notes:
        console.say(note)
    found = []
    with console.progress("checking", len(cohort.cases)) as step:
        judgements = judge_all(
            cohort.cases,
            declared.labels if declared else None,
            reading=reading,
            instances=declared.labelling.instances if declared else False,
            spacing_range=options.allowed_spacing(declared),
            processes=processes,
        )
        for judgement in judgements:
            found.append(judgement)
            step(judgement.case)
    bad = sum(not judgement.good for judgement in found)
    readable = {judgement.case for judgement in found if judgement.good}
    twice = [str(alias) for alias in aliases.find_aliases(case for case in cohort.labelled if case.name in readable)]
    coded = codings.contradiction({j.case: j.labels for j in found if j.labels})
    if as_json:
        cases = [judgement.to_dict() for judgement in found]
        told = {"layout": cohort.layout, "cases": cases, "failed": bad, "aliases": twice}
        console.result_json({**told, "contradictions": [coded] if coded else []})
    else:
        _show(found)
    for alias in twice:
        console.warn(f"{alias}; before training {aliases.MEND}")
    if coded:
        console.warn(f"{coded}; {codings.MEND}")
    console.say(f"{len(found) - bad} of {len(found)} cases are good")
    if bad:
        raise typer.Exit(console.SOME_FAILED)


def _show(found: Sequence[Judgement]) -> None:
    rows = []
    for j in found:
        verdict = j.error if j.error else "good" + (f" ({'; '.join(j.notes)})" if j.notes else "")
        shape, spacing = "x".join(map(str, j.shape)), " ".join(f"{s:.4g}" for s in j.spacing)
        labels = "" if j.labels is None else " ".join(map(str, j.labels[:8])) + (" …" if len(j.labels) > 8 else "")
        rows.append([j.case, shape, spacing, j.axcodes, labels, verdict])
    console.result_table(["case", "shape", "spacing mm", "axes", "labels", "verdict"], rows, {"good": "green"})
