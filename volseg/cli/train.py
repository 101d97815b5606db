"""``volseg train``: from a recipe and a data folder to a folder with weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from volseg.cli import console
from volseg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from volseg.engine.starting import Start
    from volseg.recipe import Recipe
    from volseg.recipe.postprocessing import Postprocessing


def train(
    data: Annotated[Path, typer.Option("-d", "--data", help="A data folder, or a CSV.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--output", help="The run's folder.", show_default=False)],
    recipe: Annotated[
        Path | None,
        typer.Option("-r", "--recipe", help="A recipe. With --resume, the run's own by default.", show_default=False),
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option("-b", "--bundle", help="Take the recipe of this bundle instead.", show_default=False)
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--start-from", help="Start from this bundle's weights instead of random ones.", metavar="BUNDLE"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run was interrupted.")] = False,
    fold: Annotated[
        str, typer.Option(metavar="K|all", help="The fold that is validated and not learnt from, or each in turn.")
    ] = "0",
    overlay: Annotated[
        list[Path] | None, typer.Option("--overlay", help="Changes of recipe keys, in YAML; may be repeated.")
    ] = None,
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="One recipe key, as training.epochs=20; may be repeated.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="On a GPU: the same bits each time, where torch can.")
    ] = False,
) -> None:
    """Train a network; interrupt it whenever you like, and go on with --resume.

    With --fold all a network for each fold, the masks of all cases by the network that never saw them, what is done to
    masks and how far they can be trusted, and one bundle of all networks.

    Exit code 130 when a signal interrupted it.

    Examples:
        volseg train -r configs/heart_unet3d.yaml -d data/ -o run/
        volseg train -d data/ -o run/ --resume
        volseg train -b bundles/acdc_unet3d -d data/ -o run/ --set training.epochs=20
        volseg train -b bundles/acdc_unet2d --start-from bundles/acdc_unet2d -d data/ -o run/
        volseg train -r configs/mine.yaml -d data/ -o folds/ --fold all
    """
    chosen = _recipe(recipe, bundle, out, resume, overlay or [], sets or [])
    how: dict[str, Any] = {
        "resume": resume,
        "start": _start(start, chosen),
        "device": device,
        "deterministic": deterministic,
    }
    if fold == "all":
        _train_all(chosen, data, out, **how)
        return
    if not fold.isdecimal():
        raise UsageError(f"--fold {fold} is no fold", mend="a number from 0, or all")
    from volseg.engine.train import train as run

    with console.meter("steps") as meter:
        result = run(chosen, data, out, fold=int(fold), listeners=[Teller(meter)], **how)
    if not result.is_of_use:
        console.say(f"{result.interrupted} in epoch {result.epoch}; go on with --resume")
        if result.signalled:
            raise typer.Exit(console.INTERRUPTED)
        return
    if int(os.environ.get("RANK", "0")) > 0:  # one of torchrun's processes tells and builds for all
        return
    from volseg.bundle.finished import leave_bundle

    told = "" if result.interrupted is None else f"{result.interrupted} (--resume goes on): "
    best = f", best Dice {result.best:.4f} in epoch {result.best_epoch}" if result.best is not None else ""
    of = "" if result.interrupted is None else f" of {chosen.training.epochs}"
    console.say(f"{told}trained for {result.epoch}{of} epochs{best}; the bundle is in {leave_bundle(out)}")


def _start(bundle: Path | None, recipe: Recipe) -> Start | None:
    if bundle is None:
        return None
    from volseg.bundle.load import load_bundle

    return load_bundle(bundle).start(recipe)


def _train_all(chosen: Recipe, data: Path, out: Path, **how: Any) -> None:
    from volseg.engine.stopping import Stop
    from volseg.evaluation.tables import figure_text, interval_text
    from volseg.study.cross_validation import cross_validate

    stop = Stop()
    with console.meter("steps") as meter:
        found = cross_validate(chosen, data, out, stop=stop, listeners=[Teller(meter)], tell=console.say, **how)
    if found.interrupted is not None:
        console.say(f"{found.interrupted}; go on with --resume")
        if stop.interrupted:
            raise typer.Exit(console.INTERRUPTED)
        return
    if found.evaluation is None or found.trust is None or found.clean_up is None or found.average is None:
        return  # another of torchrun's processes tells
    rows = []
    for summary in found.evaluation.structures:
        steps = found.clean_up.get(summary.structure)
        told = found.trust.trust.assessment.get(summary.structure, {})
        rows.append(
            [
                summary.structure,
                interval_text(summary.means["dice"], 4),
                interval_text(summary.means["hd95"], 2),
                "-"
                if steps is None
                else _steps(steps.steps, chosen.image.spatial_dims) + (f" (+{steps.gain:.4f})" if steps.gain else ""),
                figure_text(_number(told.get("spearman")), 2),
                figure_text(_number(told.get("coverage")), 2),
            ]
        )
    head = ["structure", "Dice", "HD95 mm", "post-processing", "trust: Spearman", "covered"]
    console.result_table(head, rows)
    difference = interval_text(found.average.difference, 4)
    kind = "the average of all networks" if found.average.as_good else "an ensemble of all networks"
    console.say(f"Dice of the average of weights less that of the ensemble: {difference}; the bundle is {kind}")
    drawn = ", calibration.svg" if found.trust.told else ""
    console.say(f"metrics.json, cross_validation.json{drawn} are in {out}; the bundle is in {found.bundle}")


def _steps(steps: Postprocessing, dims: int) -> str:
    """What is done to a structure, in words."""
    unit = steps.unit if steps.unit == "voxels" else "mm²" if dims == 2 else "mm³"
    words = ["largest part"] if steps.largest_component else []
    words += [f"parts from {steps.minimum_size:g} {unit}"] if steps.minimum_size else []
    words += ["holes filled"] if steps.fill_holes else []
    return ", ".join(words) or "none"


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _recipe(
    path: Path | None, bundle: Path | None, out: Path, resume: bool, overlays: list[Path], sets: list[str]
) -> Recipe:
    from volseg.recipe import load_recipe

    if bundle is not None:
        if path is not None:
            raise UsageError("a training has one recipe", mend="either -r RECIPE.yaml or -b BUNDLE")
        path = bundle / "configs" / "recipe.yaml"
        if not path.is_file():
            raise UsageError("is no folder of a bundle", where=bundle, mend="a zip is unpacked by volseg bundle unpack")
    if path is None:
        path = out / "recipe.yaml"
        if not resume:
            raise UsageError(
                "a training needs a recipe", mend="-r RECIPE.yaml or -b BUNDLE; with --resume the run's own serves"
            )
        if not path.exists():
            raise UsageError("holds no run to go on with", where=out, mend="begin it with -r RECIPE.yaml")
    return load_recipe(path, overlays, sets)


class Teller:
    """Tells a training's events as lines a person reads, and each step to a meter."""

    def __init__(self, meter: Callable[[int, int], None] = lambda _done, _total: None) -> None:
        self.meter = meter

    def __call__(self, event: dict[str, Any]) -> None:
        told = getattr(self, "_" + event["event"].replace(" ", "_"), None)
        if told is not None:
            told(event)

    def _note(self, event: dict[str, Any]) -> None:
        console.say(event["text"])

    def _step(self, event: dict[str, Any]) -> None:
        self.meter(event["iteration"], event["iterations"])

    def _prepared(self, event: dict[str, Any]) -> None:
        console.detail(f"prepared {event['number']}/{event['count']} {event['case']}")

    def _start(self, event: dict[str, Any]) -> None:
        cases = event["cases"]
        console.say(
            f"{cases['train']} cases to learn from, {cases['validation']} to validate"
            + (f", {cases['test']} to test" if cases["test"] else "")
            + f"; {event['parameters']:,} parameters on {event['device']}, {event['arithmetic']}"
            + (", freed memory kept" if event["keeps memory"] else "")
        )
        for way, seconds in event["probe"].items():
            console.detail(f"a step takes {seconds:.3f} s in {way}")

    def _resumed(self, event: dict[str, Any]) -> None:
        console.say(f"going on after step {event['iteration']}, epoch {event['epoch']}")

    def _epoch(self, event: dict[str, Any]) -> None:
        from volseg.engine.log import duration

        words = [f"epoch {event['epoch']}/{event['epochs']}", f"loss {event['loss']:.4f}", f"lr {event['lr']:.2e}"]
        if event.get("dice") is not None:
            words.append(f"Dice {event['dice']:.4f}")
            words.append(" ".join(f"{name} {value:.3f}" for name, value in event["labels"].items()))
        if event.get("left"):
            words.append(f"{duration(event['left'])} left")
        console.say(", ".join(words))

    def _early_stop(self, event: dict[str, Any]) -> None:
        console.say(f"no progress any more: stopped early after epoch {event['epoch']}")

    def _test(self, event: dict[str, Any]) -> None:
        console.say(f"test: Dice {event['dice']:.4f} over {len(event['cases'])} cases")
