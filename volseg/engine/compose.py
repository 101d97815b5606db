"""From a recipe to the parts of a training: each a class or function of the library and its plain arguments.

A part is ``{"_target_": "volseg.losses.DiceEnergyLoss", "dice": 1.0, …}``: what a MONAI configuration writes, and what
:func:`build` makes, so that both doors build the same objects from the same lines.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from volseg.errors import UsageError
from volseg.recipe import Recipe
from volseg.recipe.foreign import ForeignNetwork
from volseg.recipe.kinds import INTERPOLATIONS
from volseg.recipe.network import UNetNetwork
from volseg.recipe.optimiser import SGD
from volseg.recipe.section import Section
from volseg.shapes import UNetShape

Part = dict[str, Any]


def build(part: Mapping[str, Any], **more: Any) -> Any:
    """Make what a part describes; parts inside of it are made first.

    Only names of this package are ever imported.

    >>> build({"_target_": "volseg.losses.DiceLoss", "batch": True}).batch
    True
    """
    arguments = {name: _built(value) for name, value in part.items() if name != "_target_"}
    module, _, name = str(part["_target_"]).rpartition(".")
    if not module.startswith("volseg."):
        raise UsageError(f"{part['_target_']} is no part of volseg")
    return getattr(importlib.import_module(module), name)(**arguments, **more)


def _built(value: Any) -> Any:
    if isinstance(value, Mapping):
        return build(value) if "_target_" in value else {key: _built(item) for key, item in value.items()}
    return [_built(item) for item in value] if isinstance(value, list | tuple) else value


def network_part(recipe: Recipe) -> Part:
    """The network."""
    if isinstance(recipe.network, ForeignNetwork):
        kind = {"kind": recipe.network.kind}
        return {"_target_": "volseg.engine.foreign.monai_network", **kind, **_plain(recipe.network_arguments())}
    name = "UNet" if recipe.network.kind == "unet" else "FCN"
    return {"_target_": f"volseg.networks.{name}", **_plain(recipe.network_arguments())}


def preparation_part(recipe: Recipe) -> Part:
    """From stored images to what the network sees."""
    image = recipe.image
    spacing = None
    if not isinstance(image.spacing, str):
        spacing = [None if isinstance(mm, str) else float(mm) for mm in image.spacing]
    normalisation = {"kind": "none"} if recipe.normalisation is None else recipe.normalisation.model_dump(mode="json")
    return {
        "_target_": "volseg.transforms.preparation.Preparation",
        "axcodes": image.axcodes,
        "spacing": spacing,
        "order": INTERPOLATIONS[image.resampling_order],
        "normalisation": normalisation,
        "padding": list(image.padding_values),
        **_unusual(image, "voxels", "normalised"),
    }


def classes_part(recipe: Recipe) -> Part:
    """How values of a mask become class numbers."""
    labels = recipe.labels
    return {
        "_target_": "volseg.engine.classes.Classes",
        "values": list(labels.values),
        "ignore": labels.ignore,
        "instances": recipe.labelling.instances,
    }


def weighting_part(recipe: Recipe) -> Part | None:
    """The weight map of the energy, if there is one."""
    weights = recipe.weight_map
    if weights is None:
        return None
    balance = weights.class_balance
    if balance is None:
        balance = (1.0,) * (1 + len(recipe.labels))
    return {
        "_target_": "volseg.engine.cases.Weighting",
        "w0": weights.w0,
        "sigma": weights.sigma,
        "unit": "mm" if weights.unit == "mm" else "voxel",
        "class_weights": None if balance == "case" else list(balance),
        "separate_instances": weights.separate_instances,
    }


def cases_part(recipe: Recipe) -> Part:
    """How cases are read and prepared to be learnt from."""
    return {
        "_target_": "volseg.engine.cases.CaseReader",
        "preparation": preparation_part(recipe),
        "classes": classes_part(recipe),
        "weighting": weighting_part(recipe),
        "slices": recipe.spatial_dims < recipe.image.spatial_dims,
        "spacing_range": list(recipe.image.allowed_spacing),
    }


def motions_part(recipe: Recipe) -> Part:
    """Random changes of place: symmetries of the anatomy, and the fused change."""
    augmentation = recipe.augmentation
    part: Part = {
        "_target_": "volseg.engine.motions.Motions",
        "flips": list(augmentation.flips),
        "right_angles": [list(plane) for plane in augmentation.right_angles],
    }
    spatial = augmentation.spatial
    if spatial is None:
        return part
    elastic = spatial.elastic
    part |= {
        "prob": spatial.prob,
        "rotation": _plain(spatial.rotation),
        "scale": list(spatial.scale),
        "shear": spatial.shear,
        "translation": _plain(spatial.translation),
    }
    if elastic is not None:
        part["elastic_prob"] = elastic.prob
        part["elastic"] = {
            "grid": _plain(3 if elastic.grid is None else elastic.grid),
            "spacing": _plain(elastic.spacing),
            "std": _plain(elastic.std),
            "unit": "mm" if elastic.unit == "mm" else "voxel",
            "interpolation": elastic.mode,
            "lock_borders": elastic.locked_borders,
        }
    return part


def patches_part(recipe: Recipe) -> Part:
    """How patches are taken from prepared cases; the cases themselves are given when it is built."""
    spatial = recipe.augmentation.spatial
    return {
        "_target_": "volseg.engine.patches.PatchDataset",
        "patch": list(recipe.training.patch),
        "lost": list(recipe.shape.lost),
        "foreground": recipe.training.foreground,
        "motions": motions_part(recipe),
        "image_mode": "linear" if spatial is None else INTERPOLATIONS[spatial.resampling_order],
        "label_mode": "nearest" if spatial is None else spatial.label_resampling,
        "outside": "reflect" if spatial is None else spatial.outside,
        "seed": recipe.training.seed,
    }


def batch_part(recipe: Recipe) -> Part:
    """What a batch goes through on the device: changes of intensity."""
    changes = recipe.augmentation.intensity
    part: Part = {"_target_": "volseg.engine.preparing.PrepareBatch", "seed": recipe.training.seed}
    if changes is None:
        return part
    drawn: dict[str, Any] = {}
    for name, given, argument in (
        ("contrast", changes.contrast, "factor"),
        ("gamma", changes.gamma, "exponent"),
        ("noise", changes.noise, "std"),
        ("blur", changes.blur, "sigma"),
        ("low_resolution", changes.low_resolution, "factor"),
    ):
        if given is not None:
            drawn[f"{name}_prob"] = given.prob
            drawn[name] = list(getattr(given, argument))
    if changes.bias_field is not None:
        drawn["bias_prob"] = changes.bias_field.prob
        drawn["bias"] = changes.bias_field.strength[1]
    network = recipe.network
    if isinstance(network, UNetNetwork) and isinstance(recipe.shape, UNetShape):
        # an axis that the finest convolutions leave alone is one of thick slices: smoothing across them is no scanner's
        fine = [axis for axis, size in enumerate(recipe.shape.kernel_sizes[0]) if size > 1]
        drawn["axes"] = fine or None
    part["changes"] = drawn
    if changes.brightness is not None:
        part["brightness_prob"] = changes.brightness.prob
        part["brightness"] = list(changes.brightness.factor)
    return part


def loss_part(recipe: Recipe) -> Part:
    """What training makes small."""
    loss, labels = recipe.loss, recipe.labels
    classes = build(classes_part(recipe))
    reading: dict[str, Any] = {"ignore": None if labels.ignore is None else classes.ignored}
    if recipe.labelling.output == "regions":
        reading["regions"] = [[classes.number_of(v) for v in values] for values in recipe.class_values]
    overlap = {"include_background": loss.include_background, "batch": loss.batch, **reading}
    weights = None if recipe.class_weights is None else list(recipe.class_weights)
    energy = {"class_weights": weights, "normalise": loss.normalise, **reading}
    part: Part = {
        "energy": {"_target_": "volseg.losses.EnergyLoss", **energy},
        "dice": {"_target_": "volseg.losses.DiceLoss", **overlap},
        "iou": {"_target_": "volseg.losses.IoULoss", **overlap},
        "dice_energy": {
            "_target_": "volseg.losses.DiceEnergyLoss",
            "dice": loss.dice_weight,
            "energy": loss.energy_weight,
            **energy,
            **overlap,
        },
    }[loss.kind]
    if recipe.deep_supervision_weights is None:
        return part
    shape = recipe.shape
    strides = None
    if isinstance(shape, UNetShape) and shape.padding == "valid":
        strides = [list(shape.level_stride(level)) for level in range(shape.levels - 1)]
    return {
        "_target_": "volseg.losses.DeepSupervisionLoss",
        "loss": part,
        "weights": list(recipe.deep_supervision_weights),
        "strides": strides,
    }


def optimiser_part(recipe: Recipe) -> Part:
    """What moves the weights; the network is given when it is built."""
    optimiser = recipe.optimiser
    part: Part = {
        "_target_": "volseg.engine.optimisers.optimiser",
        "kind": optimiser.kind,
        "lr": optimiser.lr,
        "weight_decay": optimiser.weight_decay,
    }
    if isinstance(optimiser, SGD):
        return {**part, "momentum": optimiser.momentum, "nesterov": optimiser.nesterov}
    return {**part, "betas": list(optimiser.betas)}


def schedule_part(recipe: Recipe, steps_per_epoch: int) -> Part:
    """How the learning rate goes; the optimiser is given when it is built."""
    optimiser = recipe.optimiser
    moves = -(-steps_per_epoch // optimiser.accumulate)  # steps of the optimiser in an epoch
    return {
        "_target_": "volseg.engine.schedule.scheduler",
        "total": moves * recipe.training.epochs,
        "schedule": optimiser.schedule,
        "power": optimiser.power,
        "warmup": moves * optimiser.warmup,
    }


def decision_part(recipe: Recipe) -> Part:
    """How logits become labels."""
    regions = recipe.labelling.output == "regions"
    return {
        "_target_": "volseg.inference.stream.Decision",
        "values": [values[0] for values in recipe.class_values],
        "kind": "threshold" if regions else "argmax",
        **_unusual(recipe.inference, "interpolated"),
    }


def steps_per_epoch(recipe: Recipe, cases: int, world: int = 1) -> int:
    """Batches of an epoch on each device: as the recipe says, or one patch of every case."""
    return recipe.training.steps_per_epoch or max(1, -(-cases // (recipe.training.batch * world)))


def _unusual(section: Section, *names: str) -> dict[str, Any]:
    """The keys that are not left at their defaults; what nobody changes need not be read."""
    fields = type(section).model_fields
    return {name: getattr(section, name) for name in names if getattr(section, name) != fields[name].default}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
