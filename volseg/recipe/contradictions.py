"""What no single key can know: whether the parts of a recipe agree."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING

from volseg.errors import nearest
from volseg.recipe.foreign import ForeignNetwork, foreign_mistakes
from volseg.recipe.network import FCNNetwork, UNetNetwork
from volseg.recipe.optimiser import SGD
from volseg.recipe.size import network_shape
from volseg.recipe.spelling import Key, spell
from volseg.shapes import per_level

if TYPE_CHECKING:
    from volseg.recipe.model import Recipe

Found = Iterator[tuple[Key, str]]
_LARGEST_STRIDE = 4096


def contradictions(recipe: Recipe) -> Found:
    """Every contradiction: the key to change, and what is the matter with it."""
    yield from _labels(recipe)
    yield from _regions(recipe)
    yield from _image(recipe)
    yield from _normalisation(recipe)
    levels = list(_network(recipe))
    yield from levels
    if not levels:
        yield from _sizes(recipe)
    yield from _symmetries(recipe)
    yield from _spatial(recipe)
    yield from _weight_map(recipe)
    yield from _loss(recipe)
    yield from _optimiser(recipe)
    yield from _training(recipe)
    yield from _postprocessing(recipe)


def _labels(recipe: Recipe) -> Found:
    labelling = recipe.labelling
    by_value: dict[int, str] = {}
    for name, value in labelling.values.items():
        if value == 0 and name != "background":
            yield ("labels", "values", name), "0 is the background's value; structures start at 1"
        elif name == "background" and value != 0:
            yield ("labels", "values", name), f"background is always 0, not {value}"
        elif value in by_value:
            yield ("labels", "values", name), f"{value} is the value of '{by_value[value]}' already"
        by_value[value] = name
    if labelling.instances and len(labelling.names) > 1:
        yield ("labels", "instances"), f"tells the objects of one structure apart, and there are {len(labelling.names)}"
    if not labelling.names:
        yield ("labels", "values"), "no structure besides the background"
    if labelling.ignore in by_value:
        yield ("labels", "ignore"), f"{labelling.ignore} is the value of '{by_value[labelling.ignore]}'"
    for key, named in (("colours", labelling.colours), ("codes", labelling.codes)):
        yield from _declared(("labels", key), named, labelling.names, "label")
    yield from _declared(("image", "seen", "volumes"), recipe.image.seen.volumes, labelling.names, "label")


def _regions(recipe: Recipe) -> Found:
    labelling = recipe.labelling
    for region, parts in labelling.regions.items():
        key = ("labels", "regions", region)
        if region in labelling.values or region == "background":
            yield key, "is the name of a label already"
        yield from _declared(key, parts, labelling.names, "label", in_list=True)
    if labelling.output == "regions":
        first = [parts[0] for parts in labelling.regions.values()]
        if sorted(first) != sorted(labelling.names):
            yield (
                ("labels", "output"),
                f"'regions' needs one region for each label, that label first in it; the first ones are {spell(first)}",
            )


def _image(recipe: Recipe) -> Found:
    image = recipe.image
    axes = image.spatial_dims
    if axes == 2 and image.axcodes is not None:
        yield ("image", "axcodes"), f"{spell(image.axcodes)} orients 3-D images, and image.spatial_dims is 2"
    if not isinstance(image.spacing, str):
        yield from _one_per_axis(("image", "spacing"), image.spacing, axes, "image.spatial_dims")
        low, high = image.allowed_spacing
        for i, millimetres in enumerate(image.spacing):
            if not isinstance(millimetres, str) and not low <= millimetres <= high:
                yield (
                    ("image", "spacing", i),
                    f"{spell(millimetres)} lies outside of image.allowed_spacing, {spell(image.allowed_spacing)}",
                )
    for name, ranges in (("spacing", image.seen.spacing), ("field_of_view", image.seen.field_of_view)):
        if ranges is not None:
            yield from _one_per_axis(("image", "seen", name), ranges, axes, "image.spatial_dims")
    if len(set(image.channels)) < len(image.channels):
        yield ("image", "channels"), f"{spell(image.channels)} names a channel twice"


def _normalisation(recipe: Recipe) -> Found:
    normalisation = recipe.normalisation
    if normalisation is not None and normalisation.kind == "ct" and recipe.image.modality != "CT":
        yield (
            ("normalisation", "kind"),
            f"'ct' is for Hounsfield units, and image.modality is '{recipe.image.modality}'",
        )


def _network(recipe: Recipe) -> Found:
    network = recipe.network
    if network.spatial_dims > recipe.image.spatial_dims:
        yield ("network", "spatial_dims"), "a 3-D network cannot work on 2-D images; image.spatial_dims is 2"
    if isinstance(network, FCNNetwork):
        return
    if isinstance(network, ForeignNetwork):
        yield from ((("network", name), text) for name, text in foreign_mistakes(network))
        return
    levels = len(network.channels)
    yield from _per_level(recipe, network, "kernel_sizes", levels, "as many as network.channels")
    yield from _per_level(recipe, network, "strides", levels - 1, "one fewer than network.channels")


def _per_level(recipe: Recipe, network: UNetNetwork, name: str, wanted: int, why: str) -> Found:
    value = network.kernel_sizes if name == "kernel_sizes" else network.strides
    key: Key = ("network", name)
    if not isinstance(value, int) and len(value) != wanted:
        yield key, f"{spell(value)} has {len(value)} entries where {wanted} are needed, {why}"
    for i, entry in enumerate([value] if isinstance(value, int) else value):
        place = key if isinstance(value, int) else (*key, i)
        if not isinstance(entry, int):
            yield from _one_per_axis(place, entry, network.spatial_dims, "network.spatial_dims")
        if name == "kernel_sizes" and any(k % 2 == 0 for k in ([entry] if isinstance(entry, int) else entry)):
            yield place, f"{spell(entry)} is even; convolutions are odd, so that they have a middle"


def _sizes(recipe: Recipe) -> Found:
    for key, size in ((("training", "patch"), recipe.training.patch), (("inference", "tile"), recipe.inference.tile)):
        if size is None:
            continue
        found = list(_size(recipe, size))
        yield from ((key, f"{spell(size)} {text}") for text in found)
        if not found and key[0] == "training":
            yield from _statistics(recipe)


def _size(recipe: Recipe, size: tuple[int, ...]) -> Iterator[str]:
    axes = recipe.network.spatial_dims
    if len(size) != axes:
        yield f"is {len(size)}-D and the network {axes}-D (network.spatial_dims)"
        return
    strides = _total_strides(recipe.network)
    worst = max(range(axes), key=lambda axis: strides[axis] / size[axis])
    # the arithmetic goes through the stride position by position, which absurd ones would make endless
    if strides[worst] > _LARGEST_STRIDE:
        yield _too_much(worst, strides, f"more than {_LARGEST_STRIDE}, the most there is")
        return
    shape = network_shape(recipe.network)
    mend = f"; nearest {spell(shape.nearest_valid(size))}"
    if size[worst] < strides[worst]:
        yield _too_much(worst, strides, f"more than {size[worst]}{mend}")
    elif not shape.is_valid(size):
        wrong = ", ".join(
            f"axis {i} takes {axis.rule}, not {n}"
            for i, (axis, n) in enumerate(zip(shape.axes, size, strict=True))
            if not axis.is_valid(n)
        )
        yield f"does not fit the network: {wrong}{mend}"


def _too_much(axis: int, strides: tuple[int, ...], more: str) -> str:
    return f"cannot bear the network's strides: along axis {axis} they multiply to {strides[axis]}, {more}"


def _total_strides(network: UNetNetwork | FCNNetwork | ForeignNetwork) -> tuple[int, ...]:
    if not isinstance(network, UNetNetwork):
        return network_shape(network).total_stride
    per_transition = per_level(network.strides, len(network.channels) - 1, network.spatial_dims)
    return tuple(prod(stride) for stride in zip(*per_transition, strict=True))


def _statistics(recipe: Recipe) -> Found:
    """Normalisation needs more than one value per channel where the network is smallest."""
    network, patch = recipe.network, recipe.training.patch
    if not isinstance(network, UNetNetwork) or network.norm is None:
        return
    bottom = prod(n // stride for n, stride in zip(patch, network_shape(network).total_stride, strict=True))
    samples = recipe.training.batch if network.norm == "batch" else 1
    if network.padding == "same" and bottom * samples == 1:
        yield (
            ("training", "patch"),
            f"{spell(patch)} leaves a single voxel at the bottom of the network, which network.norm "
            f"'{network.norm}' cannot normalise; take a larger patch or fewer strides",
        )


def _symmetries(recipe: Recipe) -> Found:
    augmentation, patch, axes = recipe.augmentation, recipe.training.patch, recipe.network.spatial_dims
    for axis in augmentation.flips:
        if axis >= axes:
            yield ("augmentation", "flips"), f"a {axes}-D network has no axis {axis}"
    for plane in augmentation.right_angles:
        if max(plane) >= axes:
            yield ("augmentation", "right_angles"), f"a {axes}-D network has no plane {spell(plane)}"
        elif len(patch) == axes and patch[plane[0]] != patch[plane[1]]:
            yield (
                ("augmentation", "right_angles"),
                f"a turn in the plane {spell(plane)} needs a square, and training.patch is {spell(patch)}",
            )
        elif not isinstance(recipe.image.spacing, str):
            sides = recipe.image.spacing[plane[0]], recipe.image.spacing[plane[-1] % len(recipe.image.spacing)]
            if sides[0] != sides[1]:
                yield (
                    ("augmentation", "right_angles"),
                    f"a turn in the plane {spell(plane)} needs one spacing, and image.spacing is {spell(sides)} there",
                )
    tta = recipe.inference.tta
    if tta is not None and not augmentation.flips:
        yield ("inference", "tta"), f"'{tta}' needs flips, and augmentation.flips allows none"
    if tta == "flips+rotations" and not augmentation.right_angles:
        yield ("inference", "tta"), f"'{tta}' needs turns, and augmentation.right_angles allows none"


def _spatial(recipe: Recipe) -> Found:
    spatial, axes = recipe.augmentation.spatial, recipe.network.spatial_dims
    if spatial is None:
        return
    place: Key = ("augmentation", "spatial")
    if not isinstance(spatial.rotation, float | int):
        if axes == 2:
            yield (*place, "rotation"), f"a 2-D network turns about one axis: one number, not {spell(spatial.rotation)}"
        else:
            yield from _one_per_axis((*place, "rotation"), spatial.rotation, axes, "network.spatial_dims")
    if not isinstance(spatial.translation, float | int):
        yield from _one_per_axis((*place, "translation"), spatial.translation, axes, "network.spatial_dims")
    elastic = spatial.elastic
    if elastic is None:
        return
    if elastic.grid is not None and elastic.spacing is not None:
        yield (*place, "elastic", "spacing"), "either spacing or grid, not both"
    for name, value in (("grid", elastic.grid), ("spacing", elastic.spacing), ("std", elastic.std)):
        if isinstance(value, tuple):
            yield from _one_per_axis((*place, "elastic", name), value, axes, "network.spatial_dims")


def _weight_map(recipe: Recipe) -> Found:
    weights = recipe.weight_map
    if weights is None:
        return
    if recipe.loss.kind not in ("energy", "dice_energy"):
        yield ("weight_map",), f"only the energy takes a weight map, and loss.kind is '{recipe.loss.kind}'"
    classes = ("background", *recipe.labelling.names)
    if isinstance(weights.class_balance, tuple) and len(weights.class_balance) != len(classes):
        yield (
            ("weight_map", "class_balance"),
            f"{spell(weights.class_balance)} has {len(weights.class_balance)} entries where {len(classes)} are needed: "
            + ", ".join(classes),
        )
    if weights.separate_instances and not recipe.labelling.instances:
        yield ("weight_map", "separate_instances"), "needs masks that tell objects apart; set labels.instances: true"


def _loss(recipe: Recipe) -> Found:
    loss, network = recipe.loss, recipe.network
    yield from _declared(("loss", "weights"), loss.weights, recipe.class_names, "label")
    if loss.weights and not any(loss.weights.get(name, 1.0) for name in recipe.class_names):
        yield ("loss", "weights"), "every class weighs 0"
    if loss.kind != "dice_energy":
        for name, factor in (("dice_weight", loss.dice_weight), ("energy_weight", loss.energy_weight)):
            if factor != 1.0:
                yield ("loss", name), f"only 'dice_energy' has terms to weigh, and loss.kind is '{loss.kind}'"
    elif loss.dice_weight == loss.energy_weight == 0:
        yield ("loss", "dice_weight"), "both terms of 'dice_energy' weigh 0"
    if loss.kind == "energy":
        for name, chosen in (("include_background", loss.include_background), ("batch", loss.batch)):
            if chosen:
                yield ("loss", name), "is for Dice and IoU, and loss.kind is 'energy'"
    if recipe.labelling.output == "regions" and loss.include_background:
        yield ("loss", "include_background"), "there is no background among the channels: labels.output is 'regions'"
    if loss.deep_supervision is not None:
        if not (isinstance(network, UNetNetwork) and network.deep_supervision):
            yield ("loss", "deep_supervision"), "the network has no such outputs; set network.deep_supervision: true"
        elif len(loss.deep_supervision) != len(network.channels) - 1:
            yield (
                ("loss", "deep_supervision"),
                f"{spell(loss.deep_supervision)} has {len(loss.deep_supervision)} entries where "
                f"{len(network.channels) - 1} are needed, one fewer than network.channels",
            )


def _optimiser(recipe: Recipe) -> Found:
    optimiser, training = recipe.optimiser, recipe.training
    if isinstance(optimiser, SGD) and optimiser.nesterov and optimiser.momentum == 0:
        yield ("optimiser", "nesterov"), "needs momentum, and optimiser.momentum is 0"
    if optimiser.warmup >= training.epochs:
        yield ("optimiser", "warmup"), f"{optimiser.warmup} leaves nothing of training.epochs, {training.epochs}"
    if training.steps_per_epoch is not None and optimiser.accumulate > training.steps_per_epoch:
        yield (
            ("optimiser", "accumulate"),
            f"{optimiser.accumulate} batches are more than training.steps_per_epoch, {training.steps_per_epoch}",
        )


def _training(recipe: Recipe) -> Found:
    training = recipe.training
    if training.validate_every > training.epochs:
        yield (
            ("training", "validate_every"),
            f"{training.validate_every} is never reached: training.epochs is {training.epochs}",
        )


def _postprocessing(recipe: Recipe) -> Found:
    labelling = recipe.labelling
    yield from _declared(
        ("postprocessing",), recipe.postprocessing, (*labelling.names, *labelling.regions), "label or region"
    )


def _declared(key: Key, names: Iterable[str], known: Sequence[str], what: str, *, in_list: bool = False) -> Found:
    for i, name in enumerate(names):
        if name not in known:
            near = nearest(name, list(known))
            mend = f"did you mean '{near}'?" if near else f"declared are {', '.join(known)}"
            yield (
                ((*key, i), f"'{name}' is no {what}; {mend}") if in_list else ((*key, name), f"no such {what}; {mend}")
            )


def _one_per_axis(key: Key, value: Sequence[object], axes: int, where: str) -> Found:
    if len(value) != axes:
        yield key, f"{spell(value)} has {len(value)} entries where {axes} are needed, one per axis ({where})"
