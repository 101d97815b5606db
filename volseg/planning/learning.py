"""What is learnt: the loss and its weights, the weight map, where patches are taken, steps on predicted masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median

from volseg.data.fingerprint import ClassFingerprint, Fingerprint
from volseg.data.fingerprint_structure import diameter
from volseg.planning.choice import Choice
from volseg.planning.space import Space

# from so many parts per image on a structure is many objects
_MANY = 8
_RARE = 0.2


def many_objects(found: Fingerprint) -> bool:
    """Whether the only structure is many objects in each image."""
    return found.instances or (len(found.classes) == 1 and found.classes[0].components[0] >= _MANY)


def object_diameter(found: Fingerprint) -> float | None:
    """The typical object's diameter in voxels, where there are objects."""
    sizes = [case.objects.diameter for case in found.labelled if case.objects is not None and case.objects.count]
    if sizes:
        return float(median(sizes))
    if not many_objects(found):
        return None
    return median(
        diameter(s.voxels / s.components, len(case.shape)) for case in found.labelled for s in case.structures
    )


def learning_choices(found: Fingerprint, space: Space, names: Mapping[int, str]) -> Iterator[Choice]:
    """Loss, weights, weight map and the share of patches that are centred on a structure."""
    classes = [found_class for found_class in found.classes if found_class.value in names]
    if many_objects(found) and space.dims == 2:
        touching = found.instances
        settings: dict[str, object] = {"w0": 10, "sigma": 5}
        if touching:
            settings["separate_instances"] = True
        yield Choice("weight_map", settings, "objects lie close: the background between two of them weighs most")
    rare = {c.value: c for c in classes if c.cases < _RARE * len(found.labelled)}
    if rare and not found.instances and not found.declared.regions:
        weights = {names[v]: round(min(4.0, (len(found.labelled) / c.cases) ** 0.5), 1) for v, c in rare.items()}
        told = ", ".join(f"{names[v]} is in {c.cases} of {len(found.labelled)} cases" for v, c in rare.items())
        yield Choice("loss.weights", weights, told)
    else:
        yield Choice(
            "loss.kind",
            "dice_energy",
            "overlap counts, and the energy gives every voxel a gradient; patches"
            " are centred on each structure as often, so no class needs a weight of its own",
        )
    if space.slices or rare:
        yield Choice("loss.batch", True, "not every patch holds every structure: Dice is taken over the whole batch")
    yield _foreground(classes, many_objects(found))


def _foreground(classes: list[ClassFingerprint], objects: bool) -> Choice:
    key = "training.foreground"
    if objects:
        return Choice(key, 0, "objects are everywhere: patches are taken from anywhere")
    least = min(c.share for c in classes)
    if least < 0.001:
        return Choice(key, 0.66, f"the smallest structure fills {least:.2%} of an image: two of three patches seek one")
    if least < 0.01:
        return Choice(key, 0.5, f"the smallest structure fills {least:.2%} of an image: half of the patches seek one")
    return Choice(key, 0.33, f"every structure fills at least {least:.1%} of an image: a third of the patches seek one")


def postprocessing_choices(found: Fingerprint, names: Mapping[int, str]) -> Iterator[Choice]:
    """Steps that no training case contradicts: candidates, which out-of-fold predictions have to confirm."""
    if found.declared.regions:
        return
    steps: dict[str, dict[str, object]] = {}
    told = []
    for c in found.classes:
        if c.value not in names:
            continue
        name, chosen = names[c.value], dict[str, object]()
        if c.single >= 0.85:
            chosen["largest_component"] = True
            told.append(f"{name} is one part in {c.single:.0%} of the cases")
        elif many_objects(found) and c.smallest >= 8:
            chosen["minimum_size"] = c.smallest // 2
            told.append(f"no part of {name} has fewer than {c.smallest} voxels")
        if many_objects(found) and found.instances:
            chosen["fill_holes"] = True
            told.append("objects have no holes")
        if chosen:
            steps[name] = chosen
    if steps:
        yield Choice("postprocessing", steps, "candidates, to be confirmed on held-out cases: " + "; ".join(told))
