"""One flat folder, or a tree of files: label maps lie beside their images."""

from __future__ import annotations

from pathlib import Path

from volseg.data.cohort.case import Case, Cohort, Split, split_named
from volseg.data.cohort.listing import Item, list_images
from volseg.data.cohort.naming import patient_of
from volseg.data.cohort.pairing import by_suffix, require_single

# Folders that sort files, not patients.
_SORTING = {"images", "image", "imagestr", "imagests", "imagesval", "data", "scans", "nifti", "dicom", "raw"}


def find_tree(root: Path, *, pair: bool) -> Cohort:
    """Every image below a folder; DICOM folders are one image each."""
    listing = list_images(root)
    pairs, notes = by_suffix(root, listing.items, pair=pair)
    require_single(root, [image for image, _ in pairs])
    cases = tuple(
        Case(image.name, (image.path,), None if label is None else label.path, tree_patient(image), split=_split(image))
        for image, label in pairs
    )
    if cases and all(image.dicom for image, _ in pairs):
        layout = "dicom"
    else:
        layout = "tree" if any("/" in case.name for case in cases) else "flat"
    return Cohort(root, layout, cases, (*listing.notes(), *notes))


def tree_patient(item: Item) -> str:
    """The topmost folder that names somebody, or what the file's own name tells.

    >>> tree_patient(Item(Path(), "train/anna/ct")), tree_patient(Item(Path(), "images/p2_frame01"))
    ('anna', 'p2')
    """
    for folder in item.name.split("/")[:-1]:
        if split_named(folder) is None and folder.lower() not in _SORTING:
            return folder
    return patient_of(item.name)


def _split(item: Item) -> Split | None:
    words = [split_named(folder) for folder in item.name.split("/")[:-1]]
    return next((word for word in words if word is not None), None)
