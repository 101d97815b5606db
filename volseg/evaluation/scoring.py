"""Scoring one case: two label maps read, held against each other, and every measure taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volseg.errors import GridMismatch, LabelError, VolsegError, VolumeError, below
from volseg.evaluation.masks import Mask
from volseg.evaluation.pairing import Pair
from volseg.evaluation.reading import read_mask, read_masks
from volseg.evaluation.resampling import resample_labels
from volseg.io.voxel_check import present
from volseg.labels import Labels
from volseg.metrics import EmptyPolicy, StructureScore, score_case

NO_MEMORY = "there is not enough memory for it; score fewer cases at a time (--processes 1)"


@dataclass(frozen=True)
class Score:
    """What was measured of one structure or region of one case; distances in mm, NaN where nothing applies."""

    structure: str
    dice: float
    iou: float
    hd: float
    hd95: float
    assd: float
    surface_dice: float
    prediction_voxels: int
    truth_voxels: int
    #: these are NaN in 2-D, where there is no volume
    prediction_ml: float = math.nan
    truth_ml: float = math.nan
    difference_ml: float = math.nan
    difference_percent: float = math.nan

    @classmethod
    def of(cls, measured: StructureScore) -> Score:
        """The figures without the distances that they came from."""
        return cls(**measured.to_dict())  # type: ignore[arg-type]

    @property
    def absolute_difference_ml(self) -> float:
        """How far the volume is off, whichever way."""
        return abs(self.difference_ml)

    @property
    def missed(self) -> bool:
        """Whether the structure is there and nothing of it was predicted."""
        return self.truth_voxels > 0 and self.prediction_voxels == 0

    @property
    def invented(self) -> bool:
        """Whether the structure was predicted and is not there."""
        return self.prediction_voxels > 0 and self.truth_voxels == 0


@dataclass(frozen=True)
class CaseResult:
    """The scores of one case, or the one line of what is wrong with it."""

    case: str
    patient: str
    scores: tuple[Score, ...] = ()
    notes: tuple[str, ...] = ()
    error: str | None = None

    @property
    def good(self) -> bool:
        return self.error is None

    def __getitem__(self, structure: str) -> Score:
        for score in self.scores:
            if score.structure == structure:
                return score
        raise LabelError(f"{structure!r} was not scored", where=self.case)

    def mean_dice(self, structures: tuple[str, ...]) -> float:
        """The mean Dice of the structures that are in the truth or in the prediction; NaN where there is none."""
        values = [score.dice for score in self.scores if score.structure in structures and not math.isnan(score.dice)]
        return sum(values) / len(values) if values else math.nan


@dataclass(frozen=True)
class Scoring:
    """How cases are scored."""

    labels: Labels
    tolerance: float
    policy: EmptyPolicy
    resample: bool
    #: whether somebody named the labels; else they are the values that were found
    named: bool
    #: voxel sizes in millimetres outside of it are refused
    spacing_range: tuple[float, float]
    #: what the headers of truths are to be taken for
    reading: Mapping[str, Any] | None
    #: where the masks lie: errors name files below these folders, never the folders above
    roots: Mapping[str, Path]

    def __call__(self, pair: Pair) -> CaseResult:
        """Score one case; whatever is wrong with its files is its result."""
        try:
            return self._scored(pair)
        except VolsegError as error:
            return CaseResult(pair.name, pair.truth.patient, error=self.line(pair, error))
        except MemoryError:
            return CaseResult(pair.name, pair.truth.patient, error=f"{pair.name}: {NO_MEMORY}")

    def _scored(self, pair: Pair) -> CaseResult:
        instances = pair.truth.instances
        labels = None if instances else self.labels
        made, truth = read_masks(
            pair.prediction,
            pair.truth,
            labels,
            by_name=self.named,
            spacing_range=self.spacing_range,
            reading=self.reading,
        )
        notes = [f"truth: {note}" for note in truth.notes] + [f"prediction: {note}" for note in made.notes]
        predicted = made.array
        if not made.grid.same_as(truth.grid):
            if not self.resample:
                try:
                    made.grid.require_same(truth.grid, where=pair.prediction.path, what="prediction's grid and truth's")
                except GridMismatch as error:
                    mend = "volseg evaluate --resample brings the prediction onto the truth's grid"
                    raise GridMismatch(error.what, where=error.where, mend=mend) from None
            predicted = resample_labels(made.array, made.grid, truth.grid)
            old, spacing = "x".join(map(str, made.grid.shape)), "x".join(f"{s:.4g}" for s in made.grid.spacing)
            notes.append(f"prediction resampled onto the truth's grid from {old} voxels of {spacing} mm")
        true = truth.array
        if instances:
            predicted, true = self.labels.united(predicted), self.labels.united(true)
        measured = score_case(
            predicted, true, self.labels, truth.grid, tolerance=self.tolerance, policy=self.policy, where=pair.name
        )
        return CaseResult(pair.name, pair.truth.patient, tuple(map(Score.of, measured)), tuple(notes))

    def line(self, pair: Pair, error: VolsegError) -> str:
        """An error in one line that names a file by its place below the folder that was given."""
        for side, mask in (("prediction", pair.prediction), ("truth", pair.truth)):
            if error.where == str(mask.path):
                where = f"{side} {below(mask.path, self.roots[side])}"
                return str(type(error)(error.what, where=where, mend=error.mend))
        return str(error) if error.where else f"{pair.name}: {error}"


def present_values(
    mask: Mask, spacing_range: tuple[float, float], reading: Mapping[str, Any] | None = None
) -> tuple[int, ...] | VolsegError:
    """The label values of a mask, or what is wrong with it."""
    try:
        return tuple(present(read_mask(mask, None, spacing_range=spacing_range, reading=reading).array))
    except VolsegError as error:
        return error
    except MemoryError:
        return VolumeError(NO_MEMORY, where=mask.path)
