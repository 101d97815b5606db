"""Measuring the masks of an evaluation run."""

from __future__ import annotations

import logging

from volseg.bundle.predicting import Images, Masks
from volseg.bundle.sharing import first
from volseg.evaluation import evaluate_pairs, evaluation_csv, evaluation_json, pair_cases
from volseg.evaluation.tables import figure_text, interval_text
from volseg.io.atomic import write_json, write_text
from volseg.labels import Labels

_log = logging.getLogger(__name__)


class Measure:
    """A step of an evaluation: ``metrics.json`` and ``metrics.csv`` beside the masks.

    Args:
        masks: where they were written.
        dataset: the cases that were predicted.
        labels: the structures.
        instances: whether the truths tell objects apart.
        tolerance: of the surface Dice, in millimetres.
    """

    def __init__(
        self, masks: Masks, dataset: Images, labels: Labels, *, instances: bool = False, tolerance: float = 2.0
    ) -> None:
        self.masks = masks
        self.dataset = dataset
        self.labels = labels
        self.instances = instances
        self.tolerance = tolerance

    def write(self) -> None:
        """Measure every case that has a mask, whichever process made it, against its truth."""
        folder = self.masks.folder
        made = {one["case"]: folder / one["mask"] for one in self.masks.all_done() if "mask" in one}
        if not first() or not made:
            return
        told = evaluate_pairs(
            pair_cases(self.dataset.all_cases, made, folder, self.dataset.cohort.root),
            labels=self.labels,
            instances=self.instances,
            tolerance=self.tolerance,
            spacing_range=self.dataset.spacing_range,
        )
        fold = {} if self.dataset.fold is None else {"fold": self.dataset.fold}
        write_json(folder / "metrics.json", evaluation_json(told) | fold)
        write_text(folder / "metrics.csv", evaluation_csv(told))
        for summary in told.structures:
            _log.info("Dice %s: %s", summary.structure, interval_text(summary.means["dice"], 4))
        _log.info("Dice, mean of structures: %s", figure_text(told.mean["dice"], 4))
