"""Validation: each case predicted whole and seamlessly, decided on its own grid, and counted exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isnan, nan
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from ignite.engine import Engine
from ignite.metrics import Metric
from torch import nn
from torch.utils.data import Dataset

from volseg.data.caching import Cache
from volseg.data.cohort import Case
from volseg.data.content import Content
from volseg.engine.cases import CaseReader
from volseg.engine.stopping import Interrupted, Stop
from volseg.inference.arithmetic import Precision
from volseg.inference.pieces import stream_logits
from volseg.inference.stream import Decision, Piece, decide
from volseg.labels import Labels
from volseg.metrics.overlap import count_overlaps
from volseg.transforms.regrid import Order

Scores = dict[str, dict[str, float]]
"""Dice by case and by structure; not a number where neither truth nor prediction has any."""


class JudgedCases(Dataset[dict[str, Any]]):
    """Whole cases: the image as the network sees it, the truth on the case's own grid, and the way back to it."""

    def __init__(
        self,
        cases: Sequence[Case],
        reader: CaseReader,
        cache: Cache,
        contents: Mapping[str, Mapping[str, Content]],
    ) -> None:
        self.cases = list(cases)
        self.reader = reader
        self.cache = cache
        self.contents = contents

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Any]:
        case = self.cases[index]
        arrays = self.reader.judged(case, self.contents[case.name], self.cache)
        back = tuple(arrays["back"].tolist()) if "back" in arrays else None
        return {"case": case.name, "image": torch.from_numpy(arrays["image"]), "truth": arrays["truth"], "back": back}


class CaseByCase:
    """A dataset's cases one after the other, as an evaluator iterates them."""

    def __init__(self, dataset: Dataset[dict[str, Any]], rank: int = 0, world: int = 1) -> None:
        self.dataset = dataset
        count = len(dataset)  # type: ignore[arg-type]
        # every device takes part: one without a case of its own repeats the first, which then counts once
        self.indices = list(range(rank, count, world)) or [0]

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self.dataset[index] for index in self.indices)


class JudgeCase:
    """What MONAI's ``SupervisedEvaluator`` does with a case; given to it as ``iteration_update``.

    Args:
        decision: how logits become labels.
        labels: the structures.
        order: the way back to the image's grid.
        precision: of the network's arithmetic.
        max_memory: that a prediction may take.
        stop: asked between pieces.
    """

    def __init__(
        self,
        decision: Decision,
        labels: Labels,
        *,
        order: Order = "linear",
        precision: Precision = "float32",
        max_memory: str | int | None = None,
        stop: Stop | None = None,
    ) -> None:
        self.decision = decision
        self.labels = labels
        # truth comes as class numbers; so that any value may be a structure's, both are counted as numbers
        numbers = {name: number for number, name in enumerate(labels.names, start=1)}
        ignore = None if labels.ignore is None else len(labels) + 1
        self._numbered = Labels.of(numbers, ignore=ignore, regions=labels.regions)
        self._number = np.zeros(max((0, *labels.values)) + 1, dtype=np.int32)
        for number, value in enumerate(labels.values, start=1):
            self._number[value] = number
        self.order = order
        self.precision = precision
        self.max_memory = max_memory
        self.stop = stop

    def __call__(self, evaluator: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Predict and count one case; gives ``{"case": …, "dice": {…}, "image": …, "truth": …, "prediction": …}``.

        If the run should stop, ``{"case": …, "stopped": True}``, soon: no other device is left waiting.
        """
        network: nn.Module = evaluator.network
        network.eval()
        image, truth = batch["image"], np.asarray(batch["truth"])
        pieces = stream_logits(image, network, precision=self.precision, max_memory=self.max_memory)
        try:
            with torch.no_grad():
                decided = decide(
                    self._stoppable(pieces),
                    tuple(image.shape[1:]),
                    self.decision,
                    onto=truth.shape,
                    order=self.order,
                    back=batch.get("back"),
                )
        except Interrupted:
            return {"case": batch["case"], "stopped": True}
        prediction = self._number[decided.labels]
        counted = count_overlaps(prediction, truth.astype(np.int32), self._numbered, where=batch["case"])
        dice = {name: overlap.dice for name, overlap in counted.items()}
        return {"case": batch["case"], "dice": dice, "image": image, "truth": truth, "prediction": prediction}

    def _stoppable(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        for piece in pieces:
            if self.stop is not None:
                self.stop.check()
            yield piece


class MeanDice(Metric):  # type: ignore[misc]
    """Dice as nnU-Net computes it: per case and structure, mean over cases, then over structures.

    Args:
        names: the structures that count.
        seen: called with each case's outcome.
    """

    def __init__(self, names: Sequence[str], seen: Callable[[Mapping[str, Any]], None] | None = None) -> None:
        self.names = tuple(names)
        self.seen = seen
        self.scores: Scores = {}
        #: whether cases are missing because the run should stop
        self.stopped = False
        super().__init__(output_transform=lambda output: output)

    def reset(self) -> None:
        """Begin anew."""
        self.scores = {}
        self.stopped = False

    def update(self, output: Mapping[str, Any]) -> None:
        """Count a case."""
        if output.get("stopped"):
            self.stopped = True
            return
        self.scores[output["case"]] = dict(output["dice"])
        if self.seen is not None:
            self.seen(output)

    def compute(self) -> float:
        """The mean over all devices' cases."""
        self.scores, self.stopped = gathered(self.scores, self.stopped)
        return mean_dice(self.scores, self.names)

    def iteration_completed(self, engine: Engine) -> None:
        """Take an evaluator's output as it is: it is no pair of tensors."""
        self.update(engine.state.output)


def gathered(scores: Scores, stopped: bool = False) -> tuple[Scores, bool]:
    """The scores of all devices, each case once, and whether any of them was stopped."""
    if not (dist.is_available() and dist.is_initialized()):
        return scores, stopped
    parts: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, (scores, stopped))
    together: Scores = {}
    for part, _ in parts:
        together |= part
    return dict(sorted(together.items())), any(flag for _, flag in parts)


def means(scores: Scores, names: Sequence[str]) -> dict[str, float]:
    """Each structure's mean over the cases where it is defined.

    >>> means({"a": {"x": 1.0}, "b": {"x": 0.5}, "c": {"x": nan}}, ["x"])
    {'x': 0.75}
    """
    return {name: _mean([dice[name] for dice in scores.values()]) for name in names}


def mean_dice(scores: Scores, names: Sequence[str]) -> float:
    """The mean over cases, then over structures; not a number if no structure is in any case."""
    return _mean(list(means(scores, names).values()))


def _mean(values: Sequence[float]) -> float:
    defined = [value for value in values if not isnan(value)]
    return sum(defined) / len(defined) if defined else nan
