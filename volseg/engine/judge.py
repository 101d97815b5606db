"""The evaluator of a run: MONAI's, with seamless predictions and exact counts inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from monai.engines import SupervisedEvaluator
from torch import nn

from volseg.data.caching import Cache, NoCache, make_cache
from volseg.data.cohort import Case
from volseg.data.content import Content
from volseg.engine import compose
from volseg.engine.cases import CaseReader
from volseg.engine.compose import build
from volseg.engine.log import quiet
from volseg.engine.pictures import Overlays
from volseg.engine.run_folder import RunFolder
from volseg.engine.step import bare
from volseg.engine.stopping import Stop
from volseg.engine.together import Place
from volseg.engine.validation import CaseByCase, JudgeCase, JudgedCases, MeanDice
from volseg.recipe import Recipe

_DRAWN = 3  # cases whose pictures are drawn


class Judge:
    """Makes the evaluators of a run, for its validation and its test cases alike.

    Args:
        recipe: of the run.
        folder: where pictures are drawn and prepared cases kept.
        place: in which process this is.
        reader: of cases.
        contents: the fingerprints of the cases' files.
        stop: asked between pieces.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: RunFolder,
        place: Place,
        reader: CaseReader,
        contents: Mapping[str, Mapping[str, Content]],
        stop: Stop,
    ) -> None:
        self.recipe = recipe
        self.folder = folder
        self.place = place
        self.reader = reader
        self.contents = contents
        self.stop = stop

    def of(self, network: nn.Module, cases: Sequence[Case]) -> tuple[SupervisedEvaluator, MeanDice]:
        """The evaluator of a network on cases, and the metric it fills."""
        drawn = Overlays(self.folder.path, self.recipe.labels, [case.name for case in cases[:_DRAWN]])
        metric = MeanDice(self.recipe.labels.names, seen=drawn)
        dataset = JudgedCases(cases, self.reader, self._cache(), self.contents)
        evaluator = SupervisedEvaluator(
            device=self.place.device,
            val_data_loader=CaseByCase(dataset, self.place.rank, self.place.world),
            network=bare(network),
            iteration_update=self._judge_case(),
            key_val_metric={"dice": metric},
            amp=False,
            decollate=False,
        )
        quiet(evaluator)
        return evaluator, metric

    def require_readable(self, cases: Sequence[Case]) -> None:
        """Read cases that are judged epochs later, so that one that cannot be is told before the first."""
        cache = self._cache() if self.recipe.training.cache == "disk" else NoCache()
        for case in cases[self.place.rank :: self.place.world]:
            self.stop.check()
            self.reader.judged(case, self.contents[case.name], cache)

    def _judge_case(self) -> JudgeCase:
        inference = self.recipe.inference
        return JudgeCase(
            build(compose.decision_part(self.recipe)),
            self.recipe.labels,
            order=inference.order,
            precision=inference.precision,
            max_memory=inference.max_memory,
            stop=self.stop,
        )

    def _cache(self) -> Cache:
        kind = self.recipe.training.cache
        return NoCache() if kind is None else make_cache("memory" if kind == "device" else kind, self.folder.cache)
