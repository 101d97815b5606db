"""What is known of a case before its voxels are read: whether it can be done at all, and what that takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from volseg.data.cohort import Case
from volseg.inference.predictor import Predictor
from volseg.io import Outline, read_outline
from volseg.prediction import hints
from volseg.prediction.segmentation import require_channels, require_kind
from volseg.recipe import Recipe


@dataclass(frozen=True)
class Expected:
    """What a case will take.

    Attributes:
        shape, spacing: of its image, as the headers tell them.
        mask_bytes: of its mask and its probabilities, unpacked.
        hints: what looks unlike the training images, as far as the headers tell.
        memory: bytes that the network takes above itself and the image; none where it was not asked for or is not told.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    mask_bytes: int
    hints: tuple[str, ...] = ()
    memory: int | None = None


@dataclass(frozen=True, eq=False)
class Foresight:
    """Judges cases by their headers.

    Attributes:
        recipe: of the bundle.
        predictor: what is to predict them.
        reading: options of :func:`volseg.io.read_volume`.
        keep_probabilities: whether probabilities are written too.
        memory: whether to tell what the network needs; a limit on it is always held against that.
    """

    recipe: Recipe
    predictor: Predictor
    reading: Mapping[str, Any] = field(default_factory=dict)
    keep_probabilities: bool = False
    memory: bool = False
    _known: dict[tuple[Any, ...], int | None] = field(default_factory=dict, repr=False)

    def __call__(self, case: Case) -> Expected:
        """What the case will take.

        Raises:
            VolsegError: if it cannot be done, with the line that reading it would end with.
        """
        require_channels(len(case.images), self.recipe, case.name)
        options = {**self.reading, "spacing_range": self.recipe.image.spacing_range}
        outlines = [read_outline(path, frame=case.frame, **options) for path in case.images]
        for path, outline in zip(case.images, outlines, strict=True):
            require_kind(outline.grid, outline.modality, self.recipe, path)
            outlines[0].grid.require_same(outline.grid, where=path, what="two channels of a case")
        grid, labels = outlines[0].grid, self.recipe.labels
        kept = self.recipe.out_channels if self.keep_probabilities else 0
        return Expected(
            grid.shape,
            grid.spacing,
            math.prod(grid.shape) * (labels.dtype.itemsize + kept),
            tuple(hints.of_grid(grid, self.recipe.image)),
            self._needed(outlines) if self.memory or self.predictor.max_memory is not None else None,
        )

    def _needed(self, outlines: list[Outline]) -> int | None:
        """Counted once for each shape: a cohort has few."""
        grid = outlines[0].grid
        key = (grid.shape, grid.spacing, grid.axcodes)
        if key not in self._known:
            self._known[key] = self.predictor.needs(grid, len(outlines))
        return self._known[key]
