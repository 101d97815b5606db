"""What a bundle says of itself: who made it, from which data, for which labels and geometry, how good it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Any

from volseg.bundle.audit.yaml_places import read_yaml_places
from volseg.bundle.rendering.licences import UNSTATED
from volseg.bundle.storage.files import BundleFiles, read_whole
from volseg.bundle.storage.json_text import read_json
from volseg.bundle.storage.manifest import MANIFEST, METADATA, RECIPE, manifest_of
from volseg.bundle.storage.safetensors_header import SafetensorsHeader, read_safetensors_header
from volseg.errors import VolsegError, printable
from volseg.recipe.layers import Layer
from volseg.recipe.model import Recipe
from volseg.recipe.yaml_text import LARGEST, read_yaml

_CARDS = ("docs/README.md", "README.md")
_RESULTS = ("eval_metrics", "metrics", "results")
_LONGEST = 600
_MOST = 64
_MOST_TENSORS = 20_000


@dataclass(frozen=True)
class About:
    """Claims, all of them the maker's own; nothing here was measured."""

    name: str
    version: str = ""
    task: str = ""
    description: str = ""
    authors: str = ""
    copyright: str = ""
    license: str = ""
    data_source: str = ""
    data_license: str = ""
    intended_use: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    geometry: Mapping[str, str] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, str] = field(default_factory=dict)
    #: whether volseg's own door is open: a recipe and safetensors
    runs_in_volseg: bool = False
    packed: str = ""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}


def about(files: BundleFiles) -> About:
    """Read the claims; what cannot be read is a note, never an error."""
    notes: list[str] = []
    metadata = _metadata(files, notes)
    recipe = _recipe(files, notes)
    card = _card(files, notes)
    weights = _weights(files, notes)
    told = {key: _text(metadata.get(key)) for key in ("version", "task", "description", "authors", "copyright")}
    told |= {key: _text(metadata.get(key)) for key in ("data_source", "intended_use")}
    told |= {"license": _text(card.get("license")), "data_license": ""}
    if recipe:
        own = recipe.bundle
        told |= {key: told[key] or _text(getattr(own, key)) for key in told}
        told["license"], told["data_license"] = own.license or UNSTATED, _text(own.data_license)
    return About(
        name=printable(_text(metadata.get("name")) or (recipe.bundle.name if recipe else None) or files.name),
        **told,
        labels=_labels(metadata, recipe),
        geometry=_geometry(metadata, recipe),
        results={**_results(metadata), **_results(card)},
        needs=_needs(metadata),
        weights=weights,
        runs_in_volseg=recipe is not None and any(path.endswith(".safetensors") for path in weights),
        packed=_packed(files, notes),
        notes=tuple(notes),
    )


def _metadata(files: BundleFiles, notes: list[str]) -> Mapping[str, Any]:
    for path in (METADATA, "metadata.json"):
        if path in files.sizes:
            return _mapping(_tried(lambda path=path: read_json(read_whole(files, path), path), notes))
    notes.append(f"no {METADATA}: not in the form of a MONAI bundle")
    return {}


def _recipe(files: BundleFiles, notes: list[str]) -> Recipe | None:
    if RECIPE not in files.sizes:
        return None
    recipe = _tried(
        lambda: Recipe.from_layers([Layer(RECIPE, read_yaml(read_whole(files, RECIPE, LARGEST), RECIPE))]), notes
    )
    return recipe if isinstance(recipe, Recipe) else None


def _card(files: BundleFiles, notes: list[str]) -> Mapping[str, Any]:
    """The front matter of the model card."""
    for path in _CARDS:
        if path in files.sizes:
            raw = _tried(lambda path=path: read_whole(files, path), notes)
            if isinstance(raw, bytes) and raw.startswith(b"---"):
                front = raw[3:].partition(b"\n---")[0]
                return _mapping(_tried(lambda front=front, path=path: read_yaml_places(front, path), notes))
    return {}


