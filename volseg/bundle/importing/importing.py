"""``volseg bundle import``: another laboratory's MONAI bundle as one of volseg's, or the reason why not."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from volseg.bundle.about import about
from volseg.bundle.importing.component import Component
from volseg.bundle.importing.config import Config, read_config
from volseg.bundle.importing.conversion import convert_weights
from volseg.bundle.importing.describing import card_section, channel_names, modality
from volseg.bundle.importing.meanings import Meaning, Part
from volseg.bundle.importing.networks import network_section
from volseg.bundle.importing.predicting import Decided, inference_section, read_postprocessing
from volseg.bundle.importing.preprocessing import Prepared, read_preprocessing
from volseg.bundle.importing.resolving import ROOT, Resolver
from volseg.bundle.rendering.build import build_bundle
from volseg.bundle.storage.files import BundleFiles, open_bundle, refuse_problems
from volseg.errors import BundleError, RecipeError
from volseg.recipe import Recipe

_ENGINE_OPTIONS = ("device", "amp", "decollate", "epoch_length", "non_blocking", "metric_cmp_fn", "prefetch_factor")
_LOADER_OPTIONS = (
    "batch_size", "shuffle", "num_workers", "pin_memory", "collate_fn", "persistent_workers", "prefetch_factor",
)  # fmt: skip
#: configurations name what starts a run in their own ways
_RUNS = ("imports", "import", "initialize", "run", "inference", "evaluating", "inferring", "finalize")
_DATASETS = ("Dataset", "CacheDataset", "PersistentDataset", "SmartCacheDataset")


@dataclass(frozen=True)
class Imported:
    """What came of it.

    Attributes:
        folder: of the new bundle.
        recipe: its recipe.
        notes: what is not as it was, one line each.
    """

    folder: Path
    recipe: Recipe
    notes: tuple[str, ...]


def import_bundle(
    source: str | os.PathLike[str], out: str | os.PathLike[str], *, licence: str | None = None
) -> Imported:
    """Make a volseg bundle of a MONAI bundle whose inference configuration is data.

    Nothing of the source is executed: its configuration is interpreted from a closed list of components and
    expressions, and its weights must be plain tensors.

    Args:
        source: a folder, or a zip.
        out: the new bundle's folder.
        licence: of the weights, as an SPDX identifier, where the source does not tell.

    Raises:
        BundleError: naming file, line and reason, if anything in it is not understood.
    """
    with open_bundle(source) as files, TemporaryDirectory(prefix="volseg-import-") as folder:
        refuse_problems(files)
        understood = _Understood.of(files, licence)
        weights = Path(folder) / "model.safetensors"
        convert_weights(files, understood.weights, understood.weights_key, weights)
        built = build_bundle(understood.recipe, out, weights=weights)
    return Imported(built, understood.recipe, understood.notes)


@dataclass(frozen=True, eq=False)
class _Understood:
    """A source that needs nothing unknown."""

    recipe: Recipe
    weights: str
    weights_key: str
    notes: tuple[str, ...]

    @classmethod
    def of(cls, files: BundleFiles, licence: str | None) -> _Understood:
        config = read_config(files)
        resolver = Resolver(config)
        resolver.check_everything()
        _require_steps(resolver)
        evaluator = Component(resolver.value(_place(config, "evaluator")), "evaluator", resolver)
        if evaluator.name != "SupervisedEvaluator":
            raise evaluator.refusal("_target_", f"{evaluator.name} is not SupervisedEvaluator")
        network = Component(evaluator.take("network"), "network", resolver, evaluator.path)
        section = network_section(network)
        ends = {name: section.pop(name) for name in ("in_channels", "out_channels")}
        dataset = _dataset(evaluator)
        preprocessing = dataset.take("transform")
        before = read_preprocessing(_transforms(preprocessing, resolver, dataset.path), ends["in_channels"])
        inferer = Component(evaluator.take("inferer"), "inferer", resolver, evaluator.path)
        # a 2-D network is known for slices of volumes: MONAI's readers turn the axes of pictures
        inference = inference_section(inferer, 3, section["spatial_dims"], section["norm"]["name"] != "batch")
        postprocessing = evaluator.take("postprocessing")
        after = read_postprocessing(
            _transforms(postprocessing, resolver, evaluator.path),
            postprocessing,
            preprocessing,
            before.key or "image",
            before.spacing is not None,
            config,
        )
        loader = _checkpoint(evaluator, network.path)
        evaluator.ignore(*_ENGINE_OPTIONS)
        evaluator.done()
        dataset.ignore("cache_rate", "cache_num", "num_workers", "progress", "cache_dir")
        dataset.done()
        weights, key = _weights(loader, network.path)
        data = {
            **_labels(files, ends["out_channels"], after),
            "network": section,
            **before.sections(),
            "inference": inference | _way_back(after),
            "training": {"patch": inference.get("tile") or _patch(section)},
            "bundle": card_section(files, about(files), licence),
        }
        data["image"] |= {
            "spatial_dims": 3,
            "modality": modality(files),
            "channels": channel_names(files, "inputs", "image", ends["in_channels"], "channel"),
        }
        try:
            recipe = Recipe.from_dict(data, where=config.file)
        except RecipeError as error:
            raise BundleError(f"its parts do not make a recipe: {error}", where=files.where) from error
        return cls(recipe, weights, key, tuple(_notes(evaluator, before, inferer)))


def _place(config: Config, name: str) -> tuple[str]:
    if name not in config.data:
        raise BundleError(f"has no {name}: nothing says how it predicts", where=config.file)
    return (name,)


def _require_steps(resolver: Resolver) -> None:
    """What a run does must be steps that are known, and nothing else."""
    data = resolver.config.data
    for name in (name for name in _RUNS if name in data):
        value = resolver.value((name,))
        for path, step in resolver.items(value, (name,)):
            if step is not Meaning.STEP and not isinstance(step, Part):
                raise resolver.config.refusal(path, "is no step that is known")


def _transforms(found: Any, resolver: Resolver, where: tuple[str | int, ...]) -> list[Component]:
    compose = Component(found, "transform", resolver, where)
    if compose.name != "Compose":
        raise compose.refusal("_target_", f"{compose.name} is not Compose")
    place = (*compose.path, "transforms")
    if "transforms" not in compose.value:
        raise compose.refusal(None, "has no transforms")
    items = resolver.items(resolver.value(place), place)
    found = [Component(value, "transform", resolver, path) for path, value in items]
    compose.take("transforms")
    compose.ignore("map_items", "unpack_items", "log_stats", "lazy", "overrides")
    compose.done()
    return list(found)


def _dataset(evaluator: Component) -> Component:
    resolver = evaluator.resolver
    loader = Component(evaluator.take("val_data_loader"), "data", resolver, evaluator.path)
    if loader.name not in ("DataLoader", "ThreadDataLoader"):
        raise loader.refusal("_target_", f"{loader.name} is no data loader that is known")
    dataset = Component(loader.take("dataset"), "data", resolver, loader.path)
    if dataset.name not in _DATASETS:
        raise dataset.refusal("_target_", f"{dataset.name} is no dataset that is known")
    if dataset.take("data") is not Meaning.DATA:
        raise dataset.refusal("data", "is no list of cases that is known")
    loader.ignore(*_LOADER_OPTIONS)
    loader.done()
    return dataset


def _checkpoint(evaluator: Component, network: tuple[str | int, ...]) -> Component:
    """What loads the weights: a handler, or a component that the first steps call."""
    resolver = evaluator.resolver
    handlers = evaluator.take("val_handlers", [])
    found: list[Component] = []
    for value in handlers if isinstance(handlers, list) else [handlers]:
        handler = Component(value, "handler", resolver, evaluator.path)
        if handler.disabled:
            continue
        if handler.name == "CheckpointLoader":
            found.append(handler)
        elif handler.name != "StatsHandler":
            raise handler.refusal("_target_", f"{handler.name} is not one of the handlers that are known")
    for name, value in resolver.config.data.items():
        if isinstance(value, Mapping) and str(value.get("_target_", "")).rpartition(".")[2] == "CheckpointLoader":
            loader = Component(resolver.value((name,)), "handler", resolver)
            if not loader.disabled and all(loader.path != one.path for one in found):
                found.append(loader)
    if len(found) != 1:
        why = "nothing loads its weights (CheckpointLoader)" if not found else "several components load weights"
        raise evaluator.refusal(None, why)
    return found[0]


def _weights(loader: Component, network: tuple[str | int, ...]) -> tuple[str, str]:
    """The file of weights, and what it calls the network."""
    path, loaded = loader.take("load_path"), loader.take("load_dict")
    parts = str(path).replace("\\", "/").split("/")
    if not isinstance(path, str) or parts[0] != ROOT or not all(parts) or {".", ".."} & {*parts}:
        raise loader.refusal("load_path", f"is not a file of this bundle: {path}")
    if not isinstance(loaded, dict) or len(loaded) != 1:
        raise loader.refusal("load_dict", "loads something else than one network")
    [(key, value)] = loaded.items()
    if not isinstance(value, Part) or value.path != network:
        raise loader.refusal("load_dict", "loads something else than the network")
    if not loader.flag("strict", True) or loader.take("strict_shape", True) is not True:
        raise loader.refusal("strict", "leaves out weights that do not fit")
    loader.ignore("map_location", "name", "weights_only")
    loader.done()
    return "/".join(parts[1:]), str(key)


def _labels(files: BundleFiles, channels: int, after: Decided) -> dict[str, Any]:
    names = channel_names(files, "outputs", "pred", channels, "class")
    if after.kind == "threshold":
        if channels != 1:
            raise BundleError(
                f"its {channels} channels may overlap, and a mask of volseg's holds one label for each voxel",
                where=files.where,
            )
        name = names[0] if names[0] != "background" else "foreground"
        return {"labels": {"values": {name: 1}, "regions": {f"{name} (region)": [name]}, "output": "regions"}}
    values = {name if name != "background" else f"class {value}": value for value, name in enumerate(names) if value}
    if not values:
        raise BundleError("its network has one channel, and argmax needs two", where=files.where)
    kept = {name: {"largest_component": True} for name, value in values.items() if value in after.largest}
    return {"labels": {"values": values}, "postprocessing": kept}


def _way_back(after: Decided) -> dict[str, Any]:
    section: dict[str, Any] = {"resampling_order": 0 if after.back == "nearest" else 1}
    return section | {"interpolated": "probabilities" if after.probabilities else "logits"}


def _patch(section: Mapping[str, Any]) -> list[int]:
    """A size to train on, where the source names none: nothing of a prediction depends on it."""
    side: Callable[[int], int] = lambda stride: stride * max(1, -(-64 // stride))  # noqa: E731
    if section["kind"] == "monai_basic_unet":
        return [side(16)] * section["spatial_dims"]
    if section["kind"] == "monai_seg_res_net":
        return [side(2 ** (len(section["blocks_down"]) - 1))] * section["spatial_dims"]
    strides = [1] * section["spatial_dims"]
    for level in section["strides"]:
        strides = [a * b for a, b in zip(strides, level, strict=True)]
    return [side(stride) for stride in strides]


def _notes(evaluator: Component, before: Prepared, inferer: Component) -> list[str]:
    notes = []
    if evaluator.value.get("amp"):
        notes.append("the source computes in half precision where it can; volseg in float32, unless told otherwise")
    if inferer.name == "SimpleInferer":
        notes.append("the source sees each image at once; volseg sees it in exact pieces")
    if before.reader == "itkreader":
        notes.append("the source reads by ITK; volseg reads NIfTI by its own header, which differs where that is odd")
    return notes
