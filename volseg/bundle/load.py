"""A bundle as an object: from its recipe and its weights alone, so that nothing it brings is ever executed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from volseg.bundle.files import open_bundle, read_whole
from volseg.bundle.limits import GIB
from volseg.bundle.parts import order, precision, turns_part
from volseg.bundle.weights import load_into, parse_safetensors
from volseg.engine import compose
from volseg.errors import BundleError, UsageError
from volseg.inference.pieces import Precision
from volseg.inference.predictor import Prediction, Predictor
from volseg.inference.tta import Turn
from volseg.io import Volume, read_volume
from volseg.recipe import Recipe
from volseg.recipe.layers import Layer
from volseg.recipe.yaml_text import LARGEST, read_yaml

_RECIPE, _WEIGHTS = "configs/recipe.yaml", "models/model.safetensors"


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model: what it was made from, and its weights.

    Attributes:
        name: of the bundle.
        where: it came from.
        recipe: everything that inference depends on but the weights.
        weights: as they are stored, in half precision.
        sha256: of the weights' file.
    """

    name: str
    where: str
    recipe: Recipe
    weights: dict[str, Tensor]
    sha256: str

    @property
    def identity(self) -> dict[str, str]:
        """What its masks depend on."""
        return {"bundle": self.name, "recipe": self.recipe.digest(), "weights": self.sha256}

    def network(self) -> nn.Module:
        """The network with its weights, in single precision, ready to predict; a new one each time."""
        network: nn.Module = compose.build(compose.network_part(self.recipe))
        return load_into(network, self.weights, self.where).eval()

    def predictor(
        self,
        *,
        device: str = "auto",
        max_memory: str | int | None = None,
        tile: Sequence[int] | None = None,
        blend: bool | None = None,
        turns: Sequence[Turn] | None = None,
        precision: Precision | None = None,
    ) -> Predictor:
        """What predicts volumes as the recipe says, but for what is given here.

        Args:
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            max_memory: the peak above the loaded network and the volume.
            tile: the size of pieces.
            blend: overlapping windows instead of exact pieces.
            turns: symmetries to average over; an empty list for one plain pass.
            precision: of the network's arithmetic.
        """
        from volseg.engine.together import device_named

        inference, place = self.recipe.inference, device_named(device)
        chosen = _precision(self.recipe, place) if precision is None else precision
        return Predictor(
            [self.network().to(place)],
            compose.build(compose.preparation_part(self.recipe)),
            compose.build(compose.decision_part(self.recipe)),
            self.recipe.labels,
            turns=self.turns if turns is None else turns,
            order=order(self.recipe),
            steps=self.recipe.postprocessing,
            max_memory=inference.max_memory if max_memory is None else max_memory,
            tile=inference.tile if tile is None else tile,
            blend=inference.blend is not None if blend is None else blend,
            precision=chosen,
        )

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The symmetries that the recipe averages over."""
        part = turns_part(self.recipe)
        return tuple(compose.build(part)) if isinstance(part, dict) else ()

    @cached_property
    def _ready(self) -> Predictor:
        return self.predictor()

    def predict(self, image: str | os.PathLike[str] | Volume | Sequence[str | os.PathLike[str] | Volume]) -> Prediction:
        """The mask of one image: a file, a DICOM folder, a volume; for several channels a list of them, in order.

        Raises:
            UsageError: if the number of channels is another.
        """
        given = [image] if isinstance(image, str | os.PathLike | Volume) else list(image)
        if len(given) != self.recipe.in_channels:
            names = ", ".join(self.recipe.image.channels)
            raise UsageError(f"{len(given)} images were given; the bundle takes {self.recipe.in_channels} ({names})")
        low, high = self.recipe.image.allowed_spacing
        volumes = [one if isinstance(one, Volume) else read_volume(one, spacing_range=(low, high)) for one in given]
        return self._ready(volumes)


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Load a bundle from its folder or its zip.

    Only ``configs/recipe.yaml`` and ``models/model.safetensors`` are read; no expression is evaluated, no name that
    the bundle gives is imported, nothing is unpickled.

    Raises:
        BundleError: if either is missing or damaged, or the weights are not of the recipe's network.
        RecipeError: if the recipe does not hold together.
    """
    with open_bundle(path) as files:
        name, where = files.name, files.where
        if _RECIPE not in files.sizes:
            raise BundleError(f"has no {_RECIPE}: no bundle of volseg", where=where)
        if _WEIGHTS not in files.sizes:
            raise BundleError(f"has no {_WEIGHTS}", where=where, mend="train the bundle, or name one that is trained")
        at = f"{where}: {_RECIPE}"
        data = read_yaml(read_whole(files, _RECIPE, LARGEST), at)
        raw = read_whole(files, _WEIGHTS, GIB)
    recipe = Recipe.from_layers([Layer(at, data)])
    weights = parse_safetensors(raw, f"{where}: {_WEIGHTS}")
    bundle = Bundle(recipe.bundle.name or name, where, recipe, weights, hashlib.sha256(raw).hexdigest())
    bundle.network()  # whether the weights fit is known before the first case
    return bundle


def _precision(recipe: Recipe, place: torch.device) -> Precision:
    return precision(recipe, place.type)
