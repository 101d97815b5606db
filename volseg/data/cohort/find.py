"""From a path to a cohort: the layout recognised, or a clear no."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Literal

from volseg.data.cohort.acdc import find_acdc, is_acdc
from volseg.data.cohort.case import Case, Cohort
from volseg.data.cohort.dataset_json import find_decathlon, find_nnunet, is_decathlon, nnunet_images
from volseg.data.cohort.frames import Frames, with_frames
from volseg.data.cohort.naming import counted, labelled_stem, listed, patient_of, stem
from volseg.data.cohort.outputs import output_names
from volseg.data.cohort.parallel import find_parallel, is_parallel
from volseg.data.cohort.table import find_table
from volseg.data.cohort.tree import find_tree
from volseg.errors import CohortError, UsageError
from volseg.io.formats import ending

Want = Literal["optional", "required", "none"]


def find_cases(
    path: str | os.PathLike[str], *, labels: Want = "optional", frames: Frames = None, truth: str | None = None
) -> Cohort:
    """Find every case of a file, a folder, a tree or a CSV.

    Recognised, in this order: a CSV; nnU-Net's raw data; the Medical Segmentation Decathlon; ACDC; ``images/`` with
    ``labels/``, ``masks/`` or ``instances/`` beside it (also below ``train/``, ``val/``, ``test/``); and any other
    folder or tree of images and DICOM series, label maps lying beside their images as ``CASE_gt``, ``CASE_seg``, ….

    Args:
        path: What a person pointed at.
        labels: ``optional`` pairs what has a label map and notes what has none; ``required`` refuses images without
            one; ``none`` looks for images only, and label maps are no matter.
        frames: For time series, which frame (from 0), or ``all`` for each as a case of its own.
        truth: The name of the label folder, where several lie beside the images.

    Raises:
        CohortError: if nothing is found, or if what is found cannot be told apart or paired.
    """
    if labels not in ("optional", "required", "none"):
        raise UsageError(f"labels can be optional, required or none, not {labels!r}")
    root, pair = Path(path), labels != "none"
    cohort = _find(root, pair=pair, truth=truth)
    if not cohort.cases:
        raise CohortError(
            "holds no image" + "".join(f"; {note}" for note in cohort.notes),
            where=root,
            mend="images are .nii.gz, .nii, .nrrd, .mha, .mgz, DICOM, .png, .tif; other layouts can be listed in a CSV",
        )
    cohort = replace(cohort, cases=with_frames(cohort.cases, frames))
    _require_names(cohort)
    output_names(cohort.cases, "")
    return _judged_labels(cohort, labels)


def _find(root: Path, *, pair: bool, truth: str | None) -> Cohort:
    try:
        if not root.exists() and not root.is_symlink():
            raise CohortError("does not exist", where=root)
        folder = root.is_dir()
    except OSError as error:  # a name too long, a folder that may not be entered
        raise CohortError(f"cannot be opened: {error.strerror}", where=root) from error
    if not folder:
        return find_table(root, pair=pair) if root.suffix.lower() == ".csv" else _single(root, pair=pair)
    if (images := nnunet_images(root)) is not None:
        return find_nnunet(root, images, pair=pair)
    if is_decathlon(root):
        return find_decathlon(root, pair=pair)
    if is_acdc(root):
        return find_acdc(root, pair=pair)
    if is_parallel(root):
        return find_parallel(root, pair=pair, truth=truth)
    return find_tree(root, pair=pair)


def _single(file: Path, *, pair: bool) -> Cohort:
    """A file that is named itself is an input whatever it is called; its label map may lie beside it."""
    name = stem(file)
    there = []
    if pair and labelled_stem(name) is None:
        beside = (path for path in sorted(file.parent.iterdir()) if ending(path) and not path.name.startswith("."))
        there = [path for path in beside if labelled_stem(stem(path)) == name]
    if len(there) > 1:
        raise CohortError(
            f"{counted(len(there), 'label map')} for {listed([file.name])}: {listed(p.name for p in there)}",
            where=file.parent,
            mend="keep one of them, or list the case in a CSV (image,label)",
        )
    return Cohort(file, "file", (Case(name, (file,), there[0] if there else None, patient_of(name)),))


def _require_names(cohort: Cohort) -> None:
    names = [case.name for case in cohort.cases]
    if len(set(names)) < len(names):
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        shared = [case.image for case in cohort.cases if case.name == twice[0]]
        raise CohortError(
            f"{listed(shared)} would be one case, {listed(twice[:1])}"
            + (f" (and {counted(len(twice) - 1, 'more name')})" if len(twice) > 1 else ""),
            where=cohort.root,
            mend="rename one of them" + (", or give a column name" if cohort.layout == "CSV" else ""),
        )


def _judged_labels(cohort: Cohort, labels: Want) -> Cohort:
    bare = [case.name for case in cohort.cases if case.label is None]
    if labels == "none" or not bare or (labels == "optional" and len(bare) == len(cohort.cases)):
        return cohort
    said = f"{counted(len(bare), 'image')} without a label map: {listed(bare)}"
    if labels == "required":
        raise CohortError(said, where=cohort.root, mend="add the label maps, or leave these images out")
    return replace(cohort, notes=(*cohort.notes, said))
