"""``volseg plan``: a recipe for a data folder, every choice with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from volseg.cli import console
from volseg.cli import reading as options
from volseg.errors import UsageError

if TYPE_CHECKING:
    from volseg.data.cohort import Case, Cohort
    from volseg.data.fingerprint import Fingerprint
    from volseg.planning.planner import Means, Plan

# of the memory that is free, what a training may take: images, the reader and the rest need some too
_SHARE = 0.8


class Dims(StrEnum):
    TWO = "2"
    THREE = "3"
    BOTH = "both"


def plan(
    data: Annotated[Path, typer.Argument(help="A data folder with label maps, or a CSV.", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The recipe to write.", show_default=False)],
    memory: Annotated[
        str | None, typer.Option(help="What a training may take, as 8GiB.", show_default="what is free")
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="Time for one training, as 30min.", show_default="as long as it takes")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N: what will train.")] = "auto",
    dims: Annotated[
        Dims | None,
        typer.Option(help="Of the network; both writes NAME_2d.yaml and NAME_3d.yaml.", show_default="by the voxels"),
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="Names of the structures, as 'liver=1,spleen=2'.", show_default="as the data say")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print every choice with its reason.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a recipe that is there.")] = False,
    series: options.Series = None,
    geometry: options.Trusted = None,
    assume_ras: options.AssumeRas = False,
    fill_nan: options.FillNan = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the choices, reasons and measurements as JSON.")
    ] = False,
    processes: Annotated[int, typer.Option(help="Cases read at the same time.", min=1)] = 2,
) -> None:
    """Plan a training: measure the data, rehearse a few steps on this machine, write a recipe with its reasons.

    Examples:
        volseg plan data/ -o configs/mine.yaml --explain
        volseg plan data/ -o configs/mine.yaml --memory 8GiB --budget 30min
    """
    seconds = _seconds(budget)
    files = _files(output, dims)
    if not overwrite and (there := [file for file in files if file.exists()]):
        raise UsageError("is there already", where=there[0], mend="--overwrite replaces it")
    from volseg.data.aliases import MEND, find_aliases
    from volseg.data.cohort import find_cases
    from volseg.data.fingerprint import fingerprint
    from volseg.inference.memory import parse_bytes
    from volseg.planning.naming import parse_names, renamed
    from volseg.planning.plannable import require_plannable
    from volseg.planning.sizing import FEWEST

    names = parse_names(labels) if labels is not None else None
    given = None if memory is None else parse_bytes(memory)
    cohort = find_cases(data)
    for note in cohort.notes:
        console.say(note)
    reading = options.reading(series, geometry, assume_ras, fill_nan)
    with console.progress("measuring", len(cohort)) as step:
        found = fingerprint(cohort, reading=reading, processes=processes, step=step)
    if names is not None:
        found = renamed(found, names)
    require_plannable(found, data)
    for alias in find_aliases(cohort.labelled):
        console.warn(f"{alias}; before training {MEND}")
    means = _means(given, seconds, device)
    made = {
        file: _plan(found, cohort, reading, means, device, wanted, file.stem, data)
        for file, wanted in zip(files, _wanted(dims), strict=True)
    }
    from volseg.io.atomic import write_text

    for file, planned in made.items():
        write_text(file, planned.to_yaml())
        if explain and not as_json:
            _explain(planned)
        console.say(f"{file}: {_summary(planned)}; train it with volseg train -r {file} -d {data} -o RUN")
        if planned.steps < FEWEST:
            console.warn(
                f"{file}: {planned.steps} steps teach a network little; all that a longer --budget adds goes into steps"
            )
    if as_json:
        console.result_json({str(file): _plain(planned) for file, planned in made.items()})


def _plan(
    found: Fingerprint,
    cohort: Cohort,
    reading: dict[str, Any],
    means: Means,
    device: str,
    dims: Literal[2, 3] | None,
    name: str,
    data: Path,
) -> Plan:
    from volseg.engine.rehearsal import measure_apart
    from volseg.planning.measured import Measured
    from volseg.planning.planner import plan as make
    from volseg.recipe import Recipe

    measure = measure_apart(_typical(found, cohort), device, reading)

    def told(recipe: Recipe) -> Measured | None:
        size = f"{recipe.network.channels[0]} channels" if recipe.network.kind == "unet" else "the network"
        console.say(f"rehearsing {size}, patches of {'x'.join(map(str, recipe.training.patch))}")
        return measure(recipe)

    return make(found, means, told, dims=dims, name=_bundle_name(name), where=data)


def _typical(found: Fingerprint, cohort: Cohort) -> list[Case]:
    """A case of middling size, and the largest."""
    from math import prod

    ordered = [case.case for case in sorted(found.labelled, key=lambda case: prod(case.shape))]
    return [cohort[name] for name in dict.fromkeys([ordered[len(ordered) // 2], ordered[-1]])]


def _means(memory: int | None, budget: float | None, device: str) -> Means:
    from volseg.engine.device import device_named
    from volseg.inference.memory import available
    from volseg.planning.planner import Means

    place = device_named(device)
    return Means(memory or int(_SHARE * available(place)), budget, "cuda" if place.type == "cuda" else "cpu")


def _seconds(budget: str | None) -> float | None:
    from volseg.recipe.units import parse_seconds

    if budget is None:
        return None
    try:
        seconds = parse_seconds(budget)
    except ValueError:
        seconds = 0
    if seconds < 1:
        raise UsageError(f"--budget {budget!r} is no length of time", mend="write 30min or 1h30min")
    return float(seconds)


def _files(output: Path, dims: Dims | None) -> list[Path]:
    if output.suffix not in (".yaml", ".yml"):
        raise UsageError("a recipe is a .yaml file", where=output, mend=f"-o {output.with_suffix('.yaml')}")
    if dims is not Dims.BOTH:
        return [output]
    return [output.with_stem(f"{output.stem}_{ending}") for ending in ("2d", "3d")]


def _wanted(dims: Dims | None) -> Sequence[Literal[2, 3] | None]:
    if dims is Dims.BOTH:
        return (2, 3)
    return (None,) if dims is None else (2,) if dims is Dims.TWO else (3,)


def _bundle_name(stem: str) -> str:
    """A file's name as a bundle's: small letters, digits and underscores."""
    found = "".join(c if c.isascii() and c.isalnum() else "_" for c in stem.lower()).strip("_")
    return found[:64] or "planned"


def _explain(planned: Plan) -> None:
    from volseg.recipe.spelling import spell

    rows = [[choice.key, spell(choice.value), choice.reason] for choice in planned.choices]
    console.result_table(["key", "value", "reason"], rows)


def _summary(planned: Plan) -> str:
    recipe = planned.recipe
    training = recipe.training
    patch = "x".join(map(str, training.patch))
    return (
        f"a {recipe.spatial_dims}-D network over patches of {patch}, {planned.steps} steps of {planned.cost.step:.2g} s"
    )


def _plain(planned: Plan) -> dict[str, object]:
    from dataclasses import asdict

    return {
        "choices": [asdict(choice) for choice in planned.choices],
        "measured": asdict(planned.cost),
        "predicted_memory": planned.predicted,
    }