def _weights(files: BundleFiles, notes: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    tensors = 0
    for path, size in files.sizes.items():
        if len(found) == _MOST or tensors > _MOST_TENSORS:
            break
        if path.endswith(".safetensors"):
            header = _tried(lambda path=path, size=size: _header(files, path, size), notes)
            tensors += len(header.tensors) if header else 0
            told = f"{len(header.tensors)} tensors, {header.parameters} numbers" if header else "unreadable"
            found[printable(path)] = _text(told)
        elif path.endswith((".pt", ".pth", ".ts", ".onnx", ".pt2", ".ckpt", ".bin")):
            found[printable(path)] = f"{size} bytes"
    return found


def _header(files: BundleFiles, path: str, size: int) -> SafetensorsHeader:
    with files.open(path) as file:
        return read_safetensors_header(file, size, path)


def _labels(metadata: Mapping[str, Any], recipe: Recipe | None) -> dict[str, str]:
    if recipe:
        return {"0": "background"} | {str(label.value): label.name for label in recipe.labels.structures}
    outputs = _mapping(_mapping(metadata.get("network_data_format")).get("outputs"))
    return _short(_mapping(_mapping(outputs.get("pred")).get("channel_def")))


def _geometry(metadata: Mapping[str, Any], recipe: Recipe | None) -> dict[str, str]:
    if recipe:
        image = recipe.image
        spacing = image.spacing if isinstance(image.spacing, str) else " x ".join(map(str, image.spacing))
        told = {"dimensions": image.spatial_dims, "modality": image.modality, "channels": ", ".join(image.channels)}
        return {k: str(v) for k, v in told.items()} | {
            "orientation": image.axcodes or "as stored",
            "spacing mm": spacing,
        }
    inputs = _mapping(_mapping(metadata.get("network_data_format")).get("inputs"))
    image_ = _mapping(inputs.get("image"))
    keys = ("type", "modality", "num_channels", "spatial_shape", "dtype", "value_range")
    return {key: _text(image_[key]) for key in keys if key in image_}


def _results(source: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for key in _RESULTS:
        value = source.get(key)
        if isinstance(value, dict):
            found |= _short({name: _rounded(figure) for name, figure in value.items()})
        elif value is not None:
            found[key] = _text(_rounded(value))
    return found | _short(dict(islice(_model_index(source.get("model-index")), _MOST)))


def _rounded(value: Any) -> Any:
    """Of figures alone: a version may be a number too."""
    return round(value, 4) if isinstance(value, float) else value


def _model_index(models: Any) -> Iterator[tuple[str, Any]]:
    """Results as hubs ask for them: of each model, on each dataset, by each measure."""
    for model in _mappings(models):
        for result in _mappings(model.get("results")):
            dataset = _text(_mapping(result.get("dataset")).get("name"))
            for measure in _mappings(result.get("metrics")):
                name = _text(measure.get("name") or measure.get("type"))
                yield f"{name}, on {dataset}", measure.get("value")


def _needs(metadata: Mapping[str, Any]) -> dict[str, str]:
    needs = {
        key.removesuffix("_version"): _text(metadata[key])
        for key in ("monai_version", "pytorch_version")
        if key in metadata
    }
    return needs | _short(_mapping(metadata.get("required_packages_version")))


def _packed(files: BundleFiles, notes: list[str]) -> str:
    if MANIFEST not in files.sizes:
        return ""
    manifest = _tried(lambda: manifest_of(files), notes)
    return f"{len(manifest.files)} files listed, digest {manifest.digest[:16]}…" if manifest else ""


def _tried(read: Any, notes: list[str]) -> Any:
    try:
        return read()
    except VolsegError as error:
        notes.append(printable(" ".join(str(error).split())))
        return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(values: Any) -> list[Mapping[str, Any]]:
    return [_mapping(value) for value in values[:_MOST]] if isinstance(values, list) else []


def _short(values: Mapping[str, Any]) -> dict[str, str]:
    return {_text(key): _text(value) for key, value in list(values.items())[:_MOST]}


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        value = ", ".join(value[:_MOST])
    text = printable(" ".join((value if isinstance(value, str) else str(value))[: 4 * _LONGEST].split()))
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value) if isinstance(value, tuple) else value
