"""One case from its volumes to its segmentation, in steps that a run over many cases takes in several threads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from volseg.errors import UsageError, VolumeError
from volseg.geometry import Grid
from volseg.inference.predictor import Predictor
from volseg.inference.stream import Decided
from volseg.io import Volume, write_labels, write_volume
from volseg.io.atomic import refusal
from volseg.labels import Labels
from volseg.prediction import hints
from volseg.prediction.trust import Estimate, Trust, tell
from volseg.recipe import Recipe
from volseg.transforms.preparation import Prepared

# What DICOM calls the modalities of a recipe; others are not told apart.
_MODALITIES = {"CT": "CT", "MR": "MR", "PT": "PET", "US": "US", "CR": "XR", "DX": "XR", "XA": "XR", "MG": "XR"}


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The mask of one image, on the image's own grid, and what is to be known about it.

    Attributes:
        labels: the label value of each voxel, in the image's own axis order.
        grid: the image's grid: shape, spacing, affine (RAS+).
        structures: what the values mean.
        volumes: millilitres of each structure (2-D: square centimetres).
        notes: what reading the image told.
        hints: what looks unlike the training images, or like no anatomy.
        probabilities: ``(channels, *grid.shape)`` in steps of 1/255, where they were asked for.
        seconds: of each step.
        image: the volume it is of; of several channels the first.
        signs: of how far each structure can be trusted, where they were counted.
        trust: what they say, where the bundle was calibrated.
    """

    labels: npt.NDArray[np.unsignedinteger]
    grid: Grid
    structures: Labels
    volumes: Mapping[str, float]
    notes: tuple[str, ...]
    hints: tuple[str, ...]
    probabilities: npt.NDArray[np.uint8] | None
    seconds: Mapping[str, float]
    image: Volume
    signs: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    trust: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def warnings(self) -> tuple[str, ...]:
        """All that a careful person would want to be told, one line each; empty for an unremarkable case."""
        return (*self.notes, *self.hints)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the mask, and the probabilities beside it where there are some; folders are made.

        Args:
            path: its ending chooses the format: ``.nii.gz``, ``.nii``, ``.nrrd``, ``.mha``, ``.dcm`` (DICOM-SEG, where
                the image is a DICOM series); 2-D also ``.png``, ``.tif``.

        Raises:
            WriteError: if it could not be written whole; nothing of it is left behind.
        """
        path = Path(path)
        beside = None if self.probabilities is None else _beside(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise refusal(error, path) from error
        if path.name.lower().endswith(".dcm"):
            from volseg.io.dicom_seg import write_dicom_seg

            write_dicom_seg(path, self.labels, self.image, self.structures)
        else:
            write_labels(path, self.labels, self.grid, self.structures, like=self.image)
        if self.probabilities is not None and beside is not None:
            channels_last = self.probabilities.transpose(*range(1, self.grid.ndim + 1), 0)
            write_volume(beside, channels_last, self.grid, like=self.image)
        return path


@dataclass(frozen=True, eq=False)
class Ready:
    """A case as the network takes it."""

    volumes: tuple[Volume, ...]
    prepared: Prepared
    hints: tuple[str, ...]
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Done:
    """A case that the network has seen."""

    ready: Ready
    decided: Decided
    seconds: Mapping[str, float] = field(default_factory=dict)


def require_channels(count: int, recipe: Recipe, where: object = None) -> None:
    """Refuse a case that has another number of images than the bundle takes.

    Raises:
        UsageError: naming the channels.
    """
    if count != recipe.in_channels:
        given = "1 image was given" if count == 1 else f"{count} images were given"
        raise UsageError(
            f"{given}; the bundle takes {recipe.in_channels} ({', '.join(recipe.image.channels)})", where=where
        )


def require_kind(grid: Grid, modality: str | None, recipe: Recipe, where: object = None) -> None:
    """Refuse an image of another modality or with other dimensions than the bundle takes.

    Raises:
        VolumeError: saying which bundle takes it.
    """
    wanted = recipe.image.spatial_dims
    if grid.ndim != wanted:
        raise VolumeError(
            f"is {grid.ndim}-D, and the bundle takes {wanted}-D images",
            where=where,
            mend=f"a bundle whose recipe says image.spatial_dims: {grid.ndim} takes it",
        )
    made_by = _MODALITIES.get(modality or "")
    if made_by is not None and recipe.image.modality in _MODALITIES.values() and made_by != recipe.image.modality:
        raise VolumeError(
            f"is {made_by}, and the bundle was trained on {recipe.image.modality}",
            where=where,
            mend=f"choose a bundle for {made_by}",
        )


def prepare(volumes: Sequence[Volume], predictor: Predictor, recipe: Recipe) -> Ready:
    """Bring a case to what the network takes.

    Raises:
        VolumeError: if it is none of the images that the bundle is for.
    """
    require_channels(len(volumes), recipe)
    for volume in volumes:
        require_kind(volume.grid, volume.header.get("modality"), recipe, volume.source)
    started = perf_counter()
    prepared = predictor.prepare(volumes)
    seconds = {"prepare": perf_counter() - started}
    return Ready(
        tuple(volumes), prepared, tuple(hint for v in volumes for hint in hints.of_image(v, recipe.image)), seconds
    )


def decide(ready: Ready, predictor: Predictor, *, keep_probabilities: bool = False) -> Done:
    """Let the network see a case."""
    started = perf_counter()
    decided = predictor.decide(ready.prepared, keep_probabilities=keep_probabilities)
    # the way back needs no voxels of what the network saw; without them there is room for the next case
    seen = replace(ready.prepared, image=ready.prepared.image.new_empty(0))
    return Done(replace(ready, prepared=seen), decided, {**ready.seconds, "network": perf_counter() - started})


def finish(done: Done, predictor: Predictor, recipe: Recipe, trust: Trust | None = None) -> Segmentation:
    """Bring the mask back to the image's axes, measure it, and say how far it can be trusted."""
    started = perf_counter()
    made = predictor.finish(done.ready.prepared, done.decided)
    volumes = hints.volumes(made.labels, made.grid, recipe.labels)
    found = tuple(hints.of_mask(made.labels, made.grid, recipe))
    signs = done.decided.signs or {}
    estimates = {} if trust is None else trust.estimate(signs)
    doubts = () if trust is None else tuple(tell(estimates, trust.confidence))
    return Segmentation(
        made.labels,
        made.grid,
        recipe.labels,
        volumes,
        tuple(note for volume in done.ready.volumes for note in volume.notes),
        (*done.ready.hints, *found, *doubts),
        made.probabilities,
        {**done.seconds, "finish": perf_counter() - started},
        done.ready.volumes[0],
        signs,
        estimates,
    )


def segment(
    volumes: Sequence[Volume],
    predictor: Predictor,
    recipe: Recipe,
    *,
    keep_probabilities: bool = False,
    trust: Trust | None = None,
) -> Segmentation:
    """The three steps for one case."""
    ready = prepare(volumes, predictor, recipe)
    return finish(decide(ready, predictor, keep_probabilities=keep_probabilities), predictor, recipe, trust)


def _beside(path: Path) -> Path:
    """Where the probabilities of a mask go; NIfTI holds them whatever the mask's format."""
    ending = next((e for e in (".nii.gz", ".nii") if path.name.endswith(e)), None)
    if ending is None:
        raise UsageError("probabilities are written to NIfTI only", where=path, mend="give the mask a name in .nii.gz")
    return path.with_name(path.name.removesuffix(ending) + "_probabilities" + ending)
