"""Phantoms on disk, in the layouts that real cohorts have."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volseg.data.phantom.abdomen import CT_LABELS, ct
from volseg.data.phantom.culture import CELL_LABELS, cells
from volseg.data.phantom.short_axis import HEART_LABELS, patient
from volseg.errors import UsageError
from volseg.geometry import Grid
from volseg.io import write_volume
from volseg.io.atomic import refusal, write_text

KINDS = ("heart", "cells", "ct")

#: what describes a cohort of phantoms: kind, seed, label values, and the volumes by formula
SUMMARY = "phantom.json"

_LABELS = {"heart": HEART_LABELS, "cells": CELL_LABELS, "ct": CT_LABELS}
_UNITS = {"heart": "ml", "cells": "mm2", "ct": "ml"}
# Files by path under the cohort's folder: text, or voxels and where they are.
_Files = dict[str, str | tuple[npt.NDArray[Any], Grid]]
# A case's name, its files, and what the summary says of each of its images.
_Drawn = tuple[str, _Files, dict[str, dict[int, float]]]


def write_cohort(
    out: str | Path,
    kind: str,
    n: int,
    seed: int = 0,
    *,
    size: int | None = None,
    cine: bool = False,
    step: Callable[[str], None] | None = None,
) -> Path:
    """Write a labelled cohort; the same arguments give the same bytes, and case k is the same however many follow.

    ``heart`` goes to the ACDC layout (``patient001/patient001_frame01.nii.gz``, ``…_gt.nii.gz``, ``Info.cfg``),
    ``cells`` to ``images/`` and ``instances/``, ``ct`` to ``images/`` and ``labels/``. ``phantom.json`` beside them
    tells the volumes by formula.

    Args:
        out: A folder that is new or empty.
        kind: ``heart``, ``cells`` or ``ct``.
        n: How many patients or images.
        seed: The seed.
        size: Voxels along each side of a slice, if not the kind's own.
        cine: For hearts also the whole beat, ``patient001_4d.nii.gz``.
        step: Called with each case's name once it is on the disk.

    Returns:
        The folder.
    """
    folder = Path(out)
    if kind not in KINDS:
        raise UsageError(f"there is no phantom {kind!r}", mend=f"kinds are {', '.join(KINDS)}")
    if n < 1:
        raise UsageError(f"a cohort has at least one case, not {n}")
    if cine and kind != "heart":
        raise UsageError(f"only a heart beats: there is no cine of {kind}")
    _require_empty(folder)
    cases: dict[str, object] = {}
    for case in range(n):
        name, files, volumes = _case(kind, seed, case, size, cine)
        for path, content in files.items():
            _make((folder / path).parent)
            if isinstance(content, str):
                write_text(folder / path, content)
            else:
                write_volume(folder / path, *content)
        cases[name] = {image: {str(k): round(v, 6) for k, v in sizes.items()} for image, sizes in volumes.items()}
        if step is not None:
            step(name)
    summary = {
        "kind": kind,
        "seed": seed,
        "labels": {"background": 0, **{label.name: label.value for label in _LABELS[kind].structures}},
        "unit": _UNITS[kind],
        "volumes": cases,
    }
    write_text(folder / SUMMARY, json.dumps(summary, indent=1) + "\n")
    return folder


def _require_empty(folder: Path) -> None:
    try:
        taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    except OSError as error:
        raise refusal(error, folder) from error
    if taken:
        raise UsageError("the output folder is there and not empty", where=folder, mend="name a new one, or empty it")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refusal(error, folder) from error


def _case(kind: str, seed: int, case: int, size: int | None, cine: bool) -> _Drawn:
    if kind == "heart":
        return _heart_case(seed, case, size or 112, cine)
    if kind == "cells":
        name, image = f"cells_{case + 1:03d}", cells(seed, case, size=size or 256)
        cell_files: _Files = {
            f"images/{name}.png": (image.image, image.grid),
            f"instances/{name}.png": (image.label, image.grid),
        }
        return name, cell_files, {name: dict(image.volumes)}
    side = size or 128
    name, scan = f"ct_{case + 1:03d}", ct(seed, case, shape=(side, side, max(16, side // 2)))
    files: _Files = {
        f"images/{name}.nii.gz": (scan.image, scan.grid),
        f"labels/{name}.nii.gz": (scan.label, scan.grid),
    }
    return name, files, {name: dict(scan.volumes)}


def _heart_case(seed: int, case: int, size: int, cine: bool) -> _Drawn:
    name, who = f"patient{case + 1:03d}", patient(seed, case, size=size)
    files: _Files = {f"{name}/Info.cfg": "".join(f"{k}: {v}\n" for k, v in who.info.items())}
    volumes = {}
    for number in (who.diastole, who.systole):
        frame, stem = who.frame(number), f"{name}_frame{number:02d}"
        files[f"{name}/{stem}.nii.gz"] = (frame.image, frame.grid)
        files[f"{name}/{stem}_gt.nii.gz"] = (frame.label, frame.grid)
        volumes[stem] = dict(frame.volumes)
    if cine:
        beat = np.stack([frame.image for frame in who.cine()], axis=-1)
        files[f"{name}/{name}_4d.nii.gz"] = (beat, who.grid)
    return name, files, volumes
