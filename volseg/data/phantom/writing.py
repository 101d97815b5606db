"""Phantoms on disk, in the layouts that real cohorts have."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from PIL import Image

from volseg.data.phantom.abdomen import CT_LABELS, ct
from volseg.data.phantom.culture import CELL_LABELS, cells
from volseg.data.phantom.model import Phantom
from volseg.data.phantom.short_axis import HEART_LABELS, patient
from volseg.errors import UsageError
from volseg.geometry import Grid
from volseg.io.atomic import write_bytes

KINDS = ("heart", "cells", "ct")

#: what describes a cohort of phantoms: kind, seed, label values, and the volumes by formula
SUMMARY = "phantom.json"

_LABELS = {"heart": HEART_LABELS, "cells": CELL_LABELS, "ct": CT_LABELS}
_UNITS = {"heart": "ml", "cells": "mm2", "ct": "ml"}
# Files by path under the cohort's folder, and what the summary says of a case.
_Files = dict[str, bytes]
_Written = tuple[str, _Files, dict[str, dict[int, float]]]


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
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError("the output folder is there and not empty", where=folder, mend="name a new one, or empty it")
    cases: dict[str, object] = {}
    for case in range(n):
        name, files, volumes = _case(kind, seed, case, size, cine)
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(folder / path, data)
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
    write_bytes(folder / SUMMARY, (json.dumps(summary, indent=1) + "\n").encode())
    return folder


def _case(kind: str, seed: int, case: int, size: int | None, cine: bool) -> _Written:
    if kind == "heart":
        return _heart_case(seed, case, size or 112, cine)
    if kind == "cells":
        name, image = f"cells_{case + 1:03d}", cells(seed, case, size=size or 256)
        files = {f"images/{name}.png": _png(image.image), f"instances/{name}.png": _png(image.label)}
        return name, files, {name: dict(image.volumes)}
    side = size or 128
    name, scan = f"ct_{case + 1:03d}", ct(seed, case, shape=(side, side, max(16, side // 2)))
    files = {
        f"images/{name}.nii.gz": _nifti(scan.image, scan.grid),
        f"labels/{name}.nii.gz": _nifti(scan.label, scan.grid),
    }
    return name, files, {name: dict(scan.volumes)}


def _heart_case(seed: int, case: int, size: int, cine: bool) -> _Written:
    name, who = f"patient{case + 1:03d}", patient(seed, case, size=size)
    files: _Files = {f"{name}/Info.cfg": "".join(f"{k}: {v}\n" for k, v in who.info.items()).encode()}
    volumes = {}
    for number in (who.diastole, who.systole):
        frame, stem = who.frame(number), f"{name}_frame{number:02d}"
        files[f"{name}/{stem}.nii.gz"] = _nifti(frame.image, frame.grid)
        files[f"{name}/{stem}_gt.nii.gz"] = _nifti(frame.label, frame.grid)
        volumes[stem] = dict(frame.volumes)
    if cine:
        beat: Iterator[Phantom] = who.cine()
        files[f"{name}/{name}_4d.nii.gz"] = _nifti(np.stack([frame.image for frame in beat], axis=-1), who.grid)
    return name, files, volumes


def _nifti(array: npt.NDArray[Any], grid: Grid) -> bytes:
    """A compressed NIfTI file that holds no date."""
    image = nib.Nifti1Image(array, grid.affine)
    image.header.set_xyzt_units("mm", "sec")
    image.set_qform(grid.affine, 1)
    image.set_sform(grid.affine, 1)
    return gzip.compress(image.to_bytes(), compresslevel=6, mtime=0)


def _png(array: npt.NDArray[Any]) -> bytes:
    stored = io.BytesIO()
    Image.fromarray(array).save(stored, format="PNG")
    return stored.getvalue()
