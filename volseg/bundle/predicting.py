"""Predicting a folder of images through MONAI's evaluator: one case at a time, and a bad one costs only itself."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.utils.data import Dataset

from volseg.bundle.sharing import first, gathered, join, leave
from volseg.bundle.state_dict import read_weights
from volseg.bundle.weights import load_into
from volseg.data.cohort import Case, Cohort, find_cases
from volseg.data.cohort.outputs import output_name, require_apart, without_outputs
from volseg.data.folds import make_folds
from volseg.errors import BundleError, CohortError, UsageError, VolsegError
from volseg.inference.overlap_tile import OverlapTileInferer
from volseg.inference.postprocessing import Steps
from volseg.inference.predictor import Prediction, Predictor
from volseg.inference.stream import Decision, Piece, decide
from volseg.inference.tiling import Box
from volseg.inference.tta import Turn, averaged
from volseg.io import PLAUSIBLE_SPACING, Volume, read_volume, write_labels
from volseg.io.atomic import write_json
from volseg.io.formats import PICTURES, ending
from volseg.labels import Labels
from volseg.transforms.preparation import Preparation
from volseg.transforms.regrid import Order

_log = logging.getLogger(__name__)


class Images(Dataset[dict[str, Any]]):
    """The cases of a folder, found when the first of them is asked for and not before.

    A case that cannot be read is an item with an ``error``: the others are predicted all the same.

    Args:
        data_dir: any layout that :func:`volseg.data.cohort.find_cases` knows.
        channels: images of each case.
        spacing_range: voxel sizes in millimetres outside of this range are refused.
        truths: only cases with a label map.
        fold: only the cases that this fold holds out; all without.
        folds: how folds are made, arguments of :func:`volseg.data.folds.make_folds`.
        rank: the number of this process among those that share the cases.
        world: how many share them.
    """

    def __init__(
        self,
        data_dir: str | None,
        channels: int = 1,
        spacing_range: Sequence[float] = PLAUSIBLE_SPACING,
        *,
        truths: bool = False,
        fold: int | None = None,
        folds: Mapping[str, Any] | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.data_dir = None if data_dir is None else Path(data_dir).absolute()
        self.channels = channels
        self.spacing_range = (float(spacing_range[0]), float(spacing_range[1]))
        self.truths = truths
        self.fold = fold
        self.folds = dict(folds or {})
        self.rank = rank
        self.world = world
        #: what lies in it is no image to predict
        self.output_dir: Path | None = None

    @cached_property
    def cohort(self) -> Cohort:
        """Everything in the folder that is no result of an earlier run."""
        if self.data_dir is None:
            raise UsageError("no data are named", mend="add --data_dir FOLDER")
        found = find_cases(self.data_dir, labels="optional" if self.truths else "none")
        return found if self.output_dir is None else without_outputs(found, self.output_dir)

    @cached_property
    def all_cases(self) -> tuple[Case, ...]:
        """The cases that are meant, over all processes."""
        cases = self.cohort.labelled if self.truths else self.cohort.cases
        if not cases:
            raise CohortError(
                "no image has a label map to be measured by", where=self.data_dir, mend="put them beside the images"
            )
        if self.fold is None:
            return tuple(cases)
        splits = make_folds(cases, **self.folds)
        if type(self.fold) is not int or not 0 <= self.fold < len(splits):
            raise UsageError(f"there is no fold {self.fold}", mend=f"folds are 0 to {len(splits) - 1}")
        held_out = set(splits[self.fold].validation) | set(splits[self.fold].test)
        return tuple(case for case in cases if case.name in held_out)

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """The cases of this process."""
        return self.all_cases[self.rank :: self.world]

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        case = self.cases[index]
        try:
            return {"case": case, "volumes": self._read(case)}
        except VolsegError as error:
            return {"case": case, "error": error}

    def _read(self, case: Case) -> list[Volume]:
        if len(case.images) != self.channels:
            raise CohortError(f"has {len(case.images)} channels; the bundle takes {self.channels}", where=case.name)
        return [read_volume(path, frame=case.frame, spacing_range=self.spacing_range) for path in case.images]


class OneByOne:
    """A dataset's items in order; it is not asked how many there are before a run begins."""

    def __init__(self, dataset: Dataset[Any]) -> None:
        self.dataset = dataset

    def __iter__(self) -> Iterator[Any]:
        return (self.dataset[index] for index in range(len(self.dataset)))  # type: ignore[arg-type]


