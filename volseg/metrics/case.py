"""Every measure of every structure of one case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from volseg.errors import GridMismatch
from volseg.geometry import Grid
from volseg.labels import Labels
from volseg.metrics.empty import DEFAULT, EmptyPolicy
from volseg.metrics.masks import require_same_shape
from volseg.metrics.overlap import Overlap, count_overlaps
from volseg.metrics.surface import SurfaceDistances, surface_distances
from volseg.metrics.volume import VolumePair

Box = tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class StructureScore:
    """How one structure of a case was found."""

    name: str
    overlap: Overlap
    surfaces: SurfaceDistances
    #: None in 2-D, where there is no volume
    volume: VolumePair | None
    #: the tolerance of the surface Dice in millimetres
    tolerance: float

    def to_dict(self) -> dict[str, float | int | str]:
        """One row of a table."""
        row: dict[str, float | int | str] = {
            "structure": self.name,
            "dice": self.overlap.dice,
            "iou": self.overlap.iou,
            "hd": self.surfaces.hd,
            "hd95": self.surfaces.hd95,
            "assd": self.surfaces.assd,
            "surface_dice": self.surfaces.surface_dice(self.tolerance),
            "prediction_voxels": self.overlap.prediction,
            "truth_voxels": self.overlap.truth,
        }
        if self.volume is not None:
            row["prediction_ml"] = self.volume.prediction_ml
            row["truth_ml"] = self.volume.truth_ml
            row["difference_ml"] = self.volume.difference_ml
            row["difference_percent"] = self.volume.difference_percent
        return row


def score_case(
    prediction: npt.NDArray[np.integer],
    truth: npt.NDArray[np.integer],
    labels: Labels,
    grid: Grid,
    *,
    tolerance: float = 2.0,
    policy: EmptyPolicy = DEFAULT,
    where: object = None,
) -> tuple[StructureScore, ...]:
    """Scores of all structures, then all regions, of two label images on one grid.

    Args:
        prediction, truth: label images of the grid's shape. Voxels whose truth is the ignore value do not count.
        labels: the structures and regions to score.
        grid: gives spacing and voxel volume.
        tolerance: of the surface Dice, in millimetres.
        policy: what empty masks are worth.
        where: what to name in an error, a file say.

    >>> mask = np.zeros((6, 6, 6), dtype=np.uint8)
    >>> mask[1:4, 1:4, 1:4] = 1
    >>> (score,) = score_case(mask, mask, Labels.of({"node": 1}), Grid.from_spacing(mask.shape, (1, 1, 2)))
    >>> score.overlap.dice, score.surfaces.hd95, score.volume.truth_ml
    (1.0, 0.0, 0.054)
    """
    require_same_shape(prediction, truth)
    if prediction.shape != grid.shape:
        raise GridMismatch(f"masks of shape {prediction.shape} on a grid of {grid.shape}", where=where)
    counted = count_overlaps(prediction, truth, labels, policy=policy, where=where)
    boxes = _boxes(prediction, truth, labels)
    diagonal = float(np.linalg.norm(np.multiply(grid.shape, grid.spacing)))
    scores = []
    for name, shared in counted.items():
        box = _around([boxes[labels[part].value] for part in labels.regions.get(name, (name,))], grid.ndim)
        surfaces = surface_distances(
            labels.mask(prediction[box], name),
            labels.mask(truth[box], name),
            grid.spacing,
            valid=None if labels.ignore is None else truth[box] != labels.ignore,
            policy=policy,
            diagonal=diagonal,
        )
        volume = VolumePair.of(shared.prediction, shared.truth, grid.voxel_volume) if grid.ndim == 3 else None
        scores.append(StructureScore(name, shared, surfaces, volume, tolerance))
    return tuple(scores)


def _boxes(prediction: npt.NDArray[np.integer], truth: npt.NDArray[np.integer], labels: Labels) -> dict[int, list[Box]]:
    """For each label value the boxes around it in the two images, found in one pass over each."""
    largest = max(labels.values, default=0)
    found: dict[int, list[Box]] = {value: [] for value in labels.values}
    for array in (prediction, truth):
        plain = array if array.dtype.itemsize < 8 else array.astype(np.int32)  # declared values fit
        for value, box in enumerate(ndimage.find_objects(plain, max_label=largest), start=1):
            if box is not None and value in found:
                found[value].append(box)
    return found


def _around(groups: list[list[Box]], ndim: int) -> Box:
    """The box around all boxes; an empty corner where there is none."""
    boxes = [box for group in groups for box in group]
    if not boxes:
        return (slice(0, 1),) * ndim
    return tuple(slice(min(b[a].start for b in boxes), max(b[a].stop for b in boxes)) for a in range(ndim))
