"""``volseg demo``: the whole way, from phantom hearts to a report, in one command."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli import console
from volseg.errors import UsageError

if TYPE_CHECKING:
    from volseg.recipe import Recipe

# Patients that are learnt from and patients that nobody has seen are drawn from different seeds.
_LEARN, _UNSEEN = 1, 2
_UNSEEN_PATIENTS = 5
# the smallest slices that a heart fits into with some air around it, in voxels
_SIZE = 96


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder for everything it makes.")] = Path(
        "volseg-demo"
    ),
    patients: Annotated[int, typer.Option(min=4, help="How many phantom patients to learn from.")] = 12,
    epochs: Annotated[int, typer.Option(min=1, help="How long to train.")] = 16,
) -> None:
    """Draw phantom hearts, train a small 3-D U-Net, segment unseen hearts, measure, report: minutes on two cores.

    Run again with the same options, it goes on where it was interrupted. The report's path is the last line.

    Examples:
        volseg demo
        volseg demo -o hearts --patients 8 --epochs 6
    """
    from volseg.recipe import load_recipe

    with as_file(files("volseg.cli").joinpath("demo.yaml")) as file:
        recipe = load_recipe(file, sets=[f"training.epochs={epochs}", f"training.validate_every={min(8, epochs)}"])
    _require_place(output)
    learn, unseen = output / "data" / f"learn-{patients}", output / "data" / "unseen"
    console.say("1 of 5: drawing phantom hearts")
    _draw(learn, patients, _LEARN)
    _draw(unseen, _UNSEEN_PATIENTS, _UNSEEN)
    console.say("2 of 5: training a small 3-D U-Net")
    bundle = _train(recipe, learn, output / "run")
    console.say("3 of 5: segmenting hearts it has not seen")
    masks = output / "masks"
    _predict(bundle, unseen, masks)
    console.say("4 of 5: measuring the masks")
    _evaluate(recipe, masks, unseen, output / "metrics.json")
    console.say("5 of 5: writing the report")
    console.result(str(_report(output, masks, unseen)))


def _require_place(output: Path) -> None:
    """Refuse a folder that holds other things than a demonstration."""
    if output.exists() and not output.is_dir():
        raise UsageError("is a file, and the demonstration needs a folder", where=output)
    ours = {"data", "run", "masks", "metrics.json", "report"}
    if output.is_dir() and any(e.name not in ours and not e.name.startswith(".") for e in output.iterdir()):
        raise UsageError("holds other things than a demonstration", where=output, mend="name a new folder with -o")


def _draw(folder: Path, patients: int, seed: int) -> None:
    from volseg.data.phantom import write_cohort
    from volseg.io.atomic_folder import atomic_folder

    if folder.exists():  # it appeared whole
        return
    with console.progress("phantom", patients) as step, atomic_folder(folder) as made:
        write_cohort(made, "heart", patients, seed, size=_SIZE, step=step)


def _train(recipe: Recipe, data: Path, run: Path) -> Path:
    from volseg.bundle.finished import leave_bundle
    from volseg.cli.train import Teller
    from volseg.engine.stopping import Stop
    from volseg.engine.train import train

    stop = Stop()
    result = train(recipe, data, run, resume=True, device="cpu", stop=stop, listeners=[Teller()])
    if result.interrupted is not None:
        console.say(f"{result.interrupted} in epoch {result.epoch}; run it again to go on")
        raise typer.Exit(console.INTERRUPTED)
    return leave_bundle(run)


def _predict(bundle: Path, images: Path, masks: Path) -> None:
    from volseg.bundle.load import load_bundle
    from volseg.prediction import Request, plan, run

    loaded = load_bundle(bundle)
    predictor = loaded.predictor(device="cpu")
    work = plan(Request(images, masks), {**loaded.identity, **predictor.settings})
    with console.progress("predicting", len(work.jobs)) as step:
        for outcome in run(work, predictor, loaded.recipe):
            step(outcome.record.case)


def _evaluate(recipe: Recipe, masks: Path, truths: Path, metrics: Path) -> None:
    from volseg.cli.evaluate import show
    from volseg.evaluation import evaluate_pairs, evaluation_json, pair_masks
    from volseg.io.atomic import write_json

    found = evaluate_pairs(pair_masks(masks, truths), labels=recipe.labels)
    write_json(metrics, evaluation_json(found))
    show(found)


def _report(output: Path, masks: Path, unseen: Path) -> Path:
    from volseg.report import Drawing, Sources, gather, require_place, write_report

    place = output / "report"
    require_place(place)
    gathered = gather(Sources(unseen, masks, unseen, output / "metrics.json"))
    drawing = Drawing(gathered.labels, {}, (unseen, masks))
    with console.progress("drawing", len(gathered.cases)) as step:
        return write_report(gathered, place, drawing, title="volseg demo: phantom hearts", step=step).index
