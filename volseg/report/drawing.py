"""Drawing one case: its files read, held against each other, and brought to what its page carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volseg.errors import CohortError, GridMismatch, VolsegError, below
from volseg.evaluation.reading import read_mask
from volseg.evaluation.scoring import NO_MEMORY
from volseg.geometry import Grid
from volseg.io import PLAUSIBLE_SPACING, Volume, read_volume, require_pair
from volseg.labels import Labels
from volseg.prediction.hints import unit, volumes
from volseg.report.cases import ReportCase
from volseg.report.levels import window
from volseg.report.packing import packed, packed_size
from volseg.report.scene import PLANES, Scene, make_scene
from volseg.report.stills import Still, still

# A page stays below 2 MB: this is for its voxels, the rest for its pictures, figures and script.
LARGEST_VOXELS = 1_500_000
# voxels to begin with; deflated and as text they take about as many characters as may be
_MOST = 3_000_000
_THUMBNAIL, _STILL = 192, 320


@dataclass(frozen=True)
class Drawn:
    """What a page shows of a case, or the one line of why it can show no picture.

    Attributes:
        about: what the viewer must know of the voxels.
        voxels: the voxels as text: of the image, the prediction, the truth.
        volumes, true_volumes: of each structure, in ``unit``.
    """

    thumbnail: Still | None = None
    stills: tuple[Still, ...] = ()
    about: Mapping[str, Any] | None = None
    voxels: Mapping[str, str] | None = None
    volumes: Mapping[str, float] | None = None
    true_volumes: Mapping[str, float] | None = None
    unit: str = "ml"
    notes: tuple[str, ...] = ()
    error: str | None = None


@dataclass(frozen=True)
class Drawing:
    """How cases are drawn.

    Attributes:
        labels: of the masks.
        reading: options of :func:`volseg.io.read_volume`, for the images; those about place hold for truths too.
        roots: the folders that were given: errors name files below them, never the folders above.
        spacing_range: voxel sizes in millimetres outside this range are refused, of images and of masks.
    """

    labels: Labels
    reading: Mapping[str, Any]
    roots: tuple[Path, ...]
    spacing_range: tuple[float, float] = PLAUSIBLE_SPACING

    def __call__(self, case: ReportCase) -> Drawn:
        """Draw a case; whatever is wrong with its files is its result."""
        try:
            return self._drawn(case)
        except VolsegError as error:
            return Drawn(error=told(error, self.roots))
        except MemoryError:
            return Drawn(error=NO_MEMORY)

    def _drawn(self, case: ReportCase) -> Drawn:
        if case.image is None:
            raise CohortError("no image has this name")
        allowed = self.spacing_range
        image = read_volume(case.image.image, frame=case.image.frame, spacing_range=allowed, **self.reading)
        instances = case.truth is not None and case.truth.instances
        known = None if instances else self.labels
        masks: list[Volume | None] = []
        left_out = []
        for mask, reading in ((case.prediction, None), (case.truth, self.reading)):
            volume = None
            if mask is not None:
                volume = read_mask(mask, known, image.grid, spacing_range=allowed, reading=reading)
                try:
                    require_pair(image, volume)
                except GridMismatch:
                    if mask is case.prediction or not case.scored:
                        raise
                    volume = None
                    left_out.append("the truth lies on another grid: it was measured, and is not drawn")
            masks.append(volume)
        scene = self._scene(image, masks[0], masks[1], instances)
        measured = [
            None if mask is None or instances else volumes(mask.array, mask.grid, self.labels) for mask in masks
        ]
        return Drawn(
            still(scene, self.labels, scene.planes[0], _THUMBNAIL, thumbnail=True),
            tuple(still(scene, self.labels, axis, _STILL) for axis in scene.planes),
            _about(scene, image.grid, self.labels),
            {
                name: packed(voxels)
                for name, voxels in (("image", scene.image), ("prediction", scene.prediction), ("truth", scene.truth))
                if voxels is not None
            },
            measured[0],
            measured[1],
            unit(image.grid),
            (*image.notes, *left_out, *_said(scene, image.grid, len(case.image.images))),
        )

    def _scene(self, image: Volume, prediction: Volume | None, truth: Volume | None, instances: bool) -> Scene:
        """As many voxels as the page can carry."""
        most = _MOST
        while True:
            scene = make_scene(image, prediction, truth, self.labels, most=most, instances=instances)
            size = packed_size(scene)
            if size <= LARGEST_VOXELS:
                return scene
            shown = scene.image.size
            most = min(shown - 1, int(0.97 * shown * LARGEST_VOXELS / size))


def told(error: VolsegError, roots: tuple[Path, ...]) -> str:
    """An error that names a file by its place below what was given."""
    where = None if error.where is None else below(error.where, *roots)
    return str(type(error)(error.what, where=where, mend=error.mend))


def _about(scene: Scene, grid: Grid, labels: Labels) -> dict[str, Any]:
    return {
        "shape": scene.shape,
        "spacing": [round(s, 6) for s in scene.spacing],
        "index": scene.index.tolist(),
        "table": [float(f"{value:.5g}") for value in scene.table],
        "window": window(scene.table, scene.image),
        "planes": scene.planes,
        "names": PLANES if grid.ndim == 3 else ("", "", "image"),
        "sides": scene.sides,
        "at": scene.look_at,
        "structures": [{"name": s.name, "colour": s.colour} for s in labels.structures],
    }


def _said(scene: Scene, grid: Grid, channels: int) -> list[str]:
    """What a reader must know of the pictures."""
    said = []
    if max(scene.reduced) > 1:
        shape, factors = ("x".join(map(str, numbers)) for numbers in (grid.shape, scene.reduced))
        small = "x".join(map(str, scene.shape[: grid.ndim]))
        said.append(
            f"shown smaller than it is, {small} of {shape} voxels (by {factors} along columns, rows and slices); "
            "all figures are of the full size"
        )
    if scene.oblique > 15:
        said.append(
            f"the scan lies {scene.oblique:.0f}° oblique: planes are its own, named after the nearest of the body"
        )
    if channels > 1:
        said.append(f"the first of {channels} channels is shown")
    return said
