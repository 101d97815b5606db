"""``volseg sweep``: trainings of one recipe with some keys changed, and a table of what each gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli import console

if TYPE_CHECKING:
    from volseg.study.arms import Arm


def sweep(
    file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="What is varied.", show_default=False)],
    data: Annotated[Path, typer.Option("-d", "--data", help="A data folder, or a CSV.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--output", help="The sweep's folder.", show_default=False)],
    recipe: Annotated[
        Path | None,
        typer.Option("-r", "--recipe", help="The recipe that is changed.", show_default="the one that the file names"),
    ] = None,
    overlay: Annotated[
        list[Path] | None, typer.Option("--overlay", help="Changes of recipe keys, in YAML; may be repeated.")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="One recipe key, as training.epochs=20; may be repeated.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an earlier sweep.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    parallel: Annotated[
        int | None,
        typer.Option("--parallel", min=1, help="Trainings at the same time.", show_default="one on each GPU"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the recipes and their costs; train none.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Train a recipe in many variants, stop the hopeless ones early, keep the best as a bundle.

    Exit code 3 when some trainings fail, 130 when a signal interrupted it; --resume goes on.

    Examples:
        volseg sweep configs/sweeps/optimizers_2d.yaml -d data/ -o sweep/ --dry-run
        volseg sweep configs/sweeps/optimizers_2d.yaml -d data/ -o sweep/
    """
    from volseg.data.cohort.naming import counted
    from volseg.study.arms import base_recipe, make_arms
    from volseg.study.sweep_file import load_sweep

    chosen = load_sweep(file)
    arms = make_arms(chosen, base_recipe(chosen, file, recipe, overlay or [], sets or []), file)
    console.say(f"{counted(len(arms), 'recipe')}, {counted(len(arms[0].seeds), 'training')} of each")
    if dry_run:
        _tell_costs(arms, as_json)
        return
    from volseg.engine.stopping import Stop
    from volseg.study.sweep import sweep as run
    from volseg.study.sweep_table import sweep_json, sweep_text

    stop = Stop()
    result = run(chosen, arms, data, out, resume=resume, device=device, parallel=parallel, stop=stop, tell=console.say)
    if as_json:
        console.result_json(sweep_json(result.rows, result.folder))
    else:
        console.result_table(*sweep_text(result.rows))
    if result.interrupted is not None:
        console.say(f"{result.interrupted}; go on with --resume")
        raise typer.Exit(console.INTERRUPTED)
    failed = [row for row in result.rows if row.state == "failed"]
    for row in failed:
        console.warn(f"{row.arm.name}: {row.error}")
    console.say(
        f"table.csv, table.json and curves.svg are in {out}"
        + ("" if result.bundle is None else f"; the best bundle is in {result.bundle}")
    )
    if failed:
        raise typer.Exit(console.FAILED if len(failed) == len(result.rows) else console.SOME_FAILED)


def _tell_costs(arms: Sequence[Arm], as_json: bool) -> None:
    from dataclasses import asdict

    from volseg.study.costs import cost

    costs = {arm.name: (cost(arm.recipe), arm.recipe.training.epochs) for arm in arms}
    if as_json:
        console.result_json(
            [{"recipe": name, **asdict(found), "epochs": epochs} for name, (found, epochs) in costs.items()]
        )
        return
    rows = [
        [name, f"{found.parameters:,}", f"{found.operations / 1e9:.3g}", str(epochs)]
        for name, (found, epochs) in costs.items()
    ]
    console.result_table(["recipe", "parameters", "GFLOP", "epochs"], rows)
