"""The recipe: the one thing a person writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from volseg.errors import RecipeError
from volseg.labels import Labels
from volseg.recipe.augmentation import Augmentation
from volseg.recipe.card import Card
from volseg.recipe.contradictions import contradictions
from volseg.recipe.folds import Folds
from volseg.recipe.frozen import FrozenDict
from volseg.recipe.image import Image
from volseg.recipe.inference import Inference
from volseg.recipe.kinds import Default, Frozen
from volseg.recipe.labelling import Labelling, Name
from volseg.recipe.layers import Layer, merge
from volseg.recipe.loss import Loss
from volseg.recipe.mistakes import recipe_error
from volseg.recipe.network import Network, UNetNetwork
from volseg.recipe.normalisation import Normalisation, ZScore
from volseg.recipe.optimiser import Adam, Optimiser
from volseg.recipe.postprocessing import Postprocessing
from volseg.recipe.section import Section
from volseg.recipe.size import network_shape
from volseg.recipe.spelling import spell
from volseg.recipe.tracking import Tracking
from volseg.recipe.training import Training
from volseg.recipe.weight_map import WeightMap
from volseg.shapes import NetworkShape


class Recipe(Section):
    """Everything that training and inference depend on but the data: valid once made, never changed.

    >>> recipe = Recipe.from_dict({
    ...     "labels": {"values": {"heart": 1}},
    ...     "image": {"spatial_dims": 3},
    ...     "training": {"patch": [96, 96, 96]},
    ... })
    >>> recipe.out_channels, recipe.network.channels
    (2, (16, 32, 64, 128, 256))
    """

    labelling: Labelling = Field(alias="labels", description="the structures")
    image: Image = Field(description="the images and their geometry")
    normalisation: Normalisation | None = Field(
        default_factory=ZScore, description="how intensities are made comparable"
    )
    network: Annotated[Network, Default("a U-Net")] = Field(description="the architecture")
    augmentation: Augmentation = Field(default_factory=Augmentation, description="changes of training images")
    weight_map: WeightMap | None = Field(None, description="weights of voxels in the energy loss")
    loss: Loss = Field(default_factory=Loss, description="what training makes small")
    optimiser: Optimiser = Field(default_factory=Adam, description="how the weights are moved")
    training: Training = Field(description="how long, on what, at which precision")
    inference: Inference = Field(default_factory=Inference, description="how a whole image is predicted")
    postprocessing: Annotated[dict[Name, Postprocessing], Frozen] = Field(
        default_factory=FrozenDict, description="steps on the predicted mask, by structure or region"
    )
    folds: Folds = Field(default_factory=Folds, description="division for cross-validation")
    tracking: Tracking | None = Field(None, description="where a run is recorded beside its own folder")
    bundle: Card = Field(default_factory=Card, description="what a trained bundle says of itself")

    @model_validator(mode="before")
    @classmethod
    def _network_as_the_images(cls, data: Any) -> Any:
        """A network without ``spatial_dims`` has those of the images."""
        if not isinstance(data, dict):
            return data
        network, image = data.get("network", {}), data.get("image")
        if isinstance(network, dict) and "spatial_dims" not in network:
            dims = image.get("spatial_dims") if isinstance(image, dict) else None
            return {**data, "network": {**network, "spatial_dims": dims if type(dims) is int and dims in (2, 3) else 3}}
        return data

    @model_validator(mode="after")
    def _without_contradictions(self) -> Recipe:
        found = list(contradictions(self))
        if found:
            raise PydanticCustomError("contradictions", "the recipe contradicts itself", {"found": found})
        return self

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, where: str = "recipe") -> Recipe:
        """The recipe that plain data describe.

        Args:
            data: nested, or with dotted keys at the top level.
            where: what errors call it.

        Raises:
            RecipeError: one line per mistake.
        """
        return cls.from_layers([Layer(where, data)])

    @classmethod
    def from_layers(cls, layers: list[Layer]) -> Recipe:
        """The recipe that layers of changes make, later ones over earlier ones; errors name the layer."""
        for layer in layers:
            if not isinstance(layer.changes, Mapping):
                raise RecipeError(f"expected a mapping of keys, not {spell(layer.changes)}", where=layer.source)
        merged = merge(layers, cls)
        try:
            return cls.model_validate(merged.data)
        except ValidationError as error:
            raise recipe_error(error, cls, merged) from None

    def changed(self, changes: Mapping[str, Any], *, where: str = "changes") -> Recipe:
        """The recipe with some keys changed, checked again.

        >>> keys = {"labels.values": {"cell": 1}, "image.spatial_dims": 2, "training.patch": [64, 64]}
        >>> short = Recipe.from_dict(keys)
        >>> short.changed({"training.epochs": 7}).training.epochs
        7
        """
        # without its defaults, so that a change of kind brings the defaults of the new kind, as it does in files
        written = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return type(self).from_layers([Layer("recipe", written), Layer(where, changes)])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, every key in it; :meth:`from_dict` reads them back."""
        return self.model_dump(mode="json", by_alias=True)

    def digest(self) -> str:
        """SHA-256 of the recipe's content, whatever its spelling, comments and order of keys."""
        return hashlib.sha256(self._canonical.encode()).hexdigest()

    @cached_property
    def _canonical(self) -> str:
        return json.dumps(self.to_dict(), separators=(",", ":"), ensure_ascii=True, allow_nan=False)

    def __eq__(self, other: object) -> bool:
        return self._canonical == other._canonical if isinstance(other, Recipe) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._canonical)

    @cached_property
    def labels(self) -> Labels:
        """Names, values and colours of the structures."""
        return self.labelling.labels()

    @property
    def in_channels(self) -> int:
        """Channels of the network's input."""
        return len(self.image.channels)

    @property
    def out_channels(self) -> int:
        """Channels of the network's output: background and structures, or the regions."""
        return len(self.class_names)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What each output channel stands for."""
        if self.labelling.output == "regions":
            return tuple(self.labelling.regions)
        return ("background", *self.labelling.names)

    @property
    def class_values(self) -> tuple[tuple[int, ...], ...]:
        """The mask values that each output channel covers."""
        labels = self.labels
        if self.labelling.output == "regions":
            return tuple(tuple(labels[part].value for part in parts) for parts in self.labelling.regions.values())
        return ((0,), *((value,) for value in labels.values))

    @property
    def class_weights(self) -> tuple[float, ...] | None:
        """The loss's weight of each output channel; none where all are alike."""
        weights = self.loss.weights
        return tuple(weights.get(name, 1.0) for name in self.class_names) if weights else None

    @property
    def activation(self) -> str:
        """What turns the output into probabilities: channels that exclude each other, or not."""
        return "sigmoid" if self.labelling.output == "regions" else "softmax"

    @property
    def spatial_dims(self) -> int:
        """Dimensions of the network, its patches and its tiles."""
        return self.network.spatial_dims

    @property
    def shape(self) -> NetworkShape:
        """Which sizes the network takes and gives."""
        return network_shape(self.network)

    def network_arguments(self) -> dict[str, Any]:
        """The arguments of the network's class, derived ones included; ``kind`` names the class.

        >>> Recipe.from_dict({
        ...     "labels.values": {"cell": 1}, "image.spatial_dims": 2, "training.patch": [64, 64],
        ...     "network": {"kind": "fcn", "variant": "16s"},
        ... }).network_arguments()
        {'spatial_dims': 2, 'variant': '16s', 'in_channels': 1, 'out_channels': 2}
        """
        own = self.network.model_dump(exclude={"kind"})
        return {**own, "in_channels": self.in_channels, "out_channels": self.out_channels}

    @property
    def deep_supervision_weights(self) -> tuple[float, ...] | None:
        """The weights of the network's outputs, finest first, with sum 1; none without deep supervision."""
        if not (isinstance(self.network, UNetNetwork) and self.network.deep_supervision):
            return None
        weights = self.loss.deep_supervision or tuple(0.5**i for i in range(len(self.network.channels) - 1))
        return tuple(weight / sum(weights) for weight in weights)
