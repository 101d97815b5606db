"""``volseg train``: from a recipe and a data folder to a folder with weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from volseg.cli import console
from volseg.errors import UsageError

if TYPE_CHECKING:
    from volseg.recipe import Recipe


def train(
    data: Annotated[Path, typer.Option("-d", "--data", help="A data folder, or a CSV.", show_default=False)],
    out: Annotated[Path, typer.Option("-o", "--output", help="The run's folder.", show_default=False)],
    recipe: Annotated[
        Path | None,
        typer.Option("-r", "--recipe", help="A recipe. With --resume, the run's own by default.", show_default=False),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run was interrupted.")] = False,
    fold: Annotated[int, typer.Option(min=0, help="The fold that is validated and not learnt from.")] = 0,
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

    Exit code 130 when a signal interrupted it. Example: volseg train -r configs/heart_unet3d.yaml -d data/ -o run/
    """
    chosen = _recipe(recipe, out, resume, overlay or [], sets or [])
    from volseg.engine.stopping import Stop
    from volseg.engine.train import train as run

    stop = Stop(chosen.training.time_limit)
    result = run(
        chosen,
        data,
        out,
        fold=fold,
        resume=resume,
        device=device,
        deterministic=deterministic,
        stop=stop,
        listeners=[_Teller()],
    )
    if result.interrupted is not None:
        console.say(f"{result.interrupted} in epoch {result.epoch}; go on with --resume")
        if stop.interrupted:
            raise typer.Exit(console.INTERRUPTED)
        return
    best = f", best Dice {result.best:.4f} in epoch {result.best_epoch}" if result.best is not None else ""
    if int(os.environ.get("RANK", "0")) > 0:  # one of torchrun's processes tells and builds for all
        return
    from volseg.bundle.finished import leave_bundle

    console.say(f"trained for {result.epoch} epochs{best}; the bundle is in {leave_bundle(out)}")


def _recipe(path: Path | None, out: Path, resume: bool, overlays: list[Path], sets: list[str]) -> Recipe:
    from volseg.recipe import load_recipe

    if path is None:
        path = out / "recipe.yaml"
        if not resume:
            raise UsageError("a training needs a recipe", mend="-r RECIPE.yaml; with --resume the run's own serves")
        if not path.exists():
            raise UsageError("holds no run to go on with", where=out, mend="begin it with -r RECIPE.yaml")
    return load_recipe(path, overlays, sets)


class _Teller:
    """Tells a training's events as lines a person reads."""

    def __call__(self, event: dict[str, Any]) -> None:
        told = getattr(self, "_" + event["event"].replace(" ", "_"), None)
        if told is not None:
            told(event)

    def _note(self, event: dict[str, Any]) -> None:
        console.say(event["text"])

    def _prepared(self, event: dict[str, Any]) -> None:
        console.detail(f"prepared {event['number']}/{event['count']} {event['case']}")

    def _start(self, event: dict[str, Any]) -> None:
        cases = event["cases"]
        console.say(
            f"{cases['train']} cases to learn from, {cases['validation']} to validate"
            + (f", {cases['test']} to test" if cases["test"] else "")
            + f"; {event['parameters']:,} parameters on {event['device']}, {event['arithmetic']}"
        )
        for way, seconds in event["probe"].items():
            console.detail(f"a step takes {seconds:.3f} s in {way}")

    def _resumed(self, event: dict[str, Any]) -> None:
        console.say(f"going on after step {event['iteration']}, epoch {event['epoch']}")

    def _epoch(self, event: dict[str, Any]) -> None:
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


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(42), duration(200), duration(7260)
    ('42 s', '3 min', '2 h 1 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