class WeightsLoader:
    """A handler that gives a network its weights when an engine starts: without them nothing runs.

    Args:
        path: the file.
        network: that they are for.
        members: files of the further members of an ensemble.
    """

    def __init__(self, path: str, network: nn.Module, members: Sequence[str] = ()) -> None:
        self.path = Path(path).absolute()
        self.network = network
        self.paths = [Path(member).absolute() for member in members]
        #: networks of the further members; they have their weights when the network has
        self.members = [deepcopy(network) for _ in members]

    def attach(self, engine: Engine) -> None:
        """Load when ``engine`` starts."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, _engine: Engine | None = None) -> None:
        """Load now.

        Raises:
            BundleError: if the file is missing, damaged, or of another network.
        """
        for network, path in zip((self.network, *self.members), (self.path, *self.paths), strict=True):
            load_into(network, read_weights(path), path)


class PredictCase:
    """What MONAI's ``SupervisedEvaluator`` does with a case; given to it as ``iteration_update``.

    The evaluator's network and inferer are used: an :class:`OverlapTileInferer` says how pieces are made, any other
    inferer gives the logits of the whole image.

    Args:
        preparation: from stored images to what the network sees.
        decision: how logits become labels.
        labels: what the values mean.
        turns: symmetries to average over.
        order: the way back to the image's grid.
        steps: what is done to each structure of the mask.
        members: networks whose probabilities are averaged with those of the evaluator's network.
    """

    def __init__(
        self,
        preparation: Preparation,
        decision: Decision,
        labels: Labels,
        *,
        turns: Sequence[Turn] = (),
        order: Order = "linear",
        steps: Mapping[str, Steps] | None = None,
        members: Sequence[nn.Module] = (),
    ) -> None:
        self.preparation = preparation
        self.decision = decision
        self.labels = labels
        self.turns = tuple(turns)
        self.order = order
        self.steps = dict(steps or {})
        self.members = list(members)
        self._predictor: Predictor | None = None
        self._of: tuple[nn.Module, object] | None = None

    def __call__(self, evaluator: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The mask of one case, or the error that it ended with."""
        case: Case = batch["case"]
        if "error" in batch:
            return dict(batch)
        try:
            predictor = self._made(evaluator.network, evaluator.inferer)
            return {**batch, "prediction": self._predicted(predictor, batch["volumes"], evaluator.inferer)}
        except VolsegError as error:
            if error.where is None:
                error = type(error)(error.what, where=case.name, mend=error.mend)
            return {"case": case, "error": error}

    @torch.inference_mode()
    def _predicted(self, predictor: Predictor, volumes: Sequence[Volume], inferer: Any) -> Prediction:
        if isinstance(inferer, OverlapTileInferer):
            return predictor(volumes)
        prepared = predictor.prepare(volumes)
        whole = Box.whole(prepared.image.shape[1:])
        streams: list[list[Piece]] = []
        for member in predictor.members:
            logits = inferer(prepared.image[None].to(_device(member)), member)[0]
            if tuple(logits.shape[1:]) != whole.shape:
                raise UsageError(
                    f"{type(inferer).__name__} gave logits of {tuple(logits.shape[1:])} for {whole.shape} voxels",
                    mend="use volseg.inference.overlap_tile.OverlapTileInferer",
                )
            streams.append([(whole, logits)])
        decided = decide(
            streams[0] if len(streams) == 1 else averaged(streams, predictor.of_logits),
            whole.shape,
            predictor.decision,
            onto=prepared.turn.target.shape,
            order=self.order,
            back=prepared.back,
        )
        return predictor.finish(prepared, decided)

    def _made(self, network: nn.Module, inferer: Any) -> Predictor:
        if self._predictor is None or self._of != (network, inferer):
            networks = [one.eval() for one in (network, *self.members)]
            exact = isinstance(inferer, OverlapTileInferer)
            if exact and inferer.slice_axis != -1:
                raise UsageError(
                    f"slice_axis is {inferer.slice_axis}, and networks of slices learn from those along the last axis",
                    mend="leave inferer#slice_axis out",
                )
            self._predictor = Predictor(
                networks,
                self.preparation,
                self.decision,
                self.labels,
                turns=self.turns,
                order=self.order,
                steps=self.steps,
                max_memory=inferer.max_memory if exact else None,
                tile=inferer.tile if exact else None,
                blend=inferer.blend if exact else False,
                precision=inferer.precision if exact else "float32",
            )
            self._of = (network, inferer)
        return self._predictor


