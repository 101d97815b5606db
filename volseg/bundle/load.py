"""A bundle as an object: from its recipe and its weights alone, so that nothing it brings is ever executed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from torch import Tensor, nn

from volseg.bundle.ensemble import TRUST, member_names
from volseg.bundle.rendering.configs import rendered_configs
from volseg.bundle.rendering.parts import turns_part, windows_part
from volseg.bundle.storage.files import open_bundle, read_whole
from volseg.bundle.storage.manifest import RECIPE, SAFETENSORS, bundle_within
from volseg.bundle.verifying.held import edited, held_files, hold_weights
from volseg.bundle.weights import LARGEST as LARGEST_WEIGHTS
from volseg.bundle.weights import load_into, parse_safetensors
from volseg.engine import compose
from volseg.engine.starting import Start, fit_start
from volseg.errors import BundleError, UsageError
from volseg.geometry import Grid
from volseg.inference.arithmetic import Precision
from volseg.inference.predictor import Predictor
from volseg.inference.tta import Turn
from volseg.inference.windows import Windows
from volseg.prediction.images import Image, as_volumes
from volseg.prediction.segmentation import Segmentation, segment
from volseg.prediction.trust import Trust
from volseg.recipe import Recipe
from volseg.recipe.layers import Layer
from volseg.recipe.yaml_text import LARGEST, read_yaml


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model: what it was made from, and its weights.

    Attributes:
        name: of the bundle.
        where: it came from.
        recipe: everything that inference depends on but the weights.
        weights: as they are stored, in half precision.
        sha256: of the weights' file; of an ensemble, of its members' hashes.
        members: weights of the further members of an ensemble.
        trust: what tells the Dice that a mask probably has, where the bundle brings it.
        notes: what whoever runs it should be told, a line each.
    """

    name: str
    where: str
    recipe: Recipe
    weights: dict[str, Tensor]
    sha256: str
    members: tuple[dict[str, Tensor], ...] = ()
    trust: Trust | None = None
    notes: tuple[str, ...] = ()

    @property
    def identity(self) -> dict[str, str]:
        """What its masks, and what is said of them, depend on."""
        told = {"bundle": self.name, "recipe": self.recipe.digest(), "weights": self.sha256}
        if self.trust is not None:
            told["trust"] = hashlib.sha256(self.trust.to_bytes()).hexdigest()
        return told

    def network(self) -> nn.Module:
        """The network with its weights, in single precision, ready to predict; a new one each time.

        Raises:
            UsageError: if there are several.
        """
        self._require_one()
        return self.networks()[0]

    def start(self, recipe: Recipe) -> Start:
        """Its weights, for a recipe's training to start from.

        Raises:
            UsageError: if there are several networks, or the recipe's is another.
        """
        self._require_one()
        return fit_start(self.name, self.sha256, self.recipe, self.weights, recipe)

    def _require_one(self) -> None:
        if self.members:
            raise UsageError(
                f"is an ensemble of {1 + len(self.members)} networks, and one is needed here",
                where=self.where,
                mend="name a bundle of one network",
            )

    def networks(self) -> list[nn.Module]:
        """The networks of all members, ready to predict; new ones each time."""
        found: list[nn.Module] = []
        for weights in (self.weights, *self.members):
            network: nn.Module = compose.build(compose.network_part(self.recipe))
            found.append(load_into(network, weights, self.where).eval())
        return found

    def predictor(
        self,
        *,
        device: str = "auto",
        max_memory: str | int | None = None,
        tile: Sequence[int] | None = None,
        blend: bool | None = None,
        turns: Sequence[Turn] | None = None,
        precision: Precision | None = None,
        raw: bool = False,
    ) -> Predictor:
        """What predicts volumes as the recipe says, but for what is given here.

        Args:
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            max_memory: the peak above the loaded network and the volume.
            tile: the size of pieces.
            blend: overlapping windows instead of exact pieces; the recipe's own, if it has some.
            turns: symmetries to average over; an empty list for one plain pass. With others than the recipe's no
                trust score is given, since it was calibrated with those.
            precision: of the network's arithmetic; float32 where the device lacks it.
            raw: masks as they are decided, without post-processing, and signs of trust whether they mean anything.
        """
        from volseg.engine.device import device_named

        inference, place = self.recipe.inference, device_named(device)
        copies = self.turns if turns is None else tuple(turns)
        return Predictor(
            [network.to(place) for network in self.networks()],
            compose.build(compose.preparation_part(self.recipe)),
            compose.build(compose.decision_part(self.recipe)),
            self.recipe.labels,
            turns=copies,
            order=inference.order,
            steps={} if raw else self.recipe.postprocessing,
            max_memory=inference.max_memory if max_memory is None else max_memory,
            tile=inference.tile if tile is None else tile,
            blend=_blend(self.recipe, blend),
            precision=inference.precision if precision is None else precision,
            watched=raw or (self.trust is not None and copies == self.turns),
        )

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The symmetries that the recipe averages over."""
        part = turns_part(self.recipe)
        return tuple(compose.build(part)) if isinstance(part, dict) else ()

    @cached_property
    def _ready(self) -> Predictor:
        return self.predictor()

    def predict(
        self,
        image: Image | Sequence[Image],
        grid: Grid | None = None,
        *,
        predictor: Predictor | None = None,
        keep_probabilities: bool = False,
        frame: int | None = None,
        series: str | None = None,
        geometry: Literal["sform", "qform"] | None = None,
        assume_ras: bool = False,
        fill_nan: float | None = None,
    ) -> Segmentation:
        """Segment one image, as ``volseg predict`` does.

        Args:
            image: a file, a DICOM folder, a volume, or an array; for several channels a list of them, in order.
            grid: where the voxels of arrays are; their axes are those of the grid.
            predictor: what :meth:`predictor` made, for another device, memory limit or tile; without, the recipe's.
            keep_probabilities: whether the probability of each channel is wanted too.
            frame: which frame of a time series, from 0.
            series: the series instance UID, where a DICOM folder holds several.
            geometry: which statement of a NIfTI header to trust where they contradict each other.
            assume_ras: take a file that says nothing about orientation as right-anterior-superior.
            fill_nan: put this value where voxels are NaN or infinite, instead of refusing the image.

        Returns:
            The mask on the image's own grid, the structures' volumes, and what is worth a warning.

        Raises:
            VolumeError: if the image cannot be read, cannot be trusted, or is not what the bundle is for.
            UsageError: if the number of channels is another.
        """
        volumes = as_volumes(
            image,
            grid,
            self.recipe,
            frame=frame,
            fill_nan=fill_nan,
            series=series,
            geometry=geometry,
            assume_ras=assume_ras,
        )
        return segment(
            volumes, predictor or self._ready, self.recipe, keep_probabilities=keep_probabilities, trust=self.trust
        )


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Load a bundle from its folder or its zip, in place.

    Only ``configs/recipe.yaml``, the safetensors in ``models/`` and ``models/trust.json`` are used, once they are found
    to be those in the manifest; of a zip every file must be. No expression is evaluated, no name that the bundle gives
    is imported, nothing is unpickled.

    Raises:
        BundleError: if either is missing, damaged or changed, or the weights are not of the recipe's network.
        RecipeError: if the recipe does not hold together.
    """
    with open_bundle(path) as stranger:
        files = held_files(stranger)
        name, where = files.name, files.where
        if RECIPE not in files.sizes:
            raise BundleError(
                f"has no {RECIPE}: no bundle of volseg",
                where=where,
                mend=bundle_within(path, "volseg bundle import translates a bundle of MONAI"),
            )
        if SAFETENSORS not in files.sizes:
            raise BundleError(
                f"has no {SAFETENSORS}", where=where, mend="train the bundle, or name one that is trained"
            )
        at = f"{where}: {RECIPE}"
        data = read_yaml(read_whole(files, RECIPE, LARGEST), at)
        recipe = Recipe.from_layers([Layer(at, data)])
        members_there = member_names(files.sizes)
        if sum(files.sizes[path] for path in (SAFETENSORS, *members_there)) > LARGEST_WEIGHTS:
            raise BundleError(f"more than {LARGEST_WEIGHTS >> 20} MiB of weights", where=where)
        raw = read_whole(files, SAFETENSORS, LARGEST_WEIGHTS)
        further = {member: read_whole(files, member, LARGEST_WEIGHTS) for member in members_there}
        score = read_whole(files, TRUST) if TRUST in files.sizes else None
        notes = edited(files, rendered_configs(recipe, len(further)))
    weights = parse_safetensors(raw, f"{where}: {SAFETENSORS}")
    members = tuple(parse_safetensors(data, f"{where}: {member}") for member, data in further.items())
    for held in (weights, *members):
        hold_weights(recipe, held, where)  # whether they fit is known before the first case
    digest = hashlib.sha256(raw).hexdigest()
    if members:
        digests = [digest, *(hashlib.sha256(data).hexdigest() for data in further.values())]
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    trust = None if score is None else Trust.from_bytes(score, f"{where}: {TRUST}")
    return Bundle(recipe.bundle.name or name, where, recipe, weights, digest, members, trust, notes)


def _blend(recipe: Recipe, wanted: bool | None) -> bool | Windows:
    part = windows_part(recipe)
    if wanted is False or isinstance(part, bool):
        return bool(wanted)
    windows: Windows = compose.build(part)
    return windows
