"""``volseg fingerprint``: what a data folder is like, in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli import console
from volseg.cli import reading as options

if TYPE_CHECKING:
    from volseg.data.fingerprint import Fingerprint


def fingerprint(
    data: Annotated[Path, typer.Argument(help="A data folder, or a CSV.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the JSON here.", show_default=False)
    ] = None,
    series: options.Series = None,
    geometry: options.Trusted = None,
    assume_ras: options.AssumeRas = False,
    fill_nan: options.FillNan = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    processes: Annotated[int, typer.Option(help="Cases read at the same time.", min=1)] = 2,
) -> None:
    """Measure what the images and label maps of a cohort are like; each file is read once.

    Exit code 3 when some cases cannot be read.

    Examples:
        volseg fingerprint data/
        volseg fingerprint data/ -o fingerprint.json
    """
    from volseg.data.cohort import find_cases
    from volseg.data.fingerprint import fingerprint as measure
    from volseg.io.atomic import write_json

    cohort = find_cases(data)
    for note in cohort.notes:
        console.say(note)
    reading = options.reading(series, geometry, assume_ras, fill_nan)
    with console.progress("measuring", len(cohort)) as step:
        found = measure(cohort, reading=reading, processes=processes, step=step)
    if output is not None:
        write_json(output, found.to_dict())
        console.say(f"written to {output}")
    if as_json:
        console.result_json(found.to_dict())
    elif output is None:
        _show(found)
    for case in found.failed:
        console.warn(str(case.error))
    if found.failed:
        raise typer.Exit(console.SOME_FAILED)


def _show(found: Fingerprint) -> None:
    console.result_table(["what", "value"], _facts(found))
    if found.classes:
        console.result("")
        console.result_table(
            ["structure", "cases", "missing", "volume", "share", "parts", "one part", "no holes"], _classes(found)
        )


def _facts(found: Fingerprint) -> list[list[str]]:
    good = found.good
    rows = [
        ["layout", found.layout],
        ["cases", f"{len(found.cases)}, {len(found.labelled)} with a label map"],
        ["patients", f"{len(found.patients)}" + _named(found.groups)],
        ["modality", f"{found.modality.modality}, {found.modality.sureness}: {found.modality.why}"],
    ]
    for dims in sorted({len(case.shape) for case in good}):
        alike = [case for case in good if len(case.shape) == dims]
        name = f" ({dims}-D)" if len({len(case.shape) for case in good}) > 1 else ""
        rows.append([f"shape{name}", _ranges([case.shape for case in alike])])
        if all(case.picture for case in alike):  # they have no scale in millimetres
            continue
        rows.append([f"spacing mm{name}", _ranges([case.spacing for case in alike])])
        rows.append([f"field of view mm{name}", _ranges([case.extent for case in alike])])
    codes = sorted({case.axcodes for case in good})
    rows.append(["axes in the files", " ".join(codes)])
    for channel in range(max((len(case.channels) for case in good), default=0)):
        inside = found.foreground(channel)
        if inside is not None:
            told = (
                f"mean {inside.mean:.4g}, std {inside.std:.4g}, {inside.low:.4g} to {inside.high:.4g} (0.5 to 99.5 %)"
            )
            rows.append([f"inside the structures, channel {channel}", told])
    if found.instances:
        objects = [case.objects for case in found.labelled if case.objects is not None]
        counts = sorted(o.count for o in objects)
        touching = sum(o.touching for o in objects) / len(objects)
        rows.append(["objects", f"{counts[0]} to {counts[-1]} per image, {touching:.0%} touch another"])
    return rows


def _classes(found: Fingerprint) -> list[list[str]]:
    names = {value: name for name, value in found.declared.labels.items()}
    unit = "ml" if any(len(case.shape) == 3 for case in found.good) else "cm²"
    pictures = all(case.picture for case in found.good)

    def size(volume: float) -> str:
        # a pixel of a picture counts as a square millimetre, and is told as what it is
        return f"{100 * volume:,.0f}" if pictures else f"{volume:.3g}"

    return [
        [
            f"{c.value} {names.get(c.value, '')}".strip(),
            str(c.cases),
            str(len(c.missing)),
            f"{size(c.volumes[0])} to {size(c.volumes[2])} {'pixels' if pictures else unit}",
            f"{c.share:.3%}",
            f"{c.components[0]:g}, at most {c.components[1]}",
            f"{c.single:.0%}",
            f"{c.whole:.0%}",
        ]
        for c in found.classes
    ]


def _ranges(rows: list[tuple[float, ...]]) -> str:
    """Smallest, median and largest along each axis; one number where they are alike."""
    told = []
    for column in zip(*rows, strict=True):
        ordered = sorted(column)
        low, middle, high = ordered[0], ordered[len(ordered) // 2], ordered[-1]
        same = high - low < 1e-3 * max(abs(high), 1e-9)
        told.append(f"{middle:.4g}" if same else f"{middle:.4g} ({low:.4g} to {high:.4g})")
    return " x ".join(told)


def _named(groups: dict[str, int]) -> str:
    return " (" + ", ".join(f"{name} {count}" for name, count in groups.items()) + ")" if groups else ""
