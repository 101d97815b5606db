"""Images in one folder, label maps or instance maps of the same names in another."""

from __future__ import annotations

from pathlib import Path

from volseg.data.cohort.case import Case, Cohort, Split, split_named
from volseg.data.cohort.listing import Listing, folders, list_images, strangers
from volseg.data.cohort.naming import counted, is_cine, is_truth, listed
from volseg.data.cohort.pairing import by_folder, by_suffix, require_single
from volseg.data.cohort.tree import tree_patient
from volseg.errors import CohortError

_IMAGES = ("images", "image", "imgs", "img")
_LABELS = ("labels", "label", "masks", "mask", "segmentations", "segmentation", "annotations", "truth", "gt")
_INSTANCES = ("instances", "instance")
# Decathlon's and nnU-Net's names, where dataset.json is absent.
_PAIRS = {"imagestr": "labelstr"}


def is_parallel(root: Path) -> bool:
    """Whether a folder holds ``images/``, or ``train/images/``, ``val/images/`` and the like."""
    return bool(_homes(root))


def find_parallel(root: Path, *, pair: bool, truth: str | None = None) -> Cohort:
    """Pair by name; ``truth`` names the label folder where there are several."""
    cases: list[Case] = []
    notes: list[str] = []
    for home, images, split in _homes(root):
        found, said = _pairs(home, images, split, pair=pair, truth=truth)
        cases += found
        notes += said
    return Cohort(root, "parallel folders", tuple(cases), tuple(dict.fromkeys(notes)))


def _pairs(
    home: Path, images: Path, split: Split | None, *, pair: bool, truth: str | None
) -> tuple[list[Case], list[str]]:
    listing = list_images(images)
    maps = _truth(home, images, truth) if pair else None
    if maps is None:
        labels = Listing(home, (), ())
        pairs, notes = by_suffix(images, listing.items, pair=pair)
    else:
        labels = list_images(maps)
        items = [item for item in listing.items if not (is_cine(item.base) or is_truth(item.base))]
        pairs = by_folder(home, items, labels.items, where=f"{maps.name}/")
        left = len(listing.items) - len(items)
        notes = [f"{counted(left, 'file')} (_4d, _gt) of {images.name}/ left out"] if left else []
    require_single(images, [image for image, _ in pairs])
    prefix = "" if split is None else f"{home.name}/"
    instances = maps is not None and maps.name.lower() in _INSTANCES
    cases = [
        Case(
            prefix + image.name,
            (image.path,),
            None if label is None else label.path,
            tree_patient(image),
            split=split,
            instances=instances and label is not None,
        )
        for image, label in pairs
    ]
    strange = (*listing.strange, *labels.strange, *strangers(home))
    pictures = listing.pictures + labels.pictures
    return cases, [*Listing(home, (), strange, pictures).notes(), *notes]


def _homes(root: Path) -> list[tuple[Path, Path, Split | None]]:
    """Every folder that holds an image folder, with that folder and the part of a split that it is."""
    if (here := _image_folder(root)) is not None:
        return [(root, here, None)]
    parts = ((home, _image_folder(home), split_named(home.name)) for home in folders(root) if split_named(home.name))
    return [(home, images, split) for home, images, split in parts if images is not None]


def _image_folder(home: Path) -> Path | None:
    inside = {path.name.lower(): path for path in folders(home)}
    return next((inside[name] for name in (*_IMAGES, *_PAIRS) if name in inside), None)


def _truth(home: Path, images: Path, chosen: str | None) -> Path | None:
    inside = {path.name.lower(): path for path in folders(home) if path != images}
    if chosen is not None:
        if chosen.lower() not in inside:
            raise CohortError(f"there is no label folder {chosen!r}", where=home, mend=f"there are {listed(inside)}")
        return inside[chosen.lower()]
    wanted = (*_LABELS, *_INSTANCES) if images.name.lower() in _IMAGES else (_PAIRS[images.name.lower()],)
    there = [inside[name] for name in wanted if name in inside]
    if len(there) > 1:
        raise CohortError(
            f"{listed(path.name for path in there)} may each hold the truth",
            where=home,
            mend="keep one beside the images, or list the cases in a CSV (image,label)",
        )
    return there[0] if there else None