class Masks:
    """A handler that writes each mask as it comes, and tells in the end which cases have none.

    Args:
        output_dir: gets the masks, the tree of the images mirrored, and ``summary.json``.
        labels: what the values mean.
    """

    def __init__(self, output_dir: str | None, labels: Labels) -> None:
        self.output_dir = None if output_dir is None else Path(output_dir).absolute()
        self.labels = labels
        self.done: list[dict[str, Any]] = []
        self._together = False

    @property
    def folder(self) -> Path:
        """Where the masks go.

        Raises:
            UsageError: if nobody said.
        """
        if self.output_dir is None:
            raise UsageError("no output folder is named", mend="add --output_dir FOLDER")
        return self.output_dir

    def judge(self, dataset: Images, weights: WeightsLoader) -> None:
        """The first step of a run: is there data, are there weights, is there a place for results?"""
        join()
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise UsageError("is a file, and a folder is needed", where=folder, mend="name another --output_dir")
        dataset.output_dir = folder
        for note in dataset.cohort.notes:
            _log.warning(note)
        for case in dataset.all_cases:
            require_apart(case, folder / mask_name(case))
        weights()
        _log.info("%d cases in %s", len(dataset.all_cases), dataset.data_dir)
        self.done, self._together = [], False

    def attach(self, engine: Engine) -> None:
        """Take every outcome of the engine; its errors are told once, by whoever started it."""
        engine.logger = logging.getLogger("volseg.bundle.run")
        engine.logger.addHandler(logging.NullHandler())
        engine.logger.propagate = False
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Write a mask."""
        output: Mapping[str, Any] = engine.state.output
        case: Case = output["case"]
        error: VolsegError | None = output.get("error")
        if error is None:
            prediction: Prediction = output["prediction"]
            path = self.folder / mask_name(case)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_labels(path, prediction.labels, prediction.grid, self.labels, like=output["volumes"][0])
            self.done.append({"case": case.name, "mask": path.relative_to(self.folder).as_posix()})
            _log.info("%s", case.name)
        else:
            self.done.append({"case": case.name, "error": str(error)})
            _log.warning("%s", error)

    def all_done(self) -> list[dict[str, Any]]:
        """What became of every case, whichever process had it."""
        if not self._together:
            self.done = sorted(gathered(self.done), key=lambda one: one["case"])
            self._together = True
        return self.done

    def finish(self) -> None:
        """The last step: the summary, and an error if a case failed.

        Raises:
            BundleError: naming how many failed, and the first.
        """
        done = self.all_done()
        if first():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(self.folder / "summary.json", {"cases": done})
        leave()
        failed = [one["error"] for one in done if "error" in one]
        if failed:
            raise BundleError(
                f"{len(failed)} of {len(done)} cases failed, the first: {failed[0]}",
                mend=f"the others are done; {self.folder / 'summary.json'} tells all",
            )


def mask_name(case: Case) -> Path:
    """Where a case's mask goes below the output folder: a picture's is a picture.

    >>> mask_name(Case("p1/cells", (Path("in/p1/cells.png"),))).as_posix()
    'p1/cells.png'
    """
    kind = ending(case.image) or ""
    return Path(output_name(case, kind if kind in PICTURES else ".nii.gz"))


def _device(network: nn.Module) -> Any:
    return next(network.parameters()).device
