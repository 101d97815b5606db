"""``volseg predict``: a mask for every scan of a file, a folder, a tree or a DICOM series."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from volseg.cli import console
from volseg.cli import reading as options
from volseg.cli.prospect import tell_plan
from volseg.cli.remarks import Remarks
from volseg.errors import UsageError

if TYPE_CHECKING:
    from volseg.prediction.summary import Record


class Format(StrEnum):
    NII_GZ = "nii.gz"
    NII = "nii"
    NRRD = "nrrd"
    MHA = "mha"
    DICOM_SEG = "dicom-seg"
    PNG = "png"


class Tta(StrEnum):
    NONE = "none"
    FLIPS = "flips"
    ROTATIONS = "flips+rotations"


def predict(
    inputs: Annotated[Path, typer.Option("-i", "--input", help="A file, folder, tree, CSV or DICOM series.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The folder for masks and summary.json.")],
    bundle: Annotated[Path, typer.Option("-b", "--bundle", help="A volseg bundle: its folder or its zip.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    max_memory: Annotated[
        str | None,
        typer.Option(help="Peak above the loaded model and the input, such as 2GiB.", show_default="no limit"),
    ] = None,
    tile: Annotated[
        str | None, typer.Option(help="Size of pieces, such as 64,64,64.", show_default="as memory suggests")
    ] = None,
    blend: Annotated[bool, typer.Option("--blend", help="Overlapping windows instead of exact pieces.")] = False,
    tta: Annotated[
        Tta | None,
        typer.Option(
            metavar="COPIES",
            help=f"Average over mirrored and turned copies: {', '.join(Tta)}.",
            show_default="the recipe's",
        ),
    ] = None,
    form: Annotated[
        Format,
        typer.Option("--format", metavar="FORMAT", help=f"Of the masks: {', '.join(Format)}."),
    ] = Format.NII_GZ,
    save_probabilities: Annotated[bool, typer.Option("--save-probabilities", help="Write probabilities too.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite/--resume", help="Do finished cases again, or leave them as they are.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and what it takes; do and write nothing.")
    ] = False,
    num_parts: Annotated[int, typer.Option(min=1, help="In how many parts the cases are shared out.")] = 1,
    part_id: Annotated[int, typer.Option(min=0, help="Which part this is, from 0.")] = 0,
    frame: options.Frame = None,
    each_frame: options.EachFrame = False,
    series: options.Series = None,
    geometry: options.Trusted = None,
    assume_ras: options.AssumeRas = False,
    fill_nan: options.FillNan = None,
    show_names: Annotated[
        bool,
        typer.Option("--show-names", help="Name files in full; else by their place below the input and the output."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Segment a file, a folder, a tree or a DICOM series: one mask per case, on its own grid, and summary.json.

    Finished cases are left when run again. Exit code 3 when some cases fail.

    Examples:
        volseg predict -i scans/ -o masks/ -b bundles/acdc_unet2d
        volseg predict -i scan.nii.gz -o masks/ -b heart.zip --max-memory 2GiB
        volseg predict -i dicom/ -o masks/ -b spleen.zip --format dicom-seg
        volseg predict -i scans/ -o masks/ -b heart.zip --dry-run
    """
    from dataclasses import asdict, replace

    from volseg.bundle.load import load_bundle
    from volseg.prediction import Foresight, Request, plan, run

    request = Request(
        inputs,
        output,
        format=str(form),
        frames=options.frames(frame, each_frame),
        overwrite=overwrite,
        part=(part_id, num_parts),
        reading=options.reading(series, geometry, assume_ras, fill_nan),
        keep_probabilities=save_probabilities,
        show_names=show_names,
    )
    loaded = load_bundle(bundle)
    for note in loaded.notes:
        console.warn(note)
    if tta is not None:
        chosen = {"inference.tta": None if tta is Tta.NONE else str(tta)}
        recipe = loaded.recipe.changed(chosen, where=f"--tta {tta}")
        if loaded.trust is not None and recipe.inference.tta != loaded.recipe.inference.tta:
            console.warn("no trust score: the bundle's was calibrated with other copies than --tta asks for")
            loaded = replace(loaded, trust=None)
        loaded = replace(loaded, recipe=recipe)
    predictor = loaded.predictor(device=device, max_memory=max_memory, tile=_sizes(tile), blend=blend or None)
    foresee = Foresight(
        loaded.recipe, predictor, request.reading, keep_probabilities=save_probabilities, memory=dry_run
    )
    work = plan(request, {**loaded.identity, **predictor.settings}, foresee=foresee)
    for note in work.notes:
        console.say(note)
    for record in work.failed:
        console.warn(record.error or "")
    if dry_run:
        tell_plan(work, as_json=as_json)
        raise typer.Exit(console.SOME_FAILED if work.failed else console.DONE)
    records: list[Record] = [*work.finished, *work.failed]
    remarks = Remarks()
    with console.progress("predicting", len(work.jobs)) as step:
        for outcome in run(work, predictor, loaded.recipe, loaded.trust):
            record = outcome.record
            records.append(record)
            step(record.case)
            if record.error:
                console.warn(record.error)
            for told in (*record.notes, *record.hints):
                remarks.tell(record.case, told)
    remarks.tell_repeated()
    failed = sum(record.verdict == "failed" for record in records)
    if as_json:
        console.result_json([asdict(record) for record in records])
    left = f", {len(work.finished)} of them before" if work.finished else ""
    console.say(f"{len(records) - failed} of {len(records)} cases are done{left}: {output}")
    if failed:
        raise typer.Exit(console.SOME_FAILED)


def _sizes(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError as error:
        raise UsageError(f"--tile {text} is no size", mend="for example 64,64,64") from error
