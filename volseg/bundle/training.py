"""Training through MONAI's runner: the same training as the recipe's, with the settings of a configuration."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from volseg.bundle.finished import leave_bundle
from volseg.bundle.load import load_bundle
from volseg.bundle.rendering.settings import said
from volseg.data.caching import NoCache
from volseg.data.cohort import Case, find_cases
from volseg.data.content import contents_of
from volseg.data.folds import make_folds
from volseg.engine.cases import CaseReader, LearningCase
from volseg.engine.log import Event, duration
from volseg.engine.patches import PatchDataset
from volseg.engine.train import TrainingResult, train
from volseg.errors import BundleError, CohortError, UsageError
from volseg.recipe import Recipe

_log = logging.getLogger(__name__)


class Cases(Dataset[LearningCase]):
    """The prepared cases of one part of a fold, found when the first is asked for and not before.

    Args:
        data_dir: any layout that :func:`volseg.data.cohort.find_cases` knows.
        part: ``train`` or ``validation``.
        fold: the fold that is held out.
        folds: how folds are made, arguments of :func:`volseg.data.folds.make_folds`.
        reader: how cases are read and prepared.
    """

    def __init__(
        self, data_dir: str | None, part: str, fold: int, folds: Mapping[str, Any], reader: CaseReader
    ) -> None:
        self.data_dir = data_dir
        self.part = part
        self.fold = fold
        self.folds = dict(folds)
        self.reader = reader

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The cases, as they lie in the folder."""
        labelled = find_cases(named(self.data_dir, "data_dir")).labelled
        splits = make_folds(labelled, **self.folds)
        if not 0 <= self.fold < len(splits):
            raise UsageError(f"there is no fold {self.fold}", mend=f"folds are 0 to {len(splits) - 1}")
        meant = set(getattr(splits[self.fold], self.part))
        return tuple(case for case in labelled if case.name in meant)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> LearningCase:
        case = self.cases[index]
        return LearningCase.of(case.name, self.reader.learning(case, contents_of(case), NoCache()))


class Patches(Dataset[dict[str, Any]]):
    """Training patches by (epoch, case, number); the cases are read when the first is asked for and not before.

    Args:
        cases: to take them from.
        patches: makes the :class:`~volseg.engine.patches.PatchDataset` of prepared cases.
    """

    def __init__(self, cases: Cases, patches: Callable[..., PatchDataset]) -> None:
        self.cases = cases
        self.patches = patches

    @cached_property
    def made(self) -> PatchDataset:
        """The dataset itself."""
        return self.patches(cases=[self.cases[index] for index in range(len(self.cases))])

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, draw: int | tuple[int, int, int]) -> dict[str, Any]:
        return self.made[(0, draw, 0) if isinstance(draw, int) else draw]


class Training:
    """The training that a configuration describes; it is the recipe's, with the configuration's settings.

    Args:
        recipe: with the settings of this run.
        max_epochs: epochs, which the recipe has as well.
        bundle_root: the bundle that is trained.
        data_dir: the cases.
        output_dir: the run's folder.
        fold: the fold that is held out.
        resume: go on with the run in ``output_dir``.
        start_from: a bundle whose weights training starts from instead of random ones.
        device: where.
        deterministic: on a GPU, only operations that give the same bits each time.
    """

    def __init__(
        self,
        recipe: Recipe,
        max_epochs: int,
        data_dir: str | None = None,
        output_dir: str | None = None,
        *,
        fold: int = 0,
        resume: bool = False,
        start_from: str | None = None,
        device: Any = "auto",
        deterministic: bool = False,
    ) -> None:
        self.recipe = recipe
        self.max_epochs = max_epochs
        self.data_dir = data_dir
        self.output_dir = output_dir
        self.fold = fold
        self.resume = _flag(resume, "resume")
        self.start_from = said(start_from)
        self.device = str(device)
        self.deterministic = _flag(deterministic, "deterministic")
        #: how it went, once it has run
        self.result: TrainingResult | None = None

    def judge(self) -> None:
        """The first step of a run: are there data to learn from, and a place for the run?"""
        data, output = named(self.data_dir, "data_dir"), named(self.output_dir, "output_dir")
        cohort = find_cases(data)
        if not cohort.labelled:
            raise CohortError("no case has a label map to learn from", where=data, mend="put them beside the images")
        if data == output or output in data.parents:
            raise UsageError("the data lie in the run's folder", where=output, mend="name another --output_dir")

    def run(self) -> None:
        """Train to the end.

        Raises:
            BundleError: if it was interrupted and left nothing to use; it can be gone on with.
        """
        self.result = train(
            self.recipe,
            named(self.data_dir, "data_dir"),
            named(self.output_dir, "output_dir"),
            fold=self.fold,
            resume=self.resume,
            start=None if self.start_from is None else load_bundle(str(self.start_from)).start(self.recipe),
            device=self.device,
            deterministic=self.deterministic,
            listeners=[tell],
        )
        if not self.result.is_of_use:
            raise BundleError(
                f"{self.result.interrupted} in epoch {self.result.epoch}",
                where=self.result.folder,
                mend="add --resume true to go on",
            )

    def leave_bundle(self) -> Path | None:
        """The last step of a run: the trained bundle, in the run's folder."""
        if int(os.environ.get("RANK", "0")) > 0:
            return None
        folder = leave_bundle(named(self.output_dir, "output_dir"))
        _log.info("the trained bundle is in %s", folder)
        return folder


def tell(event: Event) -> None:
    """Put what a training tells into the log."""
    if event["event"] == "epoch":
        dice = "" if event.get("dice") is None else f", Dice {event['dice']:.4f}"
        left = f", {duration(event['left'])} left" if event.get("left") else ""
        _log.info("epoch %d of %d: loss %.4f%s%s", event["epoch"], event["epochs"], event["loss"], dice, left)
    elif event["event"] == "note":
        _log.warning("%s", event["text"])
    elif event["event"] == "start":
        _log.info("%s, %s", event["device"], event["arithmetic"])


def _flag(value: Any, setting: str) -> bool:
    meant = said(value)
    if not isinstance(meant, bool):
        raise UsageError(f"--{setting} is true or false, not {value!r}")
    return meant


def named(folder: str | None, setting: str) -> Path:
    """A folder, absolute: nothing depends on the working directory once a run has begun.

    Raises:
        UsageError: if nobody named it.
    """
    if folder is None:
        what = {"data_dir": "no data are named", "output_dir": "no output folder is named"}[setting]
        raise UsageError(what, mend=f"add --{setting} FOLDER")
    return Path(folder).absolute()
