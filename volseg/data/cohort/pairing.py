"""Images and label maps brought together by name, or a reason why they cannot be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from volseg.data.cohort.listing import Item
from volseg.data.cohort.naming import counted, is_cine, is_truth, labelled_stem, listed
from volseg.errors import CohortError

_MEND = "rename them, or list the cases in a CSV (image,label)"


def by_suffix(root: Path, items: Sequence[Item], *, pair: bool) -> tuple[list[tuple[Item, Item | None]], list[str]]:
    """Pair ``CASE`` with ``CASE_gt``, ``CASE_seg``, ``CASE_label``, … beside it.

    Without ``pair`` truths are left out, and whatever else has no image of its own beside it is an image.

    Returns:
        The pairs, and notes on what was left out.
    """
    names = {item.name for item in items if labelled_stem(item.name) is None and not is_cine(item.name)}
    labels: dict[str, list[Item]] = defaultdict(list)
    images, cines, orphans = [], 0, []
    for item in items:
        base = None if item.dicom else labelled_stem(item.name)
        if is_cine(item.name) and not item.dicom:
            cines += 1
        elif base is None:
            images.append(item)
        elif base in names:
            labels[base].append(item)
        elif is_truth(item.name) or pair:
            orphans.append(item)
        else:
            images.append(item)
    notes = [f"{counted(cines, 'whole cine')} (_4d) left out: name one to take it"] if cines else []
    if not pair:
        return [(image, None) for image in images], notes
    if orphans:
        raise CohortError(
            f"{counted(len(orphans), 'label map')} without an image: {listed(o.path.name for o in orphans)}",
            where=root,
            mend=_MEND,
        )
    return [(image, only(root, image.name, labels.get(image.name, []))) for image in images], notes


def by_folder(
    root: Path, images: Sequence[Item], labels: Sequence[Item], *, where: str
) -> list[tuple[Item, Item | None]]:
    """Pair items of an image folder with those of a label folder: the same name, or it with a label's suffix."""
    names = {image.name for image in images}
    found: dict[str, list[Item]] = defaultdict(list)
    orphans = []
    for label in labels:
        base = labelled_stem(label.name)
        if label.name in names:
            found[label.name].append(label)
        elif base in names and base is not None:
            found[base].append(label)
        else:
            orphans.append(label)
    if orphans:
        raise CohortError(
            f"{counted(len(orphans), 'label map')} in {where} without an image: {listed(o.path.name for o in orphans)}",
            where=root,
            mend=_MEND,
        )
    return [(image, only(root, image.name, found.get(image.name, []))) for image in images]


def only(root: Path, name: str, labels: Sequence[Item]) -> Item | None:
    """The label of an image, if it has one; two are one too many."""
    if len(labels) > 1:
        raise CohortError(
            f"{counted(len(labels), 'label map')} for the image {listed([name])}:"
            f" {listed(label.path.relative_to(root) for label in labels)}",
            where=root,
            mend="keep one of them, or list the cases in a CSV (image,label)",
        )
    return labels[0] if labels else None


def require_single(root: Path, items: Iterable[Item]) -> None:
    """Refuse images that would be one case, ``a.nii`` and ``a.nii.gz`` say."""
    seen: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        seen[item.name].append(item)
    doubles = [same for same in seen.values() if len(same) > 1]
    if doubles:
        paths = [item.path.relative_to(root) if item.path != root else "." for item in doubles[0]]
        more = f" (and {counted(len(doubles) - 1, 'more name')})" if len(doubles) > 1 else ""
        raise CohortError(
            f"{listed(paths)} would share the result {listed([doubles[0][0].name])}{more}",
            where=root,
            mend="keep one of them, or rename one",
        )
